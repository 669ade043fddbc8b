"""Checkpoints that are data and not programs."""

import pickle
from typing import Any

import torch
from fvcore.common.checkpoint import Checkpointer, PeriodicCheckpointer  # noqa: F401
from torch import nn

from detectron2.utils import comm


class DetectionCheckpointer(Checkpointer):
    """fvcore's checkpointer; of several processes the main one writes.

    Files are read with torch's ``weights_only`` loader; ``.pkl`` files, which can run any code, are refused.
    """

    def __init__(self, model: nn.Module, save_dir: str = "", *, save_to_disk: bool | None = None, **checkpointables):
        save_to_disk = comm.is_main_process() if save_to_disk is None else save_to_disk
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)

    def _load_file(self, f: str) -> dict[str, Any]:
        if f.endswith(".pkl"):
            raise ValueError(f"{f} is a pickle, which can run any code when read; convert it to a .pth of tensors.")
        try:
            content = torch.load(f, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as e:
            reason = str(e).strip().partition("\n")[0]
            raise ValueError(f"{f} is damaged or holds more than tensors and plain values: {reason}") from e
        return content if "model" in content else {"model": content}

"""The teachers' maps on disk, for runs over the same images again and again."""

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from meddet_d2.files import replacing

logger = logging.getLogger(__name__)


class FeatureStore:
    """A folder with a file of maps for each image of each teacher.

    A teacher's folder is named after its weights (:func:`fingerprint`) and a file after the image it was shown, so that
    another teacher, another training of the same one or another augmentation never meets a stale file. Files are whole
    or not there. Nothing is ever thrown out: when the space is used up, nothing is added; delete the folder to start
    again.

    Args:
        folder: made if it does not exist; processes may share it.
        capacity: bytes that the files of all teachers in ``folder`` may take, as far as one process fills it.
        teacher: :func:`fingerprint` of the teacher.
        stores: how many of them, one for each teacher, have the space that is left between them.
        device: where the maps are wanted.

    Raises:
        ValueError: the folder is a file, or the capacity is negative.
    """

    def __init__(self, folder: str | os.PathLike, capacity: int, teacher: str, stores: int = 1, device: Any = "cpu"):
        root = Path(folder)
        if capacity < 0:
            raise ValueError(f"DISTILL.TEACHERS.CACHE_DIR_GIB of {capacity} bytes is none; give at least 0.")
        try:
            (root / teacher).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ValueError(f"DISTILL.TEACHERS.CACHE_DIR {root} is, or lies under, a file; name a folder.") from None
        self.folder = root / teacher
        self.device = str(device)
        self.size = sum(path.stat().st_size for path in root.glob("*/*.safetensors"))
        # None of them sees what the others add.
        self.capacity = self.size + max(0, capacity - self.size) // stores
        self.full = False

    def load(self, name: str) -> list[Tensor] | None:
        """The maps (1, C, H, W) under a name, or None if there are none, or none that can be read."""
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            return None
        try:
            content = load_file(path, device=self.device)
            maps = [content[str(level)] for level in range(len(content))]
            # As a network gives them; a file has no memory layout.
            return [x.contiguous(memory_format=torch.channels_last) for x in maps]
        except (SafetensorError, KeyError, RuntimeError) as error:
            logger.warning("%s holds no maps (%s); they are computed again.", path, error)
            return None

    def save(self, name: str, maps: list[Tensor]) -> None:
        """Keep the maps (1, C, H, W) of an image, unless the space is used up.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        size = sum(x.numel() * x.element_size() for x in maps)
        if self.size + size > self.capacity:
            if not self.full:
                logger.warning(
                    "DISTILL.TEACHERS.CACHE_DIR %s has reached CACHE_DIR_GIB: the maps of further images are computed "
                    "each time.",
                    self.folder.parent,
                )
            self.full = True
            return
        with replacing(self.folder / f"{name}.safetensors") as temporary:
            save_file({str(level): x.contiguous() for level, x in enumerate(maps)}, temporary)
        self.size += size


def fingerprint(detector: nn.Module, *settings: object) -> str:
    """A name for what a frozen detector makes of an image: of its weights, its normalisation and further settings."""
    hashed = hashlib.blake2b(repr(settings).encode(), digest_size=8)
    tensors = {**detector.state_dict(), **dict(detector.named_buffers())}
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        hashed.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        hashed.update(value.flatten().view(torch.uint8).numpy())
    return hashed.hexdigest()

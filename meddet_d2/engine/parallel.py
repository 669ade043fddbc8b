"""What makes several processes train as one: with the same images per step, the same losses and weights.

Normalisers are the losses' own affair (hardware/processes.py). Here is the rest.
"""

import logging
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from detectron2.config import CfgNode
from detectron2.utils import comm
from meddet_d2.distillation import Task
from meddet_d2.hardware.processes import mean_over_processes

logger = logging.getLogger(__name__)


def share_padding(model: nn.Module, task: Task) -> None:
    """In training, let ``model`` pad its pictures to the largest of all processes, as one process would.

    Args:
        model: takes a list of dicts; each gets a "padded_size", (H, W).
        task: knows how large the pictures in them are.
    """

    def agree_on_size(model: nn.Module, arguments: tuple) -> None:
        if not model.training:
            return
        (inputs,) = arguments
        own = tuple(map(max, zip(*(task.size(item) for item in inputs), strict=True)))
        largest = tuple(map(max, zip(*comm.all_gather(own), strict=True)))
        for item in inputs:
            item["padded_size"] = largest

    if comm.get_world_size() > 1:
        model.register_forward_pre_hook(agree_on_size)


def average_statistics(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """After each of the optimizer's steps give BatchNorm layers that learn statistics their mean over the processes.

    Each process normalises by its own images. Were the running statistics left as they are, each would evaluate another
    network than the one that is saved, and a resumed run would differ from one that was not stopped.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))]
    if comm.get_world_size() == 1 or not layers:
        return

    @torch.no_grad()
    def average(*_: object) -> None:
        learning = [layer for layer in layers if layer.training]
        buffers = [own for layer in learning for own in (layer.running_mean, layer.running_var) if own is not None]
        if buffers:
            for buffer, mean in zip(buffers, mean_over_processes(buffers), strict=True):
                buffer.copy_(mean)

    optimizer.register_step_post_hook(average)


def check_processes(cfg: CfgNode) -> None:
    """Refuse processes that are not at the same work, which would otherwise wait for one another or train wrongly.

    Raises:
        ValueError: the processes have different configs, or a network on the CPU whose processes talk by NCCL.
    """
    if comm.get_world_size() == 1:
        return
    if torch.device(cfg.MODEL.DEVICE).type == "cpu" and dist.get_backend() == "nccl":
        raise ValueError(
            "MODEL.DEVICE is cpu, but several processes talk by NCCL where there is CUDA; hide the GPUs with an empty "
            "CUDA_VISIBLE_DEVICES."
        )
    check_same("config", cfg.dump().splitlines())


def check_same(what: str, lines: Sequence[str]) -> None:
    """Raise a ValueError on all processes unless all have the same lines.

    Args:
        what: they are, for the message; it shows the first that differs.
        lines: any number.
    """
    first, *others = comm.all_gather([*lines, "nothing more"])
    for rank, theirs in enumerate(others, start=1):
        for a, b in zip(first, theirs, strict=False):
            if a != b:
                raise ValueError(
                    f"The processes differ in their {what}: process 0 has '{a.strip()}' and process {rank} "
                    f"'{b.strip()}'; start all with the same command, config and files."
                )

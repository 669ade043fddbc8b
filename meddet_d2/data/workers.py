"""How many processes read and augment images."""

import logging
import os

import torch

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..config.arguments import require

logger = logging.getLogger(__name__)

# More hardly help: a network is fed by fewer.
MOST = 16
# On a CPU the network needs the cores.
MOST_ON_A_CPU = 2


def loader_workers(cfg: CfgNode) -> int:
    """``DATALOADER.NUM_WORKERS``, and where that is -1 as many as this process's share of the cores allows.

    They change no bit of a training.

    Raises:
        ValueError: it is below -1.
    """
    given, share = cfg.DATALOADER.NUM_WORKERS, max(1, _cores() // comm.get_world_size())
    require(given >= -1, "DATALOADER.NUM_WORKERS", given, "at least 0, or -1 for as many as the cores allow")
    if given > share:
        logger.warning("DATALOADER.NUM_WORKERS is %d, but a process has %d cores here: fewer are faster.", given, share)
    if given >= 0:
        return given
    on_a_cpu = torch.device(cfg.MODEL.DEVICE).type == "cpu"
    return max(1, min(share - 1, MOST_ON_A_CPU if on_a_cpu else MOST))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # what a container or Slurm has left of them
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

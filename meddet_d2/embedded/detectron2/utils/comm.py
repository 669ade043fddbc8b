"""Talk between the processes of a distributed run. Without one, every function answers for a single process."""

import functools
from typing import Any

import numpy as np
import torch
import torch.distributed as dist


def get_world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def get_rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def is_main_process() -> bool:
    return get_rank() == 0


def create_local_process_group(num_workers_per_machine: int) -> None:
    """For upstream's callers. Nothing here asks for a process's place on its machine."""


def synchronize() -> None:
    """Wait for all processes."""
    if get_world_size() > 1:  # NCCL guesses its device unless it is given
        nccl = dist.get_backend() == dist.Backend.NCCL
        dist.barrier(device_ids=[torch.cuda.current_device()] if nccl else None)


@functools.lru_cache
def _cpu_group():
    """Python objects travel over gloo, so that they take no device memory."""
    return dist.new_group(backend="gloo") if dist.get_backend() == dist.Backend.NCCL else dist.group.WORLD


def all_gather(data: Any, group=None) -> list:
    """Every process's picklable ``data``, in the order of ranks, on every process."""
    if get_world_size() == 1:
        return [data]
    group = group or _cpu_group()
    gathered = [None] * dist.get_world_size(group)
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def gather(data: Any, dst: int = 0, group=None) -> list:
    """Every process's picklable ``data`` on process ``dst``; an empty list on the others."""
    gathered = all_gather(data, group)
    return gathered if get_rank() == dst else []


def shared_random_seed() -> int:
    """A random number in [0, 2**31) that all processes agree on. All must call it."""
    return all_gather(int(np.random.randint(2**31)))[0]

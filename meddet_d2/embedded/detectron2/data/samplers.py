"""Which images a process sees, and in which order."""

import itertools
from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

from detectron2.utils import comm


class TrainingSampler(Sampler):
    """An endless chain of permutations of ``range(size)``; process r of W takes every W-th entry, from the r-th on.

    ``seed`` must be the same in all processes; None makes them agree on a random one.
    """

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None):
        if not isinstance(size, int) or size <= 0:
            raise ValueError(f"A TrainingSampler needs a positive number of images, not {size!r}")
        self._size, self._shuffle = size, shuffle
        self._seed = comm.shared_random_seed() if seed is None else int(seed)
        self._rank, self._world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._indices_of_all(), self._rank, None, self._world_size)

    def _indices_of_all(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            epoch = torch.randperm(self._size, generator=generator) if self._shuffle else torch.arange(self._size)
            yield from epoch.tolist()


class InferenceSampler(Sampler):
    """Every image exactly once over all processes: contiguous shares whose sizes differ by one at most."""

    def __init__(self, size: int):
        assert size > 0, "There are no images"
        self._local_indices = torch.arange(size).tensor_split(comm.get_world_size())[comm.get_rank()].tolist()

    def __iter__(self) -> Iterator[int]:
        return iter(self._local_indices)

    def __len__(self) -> int:
        return len(self._local_indices)

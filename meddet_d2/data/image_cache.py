"""Decoded images that stay in memory, shared by the processes that a loader starts (DATALOADER.CACHE_GIB)."""

import mmap
import multiprocessing
import os
from collections.abc import Callable, Sequence

import numpy as np

from ..config.arguments import require
from .mapper import one_if_equal, read_image

# Its memory has no name, so only processes that are forked from this one see it.
START = "fork"


class ImageCache:
    """Reads images, and keeps those that there is room for.

    Args:
        files: of the data set; others are read and not kept.
        limit: bytes that the images may take. Memory is taken when an image comes, and given back with the process.
        read: gives (H, W, 3) uint8 for a file.
    """

    def __init__(self, files: Sequence[str], limit: int, read: Callable[[str], np.ndarray] = read_image):
        self._read = read
        self._places = {file: place for place, file in enumerate(dict.fromkeys(files))}
        self._memory = _shared(limit, np.uint8)
        # Of each image where it ends in the memory, its height, width and channels; 0: it is not there.
        self._index = _shared(4 * len(self._places) * 8, np.int64).reshape(-1, 4)
        self._used = _shared(8, np.int64)
        self._lock = multiprocessing.get_context(START).Lock()

    def __call__(self, file: str) -> np.ndarray:
        """(H, W, 3) uint8, or (H, W) if its channels are equal: a copy, to be changed at will."""
        place = self._places.get(file)
        if place is None:
            return self._read(file)
        end, *shape = self._index[place].tolist()
        if end:
            stored = self._memory[end - int(np.prod(shape)) : end].reshape(shape)
            return (stored[:, :, 0] if shape[2] == 1 else stored).copy()
        image = one_if_equal(self._read(file))
        with self._lock:
            end = int(self._used[0]) + image.size
            if end > len(self._memory):
                return image
            self._used[0] = end
        self._memory[end - image.size : end] = image.ravel()
        self._index[place, 1:] = (*image.shape, 1)[:3]
        self._index[place, 0] = end  # last: from here on the others see it
        return image


def cached_reader(files: Sequence[str], gib: float) -> Callable[[str], np.ndarray]:
    """What reads images by ``DATALOADER.CACHE_GIB``: :func:`read_image` itself, or an :class:`ImageCache`.

    Raises:
        ValueError: the limit is negative or above this machine's memory, or processes cannot share memory here.
    """
    key = "DATALOADER.CACHE_GIB"
    require(gib >= 0, key, gib, "at least 0")
    if gib == 0:
        return read_image
    if START not in multiprocessing.get_all_start_methods():
        raise ValueError(f"{key} is {gib:g}, but this system cannot fork processes, which share images; set it to 0.")
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if gib > there:
        raise ValueError(f"{key} is {gib:g}, but this machine has {there:.1f} GiB of memory; lower it.")
    return ImageCache(files, int(gib * 2**30))


def _shared(size: int, dtype: type) -> np.ndarray:
    return np.frombuffer(mmap.mmap(-1, max(size, 8)), dtype)

"""The next batch is read, and its images copied, while a GPU works on this one's."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from detectron2.engine import HookBase


class LoadAhead(HookBase):
    """A training's endless loader that has the next batch's images on the device before they are asked for.

    As a hook it comes before the one that waits for the step: a step's kernels are all given to the device by then,
    and the host has time. What is wrong with a batch is raised when that batch is asked for.

    Args:
        loader: gives lists of dicts with "image", (C, H, W), in the host's memory.
        device: that images are wanted on. The copies take a stream for themselves.

    Attributes:
        dataset, batch_sampler: the loader's.
        seconds: that the last batch took to come.
    """

    def __init__(self, loader: DataLoader, device: torch.device | str):
        self.dataset, self.batch_sampler = loader.dataset, loader.batch_sampler
        self.seconds = 0.0
        self._loader, self._device = loader, torch.device(device)
        self._batches: Iterator[list[dict]] | None = None
        self._ahead: list[dict] | Exception | None = None
        self._streams: Any = torch.get_device_module(self._device)
        self._aside: Any = None

    def __iter__(self) -> "LoadAhead":
        return self

    def __next__(self) -> list[dict]:
        if self._ahead is None:
            self._load()
        batch, self._ahead = self._ahead, None
        if not isinstance(batch, list):
            raise batch if batch is not None else StopIteration
        here = self._streams.current_stream()
        here.wait_stream(self._aside)
        for image in (inputs["image"] for inputs in batch):
            if image.is_cuda:
                # Their memory is the copies' stream's. It must not be given away before this stream has read it.
                image.record_stream(here)
        return batch

    def after_step(self) -> None:
        # No batch is read that no step asks for.
        if self._ahead is None and self.trainer.iter + 1 < self.trainer.max_iter:
            self._load()

    def _load(self) -> None:
        start = time.perf_counter()
        try:
            if self._batches is None:  # workers start with the first step
                self._batches, self._aside = iter(self._loader), self._streams.Stream()
            batch = next(self._batches)
            with self._streams.stream(self._aside):
                self._ahead = [{**inputs, "image": self._copied(inputs["image"])} for inputs in batch]
        except Exception as error:
            self._ahead = error
        self.seconds = time.perf_counter() - start

    def _copied(self, image: Tensor) -> Tensor:
        # A grey image's channels are one in memory, and stay so.
        one = image[:1] if image.stride(0) == 0 else image
        if self._device.type == "cuda":
            one = one.pin_memory()  # or the host would wait for the copy
        return one.to(self._device, non_blocking=True).expand(image.shape)

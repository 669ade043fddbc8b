"""Fake tensors have shapes and no values: whatever asks for a value raises, on any device, and would wait on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from meddet_d2.modeling.gfl import anchors


@contextmanager
def fake_tensors() -> Iterator[FakeTensorMode]:
    """Within it tensors are fake; nothing made there is kept."""
    anchors._build.cache_clear()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            yield mode
    finally:
        anchors._build.cache_clear()


def move(module: nn.Module, device: str) -> None:
    """Give a module fake parameters and buffers; to be called within :func:`fake_tensors`."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            fake = torch.empty_like(value, device=device)
            setattr(part, name, nn.Parameter(fake, requires_grad=value.requires_grad))
        for name, value in part.named_buffers(recurse=False):
            setattr(part, name, torch.empty_like(value, device=device))


def fake_truth(truth, mode: FakeTensorMode, device: str):
    """The objects of a batch, checked before on the CPU, as fakes on a device."""
    moved = {name: mode.from_tensor(getattr(truth, name)).to(device) for name in ("boxes", "classes", "present")}
    return replace(truth, **moved)

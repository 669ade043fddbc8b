"""torch.compile for the parts of a network that work on maps (MODEL.COMPILE)."""

import importlib.util
import logging
import os
import shutil
from collections.abc import Iterable

import torch
from torch import nn

logger = logging.getLogger(__name__)

# What torch calls to build what it has generated.
COMPILERS = ("g++", "clang++", "c++", "cl")


def compile_parts(network: nn.Module, parts: Iterable[str]) -> None:
    """Let parts of a network run as compiled code, by sizes of image; their names and weights stay as they are.

    Targets, losses and decoding stay as they are: they are small, and decoding waits for the device.

    Args:
        network: on its device.
        parts: names of submodules. One that is inside of another is compiled with it.
    """
    missing = missing_compiler(next(network.parameters()).device)
    if missing:
        logger.warning("MODEL.COMPILE is True, but there is no %s: the network runs without, which is slower.", missing)
        return
    names = sorted(set(parts))
    for name in names:
        if not any(name.startswith(f"{other}.") for other in names):
            module = network.get_submodule(name)
            # Its forward and not its call, which hooks come and go around.
            module.forward = torch.compile(module.forward)


def missing_compiler(device: torch.device) -> str:
    """What torch.compile needs on a device and is not here, in words; empty if nothing."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "Triton (pip install triton)"
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), *COMPILERS)):
        return f"C++ compiler ({', '.join(COMPILERS[:2])})"
    return ""

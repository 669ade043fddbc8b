"""Whether this project's Triton kernels serve a tensor, or torch's operators."""

import logging
import subprocess
from functools import lru_cache

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


def has_kernel(x: Tensor) -> bool:
    """Whether a Triton kernel serves a tensor. The first question of a process may log why none does.

    None does in compiled or exported code: a compiler makes one kernel of torch's operators, and an export needs them.
    """
    return x.is_cuda and x.dtype != torch.float64 and not torch.compiler.is_compiling() and triton_works()


@lru_cache(maxsize=1)
def triton_works() -> bool:
    """Whether Triton is there and can be used on the GPU of this process; a warning says why not."""
    missing = _what_is_missing()
    if missing:
        logger.warning("No Triton kernels: %s. GroupNorm and nmODE run by torch's operators, which is slower.", missing)
    return not missing


def is_dense(x: Tensor) -> bool:
    """Whether a map (N, C, H, W) fills its memory in NCHW or channels-last order, as the kernels need it."""
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _what_is_missing() -> str:
    try:
        from triton.runtime import driver

        # Without a GPU only fake tensors are on one.
        if torch.cuda.is_available():
            if torch.version.hip is None and torch.cuda.get_device_capability() < (7, 0):
                return "they need a GPU of compute capability 7.0"
            # Triton builds its launcher here, in C, if its cache has none: with gcc, clang or CC, and Python's headers.
            driver.active.get_current_target()
    except ImportError as error:
        return f"Triton cannot be imported ({error})"
    except subprocess.CalledProcessError as error:
        return f"{error.cmd[0]} cannot build Triton's launcher; are Python's headers there (python3-dev)?"
    except Exception as error:  # whatever it is, the operators serve
        return " ".join(str(error).split()) or type(error).__name__
    return ""

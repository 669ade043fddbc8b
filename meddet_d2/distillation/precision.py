"""The number format of what distillation adds to a step: the teachers, and AFA, fusion, generator and the lent head.

The student is not touched: its format is SOLVER.AMP's matter. Losses are summed in single precision in any case.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from meddet_d2.config.arguments import require_choice

PRECISIONS = {"auto": None, "fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """Autocast for the frozen networks and for what learns.

    Args:
        dtype: torch.bfloat16, torch.float16 or None, which leaves all to an autocast around it, if there is one.
        device_type: of the networks, "cpu" or "cuda".
    """

    dtype: torch.dtype | None = None
    device_type: str = "cpu"

    def frozen(self) -> AbstractContextManager:
        """For forward passes that no gradient goes through."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)

    def learning(self) -> AbstractContextManager:
        """For those with a gradient: bf16 only, whose range is single precision's. In fp16 gradients would vanish."""
        return self.frozen() if self.dtype == torch.bfloat16 else nullcontext()


def choose_precision(name: str, device: torch.device | str) -> Precision:
    """What DISTILL.PRECISION means on a device.

    Args:
        name: in ``PRECISIONS``. "auto" is bf16 where the hardware computes in it (CUDA from compute capability 8.0,
            CPUs with AVX512-BF16 or AMX), fp16 on CUDA from 7.0, and fp32 elsewhere.
        device: where the teachers are.

    Raises:
        ValueError: an unknown name, or fp16 on a CPU, where it is slower than fp32.
    """
    kind = torch.device(device).type
    require_choice("DISTILL.PRECISION", name, PRECISIONS)
    if name == "fp16" and kind == "cpu":
        raise ValueError("DISTILL.PRECISION fp16 is for GPUs; take bf16, fp32 or auto on a CPU.")
    return Precision(_fastest(torch.device(device)) if name == "auto" else PRECISIONS[name], kind)


def _fastest(device: torch.device) -> torch.dtype | None:
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= (8, 0):
            return torch.bfloat16
        return torch.float16 if capability >= (7, 0) else None
    if device.type == "cpu" and _cpu_has_bf16():
        return torch.bfloat16
    return None


def _cpu_has_bf16() -> bool:
    # torch has no public name for these yet; where one is missing, fp32 is right.
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test is not None and test() for test in tests)

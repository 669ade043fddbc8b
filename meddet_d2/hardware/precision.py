"""The number formats of a step: the student's (SOLVER.PRECISION), and that of what distillation adds to it
(DISTILL.PRECISION): the teachers, and AFA, fusion, generator and the lent head.

Losses are summed in single precision in any case.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import nn

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


def choose_precision(name: str, device: torch.device | str, key: str = "DISTILL.PRECISION") -> Precision:
    """What DISTILL.PRECISION means on a device.

    Args:
        name: in ``PRECISIONS``. "auto" is bf16 where the hardware computes in it (CUDA from compute capability 8.0,
            CPUs with AVX512-BF16 or AMX), fp16 on CUDA from 7.0, and fp32 elsewhere.
        device: where the networks are.
        key: that an error names.

    Raises:
        ValueError: an unknown name, fp16 on a CPU, where it is slower than fp32, or bf16 on a GPU that has none.
    """
    device = torch.device(device)
    require_choice(key, name, PRECISIONS)
    if name == "fp16" and device.type == "cpu":
        raise ValueError(f"{key} fp16 is for GPUs; take bf16, fp32 or auto on a CPU.")
    if name == "bf16" and device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        raise ValueError(f"{key} bf16 is for GPUs of compute capability 8.0 and above; take fp16, fp32 or auto.")
    return Precision(_fastest(device) if name == "auto" else PRECISIONS[name], device.type)


def student_precision(solver: Any, device: torch.device | str) -> Precision:
    """What SOLVER.PRECISION means on a device, and Detectron2's SOLVER.AMP.ENABLED, which is fp16.

    On a CPU "auto" is fp32: there the student's results are the same on every processor but for rounding.

    Args:
        solver: ``cfg.SOLVER``.
        device: where the student is.

    Raises:
        ValueError: as :func:`choose_precision`; SOLVER.AMP and another format; or SOLVER.AMP on a CPU.
    """
    name, device = solver.PRECISION, torch.device(device)
    if solver.AMP.ENABLED:
        if device.type == "cpu":
            raise ValueError("SOLVER.AMP.ENABLED needs a CUDA device; set it to False to train on the CPU.")
        if name not in ("auto", "fp16"):
            raise ValueError(f"SOLVER.AMP.ENABLED is fp16 and SOLVER.PRECISION {name}; set one of them.")
        name = "fp16"
    return choose_precision("fp32" if name == "auto" and device.type == "cpu" else name, device, "SOLVER.PRECISION")


def train_in(model: nn.Module, precision: Precision) -> None:
    """Let a model's forward passes in training, and its losses, be computed in bf16 if that is the precision.

    For fp16 there is the engine's AMPTrainer.
    """
    if precision.dtype == torch.bfloat16:
        forward = model.forward

        @wraps(forward)
        def run(*args: Any) -> Any:
            with torch.autocast(precision.device_type, dtype=torch.bfloat16, enabled=model.training):
                return forward(*args)

        model.forward = run


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

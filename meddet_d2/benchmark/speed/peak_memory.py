"""The most memory of a GPU that a prediction, a student's step and a step of distillation take."""

import gc
from collections.abc import Callable
from functools import partial

import torch

from meddet_d2.evaluation.timing import noise_batch

from .speed_report import SpeedReport
from .timed_networks import Setup
from .timed_step import DistillationStep, StudentStep


def measure_memory(report: SpeedReport, setup: Setup) -> None:
    """Fill the group "memory": peaks in GiB, weights and optimizer's state included; it needs a GPU."""
    group, count = report.group("memory", setup.device), max(setup.batches)
    parts: dict[str, Callable[[], Callable[[], object]]] = {
        f"prediction, {count} images": lambda: _prediction(setup, count),
        f"student's step, {setup.step_images} images": lambda: StudentStep(setup).student_alone,
        f"distillation step, {setup.step_images} images": lambda: DistillationStep(setup).distillation,
    }
    for name, build in parts.items():
        with report.allowing_failure(f"{group}, {name},"):
            report.memory.setdefault(group, {})[name] = peak_bytes(build(), setup.device) / 2**30


def peak_bytes(call: Callable[[], object], device: str) -> int:
    """The most that torch had allocated on a GPU during a call that is not the first one."""
    gc.collect()
    call()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    return torch.cuda.max_memory_allocated(device)


def _prediction(setup: Setup, count: int) -> Callable[[], object]:
    return torch.inference_mode()(partial(setup.detector("student"), noise_batch(setup.size, count)))

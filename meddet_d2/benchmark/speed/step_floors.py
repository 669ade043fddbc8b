"""What a GPU needs at least for a step: the student's and the teachers' networks, eager and as CUDA graphs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from meddet_d2.distillation import TeacherBank

from .speed_report import SpeedReport
from .timed_networks import Setup, annotated_batch, autocast, with_graph

TEACHERS = "teachers' networks"


def floor_calls(report: SpeedReport, setup: Setup, group: str, bank: TeacherBank) -> dict[str, Callable[[], object]]:
    """Calls to time in a group, on one step's images, with nothing in them that waits.

    Args:
        report: gets a note where something cannot be recorded.
        setup: what is measured.
        group: that they are timed in.
        bank: the teachers, whose backbones and FPNs run.
    """
    # It has its own gradients: those that a graph writes to may not be replaced, as an optimizer does.
    student = setup.detector("student").train()
    with torch.no_grad():
        images = student.preprocess_image(annotated_batch(setup.size, setup.step_images)).tensor
    calls: dict[str, Callable[[], object]] = {}
    for precision, dtype in setup.precisions.items():
        function = _both_ways(student, dtype, setup.device)
        calls |= with_graph(report, setup, group, _student(precision), function, images)
    return calls | with_graph(report, setup, group, TEACHERS, _observing(bank), images)


def keep_ratios(report: SpeedReport, setup: Setup, group: str, step: str) -> None:
    """Of what :func:`floor_calls` gave, once it is timed: a step over its floors, and each floor's eager call over it.

    The student's floor is in the format that it trains in: a half where the device has one.

    Args:
        report, setup, group: as there.
        step: the name of the step's call.
    """
    labels = [_student(precision) for precision in setup.precisions]
    report.ratio(group, "over_floors", step, f"{labels[-1]}, graph", f"{TEACHERS}, graph")
    for name, label in zip([*setup.precisions, "teachers"], [*labels, TEACHERS], strict=True):
        report.ratio(group, f"eager_over_graph_{name}", f"{label}, eager", f"{label}, graph")


def _student(precision: str) -> str:
    return f"student's network both ways, {precision}"


def _both_ways(student: Any, dtype: torch.dtype, device: str) -> Callable[[Tensor], None]:
    """Forward and backward of backbone and head, with a loss of a few operators a map."""

    def call(images: Tensor) -> None:
        student.zero_grad(set_to_none=False)
        with autocast(dtype, device):
            features = student.backbone(images)
            outputs = student.head([features[name] for name in student.in_features])
            loss = torch.stack([level.float().square().mean() for part in outputs for level in part]).sum()
        loss.backward()

    return call


def _observing(bank: TeacherBank) -> Callable[[Tensor], list]:
    networks: list[Any] = bank.networks

    def call(images: Tensor) -> list:
        with torch.no_grad(), bank.precision.frozen():
            return [network.backbone(images) for network in networks]

    return call

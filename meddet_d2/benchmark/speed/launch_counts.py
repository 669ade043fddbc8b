"""What a GPU is given, and waited for, in each part of a prediction and of a step; counted on any device."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from meddet_d2.distillation.tasks import task_of
from meddet_d2.evaluation.operator_counts import OperatorCount
from meddet_d2.evaluation.timing import noise_batch

from .speed_report import SpeedReport
from .timed_networks import Setup
from .timed_step import DistillationStep

IMAGES = (2, 16)
# The counts are the same for larger images.
GREATEST_SIZE = 160


def count_launches(report: SpeedReport, setup: Setup) -> None:
    """Fill the group "launches": of each part the kernels and waits, by :class:`OperatorCount`, for 2 and 16 images.

    Decoding is what a prediction has besides preprocessing and network. The steps are forward and backward: optimizers
    are one kernel on a GPU and many operators on a CPU.
    """
    group = report.group("launches", setup.device)
    setup = replace(setup, size=min(setup.size, GREATEST_SIZE))
    for images in IMAGES:
        with report.allowing_failure(f"{group}, {images} images,"):
            parts = {**_of_a_prediction(setup, images), **_of_a_step(replace(setup, step_images=images))}
            for part, counted in parts.items():
                report.launches.setdefault(group, {}).setdefault(part, {})[images] = counted


def _of_a_prediction(setup: Setup, images: int) -> dict[str, dict[str, int]]:
    student, batch = setup.detector("student"), noise_batch(setup.size, images)
    # Random scores are below the threshold. Without it, and with few boxes, all of them come to NMS.
    student.score_thresh, student.topk_candidates = 0.0, 10
    with torch.no_grad():  # in inference mode torch shows some operators as others
        normalised = student.preprocess_image(batch).tensor
        calls = {
            "preprocessing": partial(student.preprocess_image, batch),
            "network": partial(task_of(student).raw_outputs, student, normalised),
            "prediction": partial(student, batch),
        }
        counts = {name: _count(call) for name, call in calls.items()}
    front, network, whole = counts.values()
    decoding = {name: whole[name] - front[name] - network[name] for name in whole}
    return {"preprocessing": front, "network": network, "decoding": decoding, "whole prediction": whole}


def _of_a_step(setup: Setup) -> dict[str, dict[str, int]]:
    step = DistillationStep(setup)
    return {
        "training step": _count(partial(step.both_ways, step.student)),
        "teachers": _count(step.teachers),
        "distillation step": _count(partial(step.both_ways, step.model)),
    }


def _count(call: Callable[[], object]) -> dict[str, int]:
    call()  # anchors of a size are kept from the first call on
    with OperatorCount() as count:
        call()
    return {"kernels": count.kernels.total(), "waits": count.waits.total()}

"""What the methods share that compare feature maps: FitNets, MGD and FGD.

Shapes in this module: N images, C channels, (H, W) the size of a level's map; L levels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def align_levels(student_channels: Sequence[int], teacher_channels: Sequence[int]) -> nn.ModuleList:
    """For each of L levels a 1x1 convolution to the teacher's channels where they differ, and nothing where not."""
    return nn.ModuleList(
        nn.Identity() if c1 == c2 else nn.Conv2d(c1, c2, kernel_size=1)
        for c1, c2 in zip(student_channels, teacher_channels, strict=True)
    )


def full_precision(feature: Tensor) -> Tensor:
    """At least fp32, for sums of squares over a map overflow in half precision. Float64 stays float64."""
    return feature.to(torch.promote_types(feature.dtype, torch.float32))


def squared_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """The squared difference of two maps (N, C, H, W), value by value, in full precision.

    Raises:
        ValueError: the maps differ in size. Student and teachers see the same image and agree in strides, so only
            different padding can do this, and pooling would then compare cells of different places.
    """
    if student.shape[-2:] != teacher.shape[-2:]:
        ours, theirs = ("x".join(map(str, x.shape[-2:])) for x in (student, teacher))
        raise ValueError(
            f"A map of the student is {ours} and the teacher's {theirs}; choose a teacher (DISTILL.TEACHERS.CONFIGS) "
            "whose backbone pads images to the same size."
        )
    return (full_precision(student) - full_precision(teacher)).square()

"""What the methods share that compare feature maps: FitNets, MGD, FGD, DWPose, FSF-LD and MedDet.

Shapes in this module: N images, G boxes of an image, C channels, (H, W) the size of a level's map; L levels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from meddet_d2.hardware.processes import mean_over_processes


def align_levels(student_channels: Sequence[int], teacher_channels: Sequence[int]) -> nn.ModuleList:
    """For each of L levels a 1x1 convolution to the teacher's channels where they differ, and nothing where not."""
    return nn.ModuleList(
        nn.Identity() if c1 == c2 else nn.Conv2d(c1, c2, kernel_size=1)
        for c1, c2 in zip(student_channels, teacher_channels, strict=True)
    )


def regressors(student_channels: Sequence[int], teacher_channels: Sequence[int]) -> nn.ModuleList:
    """For each level a 1x1 convolution from the student's channels to the teacher's; the identity where they agree."""
    made = nn.ModuleList()
    for c1, c2 in zip(student_channels, teacher_channels, strict=True):
        conv: Any = nn.Conv2d(c1, c2, kernel_size=1)
        if c1 == c2:
            nn.init.dirac_(conv.weight)
            nn.init.zeros_(conv.bias)
        made.append(conv)
    return made


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


@torch.no_grad()
def box_masks(targets: Any, stride: int, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Each image's cells inside of its boxes and outside of all, weighed so that size does not count.

    Corners are rounded outward to cells, and the last cell belongs to the box. They are scaled by the stride, for the
    ratio of the map to the image without its padding, as in FGD's published code, misses the cells where there is
    padding. Rows are y and columns x; there is a version of that code with the two exchanged.

    Args:
        targets: ``boxes`` (N, G, 4), x0, y0, x1, y1 in pixels, and ``present`` (N, G) bool, which of them there are.
        stride: pixels of a cell.
        size: (H, W).

    Returns:
        Foreground (N, 1, H, W): 1 / (height * width of the box in cells), the largest of overlapping boxes, 0 outside.
        Background (N, 1, H, W): 1 / (number of cells outside of all boxes) there, 0 inside.
    """
    boxes = targets.boxes
    low, high = (boxes[..., :2] / stride).floor(), (boxes[..., 2:] / stride).ceil()  # (N, G, 2) as x, y
    weight = targets.present / (high + 1 - low).prod(dim=-1)
    y, x = (torch.arange(side, device=boxes.device) for side in size)
    in_columns = (x >= low[..., :1]) & (x <= high[..., :1])  # (N, G, W)
    in_rows = (y >= low[..., 1:]) & (y <= high[..., 1:])  # (N, G, H)
    inside = in_rows[..., None] & in_columns[..., None, :]
    foreground = (weight[..., None, None] * inside).amax(dim=1, keepdim=True)
    outside = (foreground == 0).to(foreground)
    background = outside / outside.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
    return foreground, background


@torch.no_grad()
def cell_weights(targets: Any, strides: Sequence[int], sizes: Sequence[Sequence[int]], share: float) -> list[Tensor]:
    """How much each cell counts in a mean over a batch of maps, if the boxes are to have a share of it for themselves.

    Args:
        targets: as for :func:`box_masks`.
        strides: of the L levels, in pixels.
        sizes: (H, W) of each level.
        share: in [0, 1], of the whole weight; it is spread evenly over the boxes, the rest over all cells.

    Returns:
        L weights (N, 1, H, W) of mean 1 over all processes; in a batch without a box all 1.
    """
    foregrounds = [box_masks(targets, stride, size)[0] for stride, size in zip(strides, sizes, strict=True)]
    means = mean_over_processes([foreground.mean() for foreground in foregrounds])
    return [
        torch.where(mean > 0, 1 - share + share * foreground / mean, 1.0)
        for foreground, mean in zip(foregrounds, means, strict=True)
    ]

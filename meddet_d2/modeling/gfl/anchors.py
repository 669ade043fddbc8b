"""The anchors of a feature pyramid: one square for each location.

Shape legend:
    n_l: locations of level l (H_l * W_l, row by row), L: locations of all levels together
    N: images; K: channels of a map
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

Sizes = tuple[tuple[int, int], ...]  # (H_l, W_l) of every level


class AnchorPyramid(NamedTuple):
    """Anchors in pixels of the padded batch. Shared between calls: do not change them in place.

    The squares serve the assigner only. Boxes are regressed from the centres, in units of the stride.
    """

    level_sizes: list[int]  # the n_l, with which an (L, ...) tensor is split into levels
    boxes: Tensor  # (L, 4) as x0, y0, x1, y1
    centers: Tensor  # (L, 2) as x, y
    corners: Tensor  # (L, 2) as x, y: the upper left corner of each cell
    strides: Tensor  # (L, 1)
    last_cell: tuple[int, int]  # the largest y and x of a cell's upper left corner

    def filled_by(self, image_sizes: Sequence[tuple[int, int]]) -> Tensor | None:
        """(N, L) bool: the cells that each image, (H, W) in pixels, reaches into; None if every image fills them all.

        The others are its padding. A cell that the image reaches into is the image's, as mmdetection's valid flags
        have it.
        """
        last = self.last_cell
        if all(height > last[0] and width > last[1] for height, width in image_sizes):
            return None
        numbers = [[width, height] for height, width in image_sizes]
        sides = torch.tensor(numbers, dtype=torch.float32).to(self.corners.device, non_blocking=True)
        return (self.corners < sides[:, None]).all(dim=-1)


def sizes_of(maps: Sequence[Tensor]) -> Sizes:
    """(H_l, W_l) of each level's map (N, K, H_l, W_l)."""
    return tuple((level.shape[-2], level.shape[-1]) for level in maps)


def anchor_pyramid(
    sizes: Sizes,
    strides: tuple[int, ...],
    scale: float,
    offset: float,
    device: torch.device,
) -> AnchorPyramid:
    """One anchor of side ``scale * stride`` for each cell of each level.

    Args:
        sizes: (H, W) of every level.
        strides: pixels between neighbouring cells of every level.
        scale: side of the square in strides.
        offset: where the centre lies in its cell: 0 is the upper left corner, 0.5 the middle.
        device: where the tensors are made. The last results are kept, so that images of one size share them.
    """
    # A tensor made while a graph is being traced belongs to that trace and must not be kept.
    build = _build.__wrapped__ if torch.compiler.is_compiling() else _build
    return build(sizes, strides, float(scale), float(offset), device)


@lru_cache(maxsize=64)
def _build(sizes: Sizes, strides: tuple[int, ...], scale: float, offset: float, device: torch.device) -> AnchorPyramid:
    # What is first needed during inference is used again in training, where inference tensors are refused.
    with torch.inference_mode(False), torch.no_grad():
        corners = []
        for (height, width), stride in zip(sizes, strides, strict=True):
            y, x = (torch.arange(side, dtype=torch.float32, device=device) * stride for side in (height, width))
            corners.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2))
        per_location = torch.cat(
            [level.new_full((len(level), 1), stride) for level, stride in zip(corners, strides, strict=True)]
        )
        joined = torch.cat(corners)
        centers, half = joined + offset * per_location, scale / 2 * per_location
        boxes = torch.cat([centers - half, centers + half], dim=1)
        last = [max((size[i] - 1) * stride for size, stride in zip(sizes, strides, strict=True)) for i in range(2)]
        level_sizes = [len(level) for level in corners]
        return AnchorPyramid(level_sizes, boxes, centers, joined, per_location, (last[0], last[1]))


def join_levels(maps: list[Tensor]) -> Tensor:
    """Of each level, (N, K, H_l, W_l) -> (N, L, K) in the order of the anchors, at least in single precision."""
    joined = torch.cat([level.flatten(2) for level in maps], dim=2).transpose(1, 2)
    return joined.to(torch.promote_types(joined.dtype, torch.float32))

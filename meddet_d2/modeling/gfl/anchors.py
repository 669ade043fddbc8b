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
from torch.nn import functional as F

Sizes = tuple[tuple[int, int], ...]  # (H_l, W_l) of every level


class AnchorPyramid(NamedTuple):
    """Anchors in pixels of the padded batch. Shared between calls: do not change them in place.

    The squares serve the assigner only. Boxes are regressed from the centres, in units of the stride.
    """

    sizes: Sizes
    boxes: tuple[Tensor, ...]  # of each level, (n_l, 4) as x0, y0, x1, y1
    centers: Tensor  # (L, 2) as x, y
    strides: Tensor  # (L, 1)

    @property
    def level_sizes(self) -> list[int]:
        """The n_l, with which an (L, ...) tensor is split into levels."""
        return [len(level) for level in self.boxes]

    def spread(self, values: Tensor, sizes: Sizes, fill: float) -> Tensor:
        """Values (L,) of these anchors on maps of other ``sizes``, at least as large; ``fill`` at the other cells."""
        if sizes == self.sizes:
            return values
        levels = [
            F.pad(level.view(own), (0, size[1] - own[1], 0, size[0] - own[0]), value=fill).flatten()
            for level, own, size in zip(values.split(self.level_sizes), self.sizes, sizes, strict=True)
        ]
        return torch.cat(levels)

    def crop(self, values: Tensor, sizes: Sizes) -> Tensor:
        """Of values (locations of maps of ``sizes``, K), at least as large as these, those of these anchors (L, K)."""
        if sizes == self.sizes:
            return values
        levels = values.split([rows * columns for rows, columns in sizes])
        cropped = [
            level.unflatten(0, size)[: own[0], : own[1]].flatten(0, 1)
            for level, own, size in zip(levels, self.sizes, sizes, strict=True)
        ]
        return torch.cat(cropped)


def sizes_of(maps: Sequence[Tensor]) -> Sizes:
    """(H_l, W_l) of each level's map (N, K, H_l, W_l)."""
    return tuple((level.shape[-2], level.shape[-1]) for level in maps)


def cells_of_image(image_size: tuple[int, int], sizes: Sizes, strides: tuple[int, ...]) -> Sizes:
    """(H, W) of every level that an image of this height and width fills in maps of these sizes; the rest is padding.

    A cell that the image reaches into is the image's, as mmdetection's valid flags have it.
    """
    height, width = image_size
    return tuple(
        (min(-(-height // stride), rows), min(-(-width // stride), columns))
        for stride, (rows, columns) in zip(strides, sizes, strict=True)
    )


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
        centers = []
        for (height, width), stride in zip(sizes, strides, strict=True):
            y = (torch.arange(height, dtype=torch.float32, device=device) + offset) * stride
            x = (torch.arange(width, dtype=torch.float32, device=device) + offset) * stride
            centers.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2))
        halves = [scale * stride / 2 for stride in strides]
        boxes = tuple(torch.cat([c - half, c + half], dim=1) for c, half in zip(centers, halves, strict=True))
        per_location = [c.new_full((len(c), 1), stride) for c, stride in zip(centers, strides, strict=True)]
        return AnchorPyramid(sizes, boxes, torch.cat(centers), torch.cat(per_location))


def join_levels(maps: list[Tensor]) -> Tensor:
    """Of each level, (N, K, H_l, W_l) -> (N, L, K) in the order of the anchors, at least in single precision."""
    joined = torch.cat([level.flatten(2) for level in maps], dim=2).transpose(1, 2)
    return joined.to(torch.promote_types(joined.dtype, torch.float32))

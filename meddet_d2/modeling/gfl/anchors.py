"""The anchors of a feature pyramid: one square for each location.

Shape legend:
    n_l: locations of level l (H_l * W_l, row by row), L: locations of all levels together
    N: images; K: channels of a map
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class AnchorPyramid(NamedTuple):
    """Anchors in pixels of the padded batch. Shared between calls: do not change them in place.

    The squares serve the assigner only. Boxes are regressed from the centres, in units of the stride.
    """

    boxes: tuple[Tensor, ...]  # of each level, (n_l, 4) as x0, y0, x1, y1
    centers: Tensor  # (L, 2) as x, y
    strides: Tensor  # (L, 1)

    @property
    def level_sizes(self) -> list[int]:
        """The n_l, with which an (L, ...) tensor is split into levels."""
        return [len(level) for level in self.boxes]


def anchor_pyramid(
    sizes: tuple[tuple[int, int], ...],
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
def _build(sizes, strides, scale, offset, device) -> AnchorPyramid:
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
        return AnchorPyramid(boxes, torch.cat(centers), torch.cat(per_location))


def join_levels(maps: list[Tensor]) -> Tensor:
    """Of each level, (N, K, H_l, W_l) -> (N, L, K) in the order of the anchors, at least in single precision."""
    joined = torch.cat([level.flatten(2) for level in maps], dim=2).transpose(1, 2)
    return joined.to(torch.promote_types(joined.dtype, torch.float32))

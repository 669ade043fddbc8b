"""From heat maps to points: the highest cell, and where between the cells the peak lies.

All maps of a batch go through every operator together, and nothing waits for the device. What lies in an image's
padding is neither found nor looked at.

Shape legend:
    N: images; K: landmarks; h, w: height and width of a map in cells; V: cells that are looked at around a peak
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .dark import dark_shift

# How many times sigma around the highest cell the local soft-argmax looks, and how much it prefers high cells. With 10
# only the upper half of a Gaussian of height 1 counts.
SOFT_REACH, SOFT_SHARPNESS = 3.0, 10.0


class Peaks(NamedTuple):
    """The highest cells of N x K maps."""

    cells: Tensor  # (N, K, 2) int64 as x, y
    scores: Tensor  # (N, K), the map's value there; NaN if the map has one in the image


def find_peaks(maps: Tensor, valid: Tensor) -> Peaks:
    """The highest cell of each map, the first of several.

    Args:
        maps: (N, K, h, w).
        valid: (N, 1, h, w) bool, the cells of the image.
    """
    scores, places = torch.where(valid, maps, -math.inf).flatten(2).max(dim=2)
    rows = places // maps.shape[3]
    # Not by %, which torch's exporter cannot write for a width that it does not know.
    return Peaks(torch.stack([places - rows * maps.shape[3], rows], dim=2), scores)


def look_at(maps: Tensor, cells: Tensor) -> Tensor:
    """The maps' values at (N, K, V, 2) cells, as x, y -> (N, K, V); a cell outside shows the nearest one inside."""
    height, width = maps.shape[-2:]
    x, y = cells[..., 0].clamp(0, width - 1), cells[..., 1].clamp(0, height - 1)
    return maps.flatten(2).gather(2, y * width + x)


def quarter_shift(maps: Tensor, peaks: Tensor, limits: Tensor) -> Tensor:
    """A quarter of a cell towards the higher neighbour, along x and y, as stacked hourglasses are read.

    (Newell et al., ECCV 2016.) At the image's edge, where one neighbour is missing, and between equal
    neighbours it is 0.

    Args:
        maps: (N, K, h, w).
        peaks: (N, K, 2) int64 as x, y.
        limits: (N, 1, 2), columns and rows of the image in cells.

    Returns:
        (N, K, 2) in cells, as x, y.
    """
    steps = torch.eye(2, dtype=torch.int64, device=maps.device)
    after, before = (look_at(maps, peaks[:, :, None] + sign * steps) for sign in (1, -1))
    between = (peaks > 0) & (peaks < limits - 1)
    return 0.25 * (after - before).sign() * between


def soft_shift(maps: Tensor, peaks: Tensor, limits: Tensor, sigma: float) -> Tensor:
    """The mean place around the highest cell, weighed by the softmax of the values: a local soft-argmax.

    (Luvizon et al., "Human pose regression by combining indirect part detection and contextual information", 2019; here
    within a window.) Where the window reaches over the image's edge the mean lies too far inside.

    Args:
        maps, peaks, limits: as for :func:`quarter_shift`.
        sigma: of the targets, in cells; the window reaches three times as far.

    Returns:
        (N, K, 2) in cells, as x, y.
    """
    reach = math.ceil(SOFT_REACH * sigma)
    side = torch.arange(-reach, reach + 1, device=maps.device)
    steps = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1).flatten(0, 1)  # (V, 2)
    cells = peaks[:, :, None] + steps
    within = ((cells >= 0) & (cells < limits[:, :, None])).all(dim=-1)
    logits = torch.where(within, SOFT_SHARPNESS * look_at(maps, cells), -math.inf)
    return (logits.softmax(dim=2)[..., None] * steps).sum(dim=2)


DECODINGS: dict[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "argmax": lambda maps, peaks, limits, sigma: torch.zeros_like(peaks, dtype=maps.dtype),
    "quarter": lambda maps, peaks, limits, sigma: quarter_shift(maps, peaks, limits),
    "dark": dark_shift,
    "soft_argmax": soft_shift,
}


@torch.no_grad()
def decode_maps(maps: Tensor, valid: Tensor, decoding: str, sigma: float) -> tuple[Tensor, Tensor]:
    """Each map's point.

    Args:
        maps: (N, K, h, w).
        valid: (N, 1, h, w) bool, the cells of the image: its first rows and columns.
        decoding: in ``DECODINGS``.
        sigma: of the targets, in cells.

    Returns:
        (N, K, 2) points as x, y in cells, and (N, K) scores, the values of the highest cells; NaN where the map is.
    """
    maps = maps.float()
    maps = torch.where(valid, maps, 0.0)
    peaks = find_peaks(maps, valid)
    limits = torch.stack([valid[:, :, 0].sum(dim=2), valid[..., 0].sum(dim=2)], dim=2)  # (N, 1, 2)
    return peaks.cells + DECODINGS[decoding](maps, peaks.cells, limits, sigma), peaks.scores

"""DARK: a peak's place between the cells by the shape of the Gaussian (Zhang et al., CVPR 2020).

The logarithm of a Gaussian is a parabola, so one step of Newton's method from any cell near its peak ends on it. The
maps are smoothed before, because a network's have several small peaks. Smoothed by a Gaussian they are one
still.

Within the kernel's reach of an edge, smoothing would move the peak inward. There the map is read as it is, from the
three cells nearest to the edge. A perfect map is thus read without an error everywhere, up to rounding.

Shape legend:
    N: images; K: landmarks; h, w: height and width of a map in cells
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# What the logarithm is taken of at least. A network's maps go below 0.
FLOOR = 1e-10


def kernel_size(sigma: float) -> int:
    """Cells of a side of the smoothing kernel: 7, 11 and 17 for a sigma of 1.5, 2 and 3 cells, as it is used."""
    return max(2 * round((sigma - 0.8) / 0.3 + 1) + 1, 3)


def smoothed(maps: Tensor, sigma: float) -> Tensor:
    """(N, K, h, w) maps, smoothed by a Gaussian; zeros lie around them."""
    side = kernel_size(sigma)
    place = torch.arange(side, device=maps.device, dtype=maps.dtype) - side // 2
    kernel = (-place.square() / (2 * (0.3 * (side // 2 - 1) + 0.8) ** 2)).exp()
    kernel = kernel / kernel.sum()
    flat = maps.flatten(0, 1)[:, None]
    flat = F.conv2d(flat, kernel.view(1, 1, 1, side), padding=(0, side // 2))
    return F.conv2d(flat, kernel.view(1, 1, side, 1), padding=(side // 2, 0)).view_as(maps)


@torch.no_grad()
def dark_shift(maps: Tensor, peaks: Tensor, limits: Tensor, sigma: float) -> Tensor:
    """From the highest cells to the peaks.

    Args:
        maps: (N, K, h, w), 0 in the padding.
        peaks: (N, K, 2) int64 as x, y, the highest cells.
        limits: (N, 1, 2), columns and rows of the image in cells.
        sigma: of the targets, in cells.

    Returns:
        (N, K, 2) in cells, as x, y, at most 1 each; 0 where the map has no peak: where it is not curved downward, and
        in images of less than three cells a side.
    """
    reach = kernel_size(sigma) // 2 + 2
    near_edge = ((peaks < reach) | (peaks >= limits - reach)).any(dim=2, keepdim=True)
    wide = _newton(smoothed(maps, sigma), peaks, 2)
    # The middle one of the three cells has a neighbour on either side.
    middle = peaks.minimum(limits - 2).clamp(min=1)
    narrow = middle - peaks + _newton(maps, middle, 1)
    shift = torch.where(near_edge, narrow, wide)
    return torch.where((limits >= 3).all(dim=2, keepdim=True) & shift.isfinite(), shift, 0.0).clamp(-1, 1)


def _newton(maps: Tensor, cells: Tensor, step: int) -> Tensor:
    """Newton's step on the maps' logarithms from (N, K, 2) cells, by differences over ``step`` cells; NaN if none."""
    height, width = maps.shape[-2:]
    side = torch.arange(-step, step + 1, device=maps.device)
    x = (cells[..., 0, None] + side).clamp(0, width - 1)
    y = (cells[..., 1, None] + side).clamp(0, height - 1)
    places = (y[..., :, None] * width + x[..., None, :]).flatten(2)
    around = maps.flatten(2).gather(2, places).clamp(min=FLOOR).log().unflatten(2, (len(side), len(side)))
    # The first differences are over neighbours, the second over ``step``, as in the authors' code.
    one, far = slice(step - 1, step + 2, 2), slice(0, None, 2 * step)
    row, column, here = around[..., step, :], around[..., :, step], around[..., step, step]
    dx, dy = ((line[..., step + 1] - line[..., step - 1]) / 2 for line in (row, column))
    dxx, dyy = ((line[..., far].sum(dim=-1) - 2 * here) / step**2 for line in (row, column))
    corners = around[..., one, one]
    dxy = (corners[..., 0, 0] + corners[..., 1, 1] - corners[..., 0, 1] - corners[..., 1, 0]) / 4
    determinant = dxx * dyy - dxy.square()
    curved = (determinant > 0) & (dxx < 0)
    solved = torch.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], dim=2) / determinant[..., None]
    return torch.where(curved[..., None], solved, torch.nan)

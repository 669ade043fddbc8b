"""Where landmarks lie on a map of cells, and the heat maps that a network is to give: a Gaussian for each.

A pixel's middle is at 0.5, a cell's at a whole number: pixel p lies at p / stride - 0.5 cells. Centres are not rounded
to cells, which alone would cost up to half a cell (Zhang et al., "Distribution-Aware Coordinate Representation for
Human Pose Estimation", CVPR 2020).

Shape legend:
    N: images; K: landmarks; h, w: height and width of a map in cells
"""

from collections.abc import Sequence

import torch
from torch import Tensor

# Pixels of a cell of every heat map.
STRIDE = 4


def to_cells(points: Tensor, stride: int) -> Tensor:
    """Pixels of the network's input as cells of its map, whose middles are whole numbers; any shape."""
    return points / stride - 0.5


def to_pixels(cells: Tensor, stride: int) -> Tensor:
    """The inverse of :func:`to_cells`."""
    return (cells + 0.5) * stride


def cells_of(image_sizes: Sequence[tuple[int, int]], stride: int) -> list[tuple[int, int]]:
    """Of images of (H, W) pixels, how many rows and columns of cells each reaches into; the others are padding."""
    return [(-(-height // stride), -(-width // stride)) for height, width in image_sizes]


@torch.no_grad()
def gaussian_maps(centers: Tensor, present: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Unnormalised Gaussians of height 1.

    Args:
        centers: (N, K, 2) as x, y in cells, anywhere.
        present: (N, K) bool; a map without a landmark is 0.
        size: h and w.
        sigma: standard deviation in cells, above 0.

    Returns:
        (N, K, h, w) float32 in [0, 1].
    """
    along_x, along_y = (
        (-(torch.arange(side, device=centers.device) - centers[..., axis, None]).square() / (2 * sigma**2)).exp()
        for axis, side in ((0, size[1]), (1, size[0]))
    )
    return (along_y * present[..., None])[..., :, None] * along_x[..., None, :]

"""Pixels and cells, and the heat maps that a network is to give."""

import math

import pytest
import torch
import torch.nn.functional as F

from meddet_d2.modeling.heatmap.gaussian_targets import cells_of, gaussian_maps, to_cells, to_pixels


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_a_cell_lies_in_the_middle_of_its_pixels(stride):
    """The middle of the first pixel is 0.5; what a cell averages has its own place as the mean."""
    middles = torch.arange(8 * stride) + 0.5
    cells = F.avg_pool1d(middles[None], stride)[0]
    assert torch.equal(to_pixels(torch.arange(8.0), stride), cells)
    assert torch.equal(to_cells(cells, stride), torch.arange(8.0))
    assert to_cells(torch.tensor(0.0), stride) == -0.5  # the image's edge is half a cell before the first one's middle


def test_cells_that_an_image_reaches_into():
    assert cells_of([(64, 65), (1, 3), (7, 8)], 4) == [(16, 17), (1, 1), (2, 2)]


def test_maps_are_gaussians_with_unrounded_centres():
    centers = torch.tensor([[[1.3, 2.6], [-4.0, 0.2]], [[30.0, 30.0], [3.5, 0.0]]])
    present = torch.tensor([[True, True], [True, False]])
    maps = gaussian_maps(centers, present, (5, 7), 1.5)
    assert maps.shape == (2, 2, 5, 7)
    for n in range(2):
        for k in range(2):
            x, y = centers[n, k].tolist()
            for row in range(5):
                for column in range(7):
                    expected = math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * 1.5**2)) * present[n, k].item()
                    assert maps[n, k, row, column].item() == pytest.approx(expected, abs=1e-6)


def test_a_batch_is_its_images_and_may_be_empty():
    centers = torch.rand(3, 4, 2) * 8
    present = torch.ones(3, 4, dtype=torch.bool)
    whole = gaussian_maps(centers, present, (8, 8), 2.0)
    assert torch.equal(whole[1:2], gaussian_maps(centers[1:2], present[1:2], (8, 8), 2.0))
    assert gaussian_maps(centers[:0], present[:0], (8, 8), 2.0).shape == (0, 4, 8, 8)

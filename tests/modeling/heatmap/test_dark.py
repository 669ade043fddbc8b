"""Places between cells by the shape of the Gaussian."""

import pytest
import torch

from meddet_d2.modeling.heatmap.dark import dark_shift, kernel_size, smoothed
from meddet_d2.modeling.heatmap.gaussian_targets import STRIDE, gaussian_maps, to_cells, to_pixels
from meddet_d2.modeling.heatmap.peaks import decode_maps


@pytest.mark.parametrize("sigma, side", [(1.5, 7), (2.0, 11), (3.0, 17), (0.1, 3)])
def test_the_kernels_in_use(sigma, side):
    assert kernel_size(sigma) == side


def test_smoothing_keeps_the_sum_and_widens_a_gaussian():
    maps = gaussian_maps(torch.tensor([[[20.0, 18.5]]]), torch.tensor([[True]]), (40, 40), 2.0)
    wide = smoothed(maps, 2.0)
    assert wide.sum() == pytest.approx(maps.sum().item(), rel=1e-3)
    expected = gaussian_maps(torch.tensor([[[20.0, 18.5]]]), torch.tensor([[True]]), (40, 40), 8**0.5) / 2
    torch.testing.assert_close(wide, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("image", [(160, 128), (150, 117)])
def test_perfect_maps_are_read_to_a_twentieth_of_a_pixel_everywhere(sigma, image):
    """Also on the image's edge and in its corners; the map of the second goes on, and holds something else there."""
    generator = torch.Generator().manual_seed(0)
    height, width = image
    points = torch.rand(1, 600, 2, generator=generator) * torch.tensor([width, height])
    corners = torch.tensor([[0.0, 0.0], [width, 0.0], [0.0, height], [width, height], [0.0, height / 3]])
    points[0, : len(corners)] = corners
    maps = gaussian_maps(to_cells(points, STRIDE), torch.ones(1, 600, dtype=torch.bool), (40, 32), sigma)
    valid = torch.zeros(1, 1, 40, 32, dtype=torch.bool)
    valid[:, :, : -(-height // STRIDE), : -(-width // STRIDE)] = True
    cells, _ = decode_maps(torch.where(valid, maps, 0.7), valid, "dark", sigma)
    assert (to_pixels(cells, STRIDE) - points).norm(dim=2).max() < 0.05


def test_noise_and_a_second_peak_move_it_less_than_they_move_the_highest_cell():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1, 300, 2, generator=generator) * 30 + 5
    maps = gaussian_maps(points, torch.ones(1, 300, dtype=torch.bool), (40, 40), 2.0)
    maps = maps + 0.05 * torch.randn(maps.shape, generator=generator)
    valid = torch.ones(1, 1, 40, 40, dtype=torch.bool)
    errors = {
        name: (decode_maps(maps, valid, name, 2.0)[0] - points).norm(dim=2).mean().item()
        for name in ("argmax", "quarter", "dark")
    }
    assert errors["dark"] < 0.6 * errors["quarter"] < 0.6 * errors["argmax"]


def test_where_there_is_no_peak_it_stays():
    peaks, limits = torch.tensor([[[8, 8], [0, 0]]]), torch.tensor([[[16, 16]]])
    assert dark_shift(torch.ones(1, 2, 16, 16), peaks, limits, 2.0).tolist() == [[[0, 0], [0, 0]]]
    assert dark_shift(torch.zeros(1, 2, 16, 16) - 1, peaks, limits, 2.0).tolist() == [[[0, 0], [0, 0]]]
    # Nor has what rises faster and faster towards a corner.
    side = (torch.arange(16) - 10.0).square() / 50
    rising = (side[:, None] + side).exp()[None, None]
    assert dark_shift(rising, peaks[:, 1:], limits, 2.0).tolist() == [[[0, 0]]]
    # A map of two cells has no curvature.
    small = torch.rand(1, 1, 2, 2)
    found = dark_shift(small, torch.zeros(1, 1, 2, dtype=torch.int64), torch.tensor([[[2, 2]]]), 2.0)
    assert found.tolist() == [[[0, 0]]]


def test_it_moves_at_most_a_cell():
    maps = torch.rand(4, 5, 24, 24, generator=torch.Generator().manual_seed(2)) ** 4
    valid = torch.ones(4, 1, 24, 24, dtype=torch.bool)
    moved = decode_maps(maps, valid, "dark", 2.0)[0] - decode_maps(maps, valid, "argmax", 2.0)[0]
    assert 0.5 < moved.abs().max() <= 1

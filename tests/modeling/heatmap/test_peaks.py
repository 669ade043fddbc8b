"""From heat maps to points."""

import math

import pytest
import torch

from meddet_d2.modeling.heatmap.gaussian_targets import gaussian_maps
from meddet_d2.modeling.heatmap.peaks import DECODINGS, decode_maps

SIGMA = 2.0


def whole(maps):
    return torch.ones(len(maps), 1, *maps.shape[-2:], dtype=torch.bool)


def perfect(points, size=(40, 48), sigma=SIGMA):
    points = torch.as_tensor(points).float().view(1, -1, 2)
    return gaussian_maps(points, torch.ones(points.shape[:2], dtype=torch.bool), size, sigma)


def test_a_quarter_towards_the_higher_neighbour():
    maps = perfect([[20.3, 10.8], [30.0, 10.0], [0.4, 12.6], [47.0, 39.0]])
    points, scores = decode_maps(maps, whole(maps), "quarter", SIGMA)
    # Without a neighbour on one side, and between equal ones, it stays.
    assert points[0].tolist() == [[20.25, 10.75], [30.0, 10.0], [0.0, 12.75], [47.0, 39.0]]
    assert scores[0, 1] == 1 and scores[0, 0] == maps[0, 0, 11, 20]


def test_soft_argmax_by_hand_and_on_perfect_maps():
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(1, 1, 9, 9, generator=generator)
    maps[0, 0, 1, 4] = 2.0
    points, _ = decode_maps(maps, whole(maps), "soft_argmax", 1.0)
    around = {(x, y): math.exp(10 * maps[0, 0, y, x].item()) for x in range(1, 8) for y in range(5)}
    total = sum(around.values())
    expected = [sum(place[axis] * weight for place, weight in around.items()) / total for axis in (0, 1)]
    assert points[0, 0].tolist() == pytest.approx(expected, abs=1e-5)

    truth = torch.rand(200, 2, generator=generator) * torch.tensor([32.0, 24.0]) + 8
    maps = perfect(truth)
    points, _ = decode_maps(maps, whole(maps), "soft_argmax", SIGMA)
    assert (points[0] - truth).norm(dim=1).max() < 0.01


@pytest.mark.parametrize("decoding", DECODINGS)
def test_what_is_in_the_padding_is_neither_found_nor_looked_at(decoding):
    maps = perfect([[20.3, 10.8], [24.6, 29.4]], (32, 32))
    valid = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    valid[:, :, :30, :26] = True
    found = decode_maps(maps, valid, decoding, SIGMA)
    spoilt = torch.where(valid, maps, 50.0)
    for one, other in zip(found, decode_maps(spoilt, valid, decoding, SIGMA), strict=True):
        assert torch.equal(one, other)
    # Nor is it where all that the image has is below 0.
    below = torch.where(valid, maps - 2, 0.0)
    assert torch.equal(decode_maps(below, valid, "argmax", SIGMA)[0], decode_maps(maps, valid, "argmax", SIGMA)[0])
    # Where the image ends, and nothing is beyond, the same is found.
    small = maps[:, :, :30, :26]
    torch.testing.assert_close(decode_maps(small, whole(small), decoding, SIGMA)[0], found[0])


@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_batch_is_its_images_and_may_be_empty(decoding):
    maps = torch.rand(3, 2, 12, 10, generator=torch.Generator().manual_seed(1))
    points, scores = decode_maps(maps, whole(maps), decoding, SIGMA)
    alone = decode_maps(maps[1:2], whole(maps[1:2]), decoding, SIGMA)
    torch.testing.assert_close(points[1:2], alone[0])
    assert torch.equal(scores[1:2], alone[1])
    empty, none = decode_maps(maps[:0], whole(maps[:0]), decoding, SIGMA)
    assert empty.shape == (0, 2, 2) and none.shape == (0, 2)


def test_nan_is_a_score_of_nan():
    maps = torch.zeros(2, 2, 8, 8)
    maps[1, 0, 7, 7] = torch.nan
    assert decode_maps(maps, whole(maps), "dark", SIGMA)[1].isnan().tolist() == [[False, False], [True, False]]

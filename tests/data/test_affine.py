"""Turning, scaling and shifting: points follow the picture, and the draw is repeatable."""

import numpy as np
import pytest

from meddet_d2.data.affine import AffineTransform, RandomAffine

CENTRES = np.array([[40.3, 30.7], [70.0, 52.5], [55.25, 75.0], [31.9, 61.4]])


def blobs(height=110, width=100, sigma=2.5) -> np.ndarray:
    """(H, W) uint8 with a Gaussian around each of CENTRES."""
    rows, columns = np.indices((height, width)) + 0.5
    image = np.zeros((height, width))
    for x, y in CENTRES:
        image += 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return image.round().astype(np.uint8)


def found_at(image: np.ndarray, near: np.ndarray, reach: int = 7) -> np.ndarray:
    """Centroids (N, 2) of what is bright around points (N, 2)."""
    rows, columns = np.indices(image.shape) + 0.5
    centres = []
    for x, y in near:
        weight = image * ((np.abs(columns - x) < reach) & (np.abs(rows - y) < reach))
        centres.append([(weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()])
    return np.array(centres)


@pytest.mark.parametrize(("angle", "factor", "shift"), [(0, 1.0, (0.5, 0.25)), (15, 1.2, (3, -5)), (-11, 0.8, (0, 0))])
def test_points_follow_the_picture(angle, factor, shift):
    turn = np.deg2rad(angle)
    linear = factor * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    offset = np.array([50.0, 55.0]) - linear @ [50.0, 55.0] + shift
    transform = AffineTransform(np.column_stack([linear, offset]), (120, 115), fill=0)
    image = transform.apply_image(blobs())
    assert image.shape == (120, 115) and image.dtype == np.uint8
    points = transform.apply_coords(CENTRES.copy())
    assert np.abs(found_at(image, points) - points).max() < 0.1
    coloured = transform.apply_image(np.repeat(blobs()[:, :, None], 3, axis=2))
    assert (coloured == image[:, :, None]).all()


def test_the_identity_changes_nothing():
    transform = AffineTransform(np.eye(2, 3), (110, 100))
    assert np.array_equal(transform.apply_image(blobs()), blobs())
    assert np.array_equal(transform.apply_segmentation(blobs()), blobs())


def test_what_the_image_does_not_cover_is_filled():
    transform = AffineTransform(np.array([[1.0, 0, 20], [0, 1.0, 0]]), (110, 100), fill=77)
    image = transform.apply_image(np.full((110, 100, 3), 5, np.uint8))
    assert (image[:, :20] == 77).all() and (image[:, 20:] == 5).all()


def draws(height, width, count=300, **ranges):
    augmentation = RandomAffine(**{"rotation": 15, "scale": 0.2, "shift": 0.05, **ranges})
    np.random.seed(4)
    return [augmentation.get_transform(np.zeros((height, width), np.uint8)) for _ in range(count)]


def test_draws_stay_in_their_ranges_and_use_them():
    middle = np.array([[50.0, 50.0]])
    angles, factors, shifts = [], [], []
    for transform in draws(100, 100):
        linear = transform.matrix[:, :2]
        angles.append(np.rad2deg(np.arctan2(linear[1, 0], linear[0, 0])))
        factors.append(np.sqrt(np.linalg.det(linear)))
        shifts.append(transform.apply_coords(middle)[0] - middle[0])
        assert transform.size == (100, 100)
    for values, least, most in ((angles, -15, 15), (factors, 0.8, 1.2), (np.array(shifts), -5, 5)):
        assert least <= np.min(values) < least + 0.05 * (most - least)
        assert most - 0.05 * (most - least) < np.max(values) <= most


def test_a_long_image_is_somewhere_on_a_square():
    places = []
    for transform in draws(100, 40, rotation=0, scale=0, shift=0):
        assert transform.size == (100, 100) and np.array_equal(transform.matrix[:, :2], np.eye(2))
        places.append(transform.matrix[:, 2])
    assert 0 <= np.min(places, axis=0)[0] < 3 and 57 < np.max(places, axis=0)[0] <= 60
    assert not np.any(np.array(places)[:, 1])


def test_each_draw_takes_as_many_numbers_whatever_the_image():
    after = []
    for size, ranges in ((100, {}), (30, {"rotation": 0, "scale": 0, "shift": 0})):
        draws(100, size, count=3, **ranges)
        after.append(np.random.uniform())
    assert after[0] == after[1]


@pytest.mark.parametrize(("key", "value"), [("rotation", -1), ("rotation", 181), ("scale", 1.0), ("shift", 2)])
def test_a_range_that_is_none_is_refused_by_its_key(key, value):
    with pytest.raises(ValueError, match=rf"INPUT\.LANDMARK\.{key.upper()} is {value}"):
        RandomAffine(**{"rotation": 0, "scale": 0, "shift": 0, key: value})

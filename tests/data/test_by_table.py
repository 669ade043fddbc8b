"""Brightness and contrast by a table are Detectron2's, to the bit."""

import numpy as np
import pytest

from detectron2.data import transforms as T
from meddet_d2.data.by_table import ByTable


@pytest.mark.parametrize("shape", [(37, 53), (37, 53, 3)])
@pytest.mark.parametrize("kind", [T.RandomBrightness, T.RandomContrast])
def test_the_same_bits_as_without_a_table(kind, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for seed in range(20):
        found = []
        for augmentation in (kind(0.5, 1.6), ByTable(kind(0.5, 1.6))):
            np.random.seed(seed)
            inputs = T.AugInput(image.copy())
            augmentation(inputs)
            found.append(inputs.image)
        assert found[0].dtype == found[1].dtype == np.uint8 and found[0].shape == found[1].shape == shape
        assert np.array_equal(*found)
        assert not np.array_equal(found[0], image)


def test_boxes_and_masks_stay():
    transform = ByTable(T.RandomBrightness(0.5, 0.6)).get_transform(np.full((4, 4), 100, np.uint8))
    boxes, mask = np.array([[1.0, 2.0, 3.0, 4.0]]), np.eye(4, dtype=np.uint8)
    assert np.array_equal(transform.apply_box(boxes), boxes) and np.array_equal(
        transform.apply_segmentation(mask), mask
    )

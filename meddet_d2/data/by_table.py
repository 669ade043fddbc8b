"""An augmentation that treats each value alike, computed for the 256 values of a byte and not for each pixel."""

import cv2
import numpy as np

from detectron2.data import transforms as T


class TableTransform(T.Transform):
    """What another transform does to each value, as a table; boxes, points and masks stay as they are.

    Args:
        of: maps a value of an image without regard to its place, and is not asked for anything but images.
    """

    def __init__(self, of: T.Transform) -> None:
        super().__init__()
        self.table = of.apply_image(np.arange(256, dtype=np.uint8))

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """uint8 of any shape -> the same shape and type."""
        return cv2.LUT(img, self.table)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Nothing moves."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Nothing moves."""
        return segmentation


class ByTable(T.Augmentation):
    """The same images as of ``augmentation``, such as ``RandomBrightness`` and ``RandomContrast``, from uint8 images.

    Args:
        augmentation: its transform maps a value without regard to its place.
    """

    def __init__(self, augmentation: T.Augmentation) -> None:
        super().__init__()
        self.augmentation = augmentation

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draw as ``augmentation`` does."""
        return TableTransform(self.augmentation.get_transform(image))

"""Rotation, scale and shift of an image about its middle, drawn at random.

Coordinates are continuous, as everywhere in Detectron2's transforms: the middle of the first pixel is (0.5, 0.5).
"""

import cv2
import numpy as np

from detectron2.data import transforms as T


class AffineTransform(T.Transform):
    """Moves points by ``matrix`` and images with them.

    Args:
        matrix: (2, 3); a point (x, y) goes to ``matrix[:, :2] @ (x, y) + matrix[:, 2]``, in pixels.
        size: height and width of the result.
        fill: the value, 0 to 255, of what the image does not cover.
    """

    def __init__(self, matrix: np.ndarray, size: tuple[int, int], fill: int = 0) -> None:
        super().__init__()
        self.matrix, self.size, self.fill = np.asarray(matrix, float), size, fill

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """uint8 (H, W) or (H, W, C) -> the same type, of ``size``; between pixels bilinearly."""
        return self._warp(img, cv2.INTER_LINEAR, self.fill)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Labels (H, W) uint8, each from the nearest pixel; 0 where there is none."""
        return self._warp(segmentation, cv2.INTER_NEAREST, 0)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """(N, 2) as (x, y)."""
        return coords @ self.matrix[:, :2].T + self.matrix[:, 2]

    def _warp(self, img: np.ndarray, interpolation: int, fill: int) -> np.ndarray:
        # OpenCV's integer coordinates are pixel middles.
        matrix = self.matrix.copy()
        matrix[:, 2] += 0.5 * self.matrix[:, :2].sum(axis=1) - 0.5
        height, width = self.size
        warped = cv2.warpAffine(img, matrix, (width, height), flags=interpolation, borderValue=(fill,) * 4)
        return warped.reshape(height, width, *img.shape[2:])


class RandomAffine(T.Augmentation):
    """Turns, scales and shifts an image on a square canvas, as wide and high as its longer side.

    The square keeps the ends of a long image from being turned out of it. An image that is not square gets a random
    place on it: a network that is trained on squares must not learn that its images lie in the middle.

    Args:
        rotation: greatest angle in degrees, either way.
        scale: greatest change of the scale: 0.2 means factors in [0.8, 1.2].
        shift: greatest shift in each direction, as a part of the longer side.
        fill: as for :class:`AffineTransform`.

    Raises:
        ValueError: a range that is none; the message names the key.
    """

    def __init__(self, rotation: float, scale: float, shift: float, fill: int = 0) -> None:
        super().__init__()
        for key, value, most in (("ROTATION", rotation, 180), ("SCALE", scale, 0.9), ("SHIFT", shift, 1)):
            if not 0 <= value <= most:
                raise ValueError(f"INPUT.LANDMARK.{key} is {value}; give a value in [0, {most}].")
        self.rotation, self.scale, self.shift, self.fill = rotation, scale, shift, fill

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draw seven numbers from numpy's global generator, whatever the ranges and the image."""
        height, width = image.shape[:2]
        side = max(height, width)
        angle, factor, *moved = np.random.uniform(-1.0, 1.0, 4) * (np.deg2rad(self.rotation), self.scale, side, side)
        free = np.random.uniform(size=2) * (side - width, side - height)
        turned = (1.0 + factor) * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        middle = 0.5 * np.array([width, height])
        to = middle + free + self.shift * np.array(moved)
        return AffineTransform(np.column_stack([turned, to - turned @ middle]), (side, side), self.fill)

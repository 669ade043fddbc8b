"""A canvas in spine coordinates (anatomy.py), and the outlines that are filled on it.

Shape legend
    N:    points of an outline
    S:    height and width of the image in pixels; outlines are filled at 2S x 2S and averaged down, so edges are smooth
"""

from functools import lru_cache

import cv2
import numpy as np

from .anatomy import Spine, superellipse

# Outlines are filled on a canvas this many times finer than the image, with corners at 1 / 2^SHIFT of its pixels.
SUPERSAMPLING = 2
SHIFT = 5


class Canvas:
    """Collects outlines and lines in spine coordinates, each with a signal and a texture, and renders them in order.

    They are kept and mapped to pixels all at once, because thousands of small array calls would cost more than the
    filling.
    """

    def __init__(self, size: int, zoom: float, centre: tuple[float, float], spine: Spine) -> None:
        """
        Args:
            size: S.
            zoom: magnification about `centre`.
            centre: the point (x, y) of the plane that lies in the middle of the image.
            spine: maps spine coordinates to the plane.
        """
        self._size = size
        self._scale = zoom * size
        self._origin = 0.5 * size - np.asarray(centre) * self._scale
        self._spine = spine
        # (points, paint, thickness); thickness 0 fills the outline.
        self._strokes: list[tuple[np.ndarray, tuple[int, int], int]] = []

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Map points of the plane (N, 2) to pixel coordinates (N, 2); the first pixel covers [0, 1)."""
        return points * self._scale + self._origin

    def fill(self, points: np.ndarray, signal: float, texture: float = 0.0) -> None:
        """Fill a closed outline (N, 2) in (s, d); signal in [0, 1], texture is its relative spread in [0, 0.5]."""
        self._strokes.append((points, _paint(signal, texture), 0))

    def line(self, points: np.ndarray, width: float, signal: float, texture: float = 0.0) -> None:
        """Draw an open line (N, 2) in (s, d), `width` in fractions of the field of view."""
        thickness = max(1, round(width * self._scale * SUPERSAMPLING))
        self._strokes.append((points, _paint(signal, texture), thickness))

    def render(self) -> tuple[np.ndarray, np.ndarray]:
        """Paint what was collected: signal and texture as two (S, S) float32 images in [0, 1] and [0, 0.5]."""
        pixels = np.zeros((SUPERSAMPLING * self._size, SUPERSAMPLING * self._size, 2), np.uint8)
        plane = self._spine(np.concatenate([points for points, _, _ in self._strokes]))
        # OpenCV's integer coordinates are pixel middles; ours are pixel borders.
        fine = self.to_pixels(plane) * SUPERSAMPLING - 0.5
        corners = np.rint(fine * (1 << SHIFT)).astype(np.int32)
        start = 0
        for points, paint, thickness in self._strokes:
            outline = corners[start : start + len(points)]
            start += len(points)
            if thickness:
                cv2.polylines(pixels, [outline], False, paint, thickness, shift=SHIFT)
            else:
                cv2.fillPoly(pixels, [outline], paint, shift=SHIFT)
        small = cv2.resize(pixels, (self._size, self._size), interpolation=cv2.INTER_AREA).astype(np.float32)
        return small[..., 0] / 255.0, small[..., 1] / 510.0


def _paint(signal: float, texture: float) -> tuple[int, int]:
    return round(255 * min(max(signal, 0.0), 1.0)), round(510 * min(max(texture, 0.0), 0.5))


def band(s: np.ndarray, front: np.ndarray | float, back: np.ndarray | float) -> np.ndarray:
    """The closed outline in (s, d) between two lines along the spine, each a number or (N,) over s."""
    lines = [np.stack(np.broadcast_arrays(s, d), axis=1) for d in (front, back)]
    return np.concatenate([lines[0], lines[1][::-1]])


def ellipse(s: float, d: float, half_s: float, half_d: float, power: float = 2.0) -> np.ndarray:
    """A closed outline (N, 2) in (s, d) around a middle point."""
    return moved(superellipse(power, 40) * (half_s, half_d), s, d)


def moved(points: np.ndarray, s: float, d: float) -> np.ndarray:
    """An outline (N, 2) shifted by (s, d)."""
    return points + np.array([s, d])


def rounded(points: np.ndarray) -> np.ndarray:
    """Round the corners of a closed outline (N, 2): (4 N, 2)."""
    return _corner_cutting(len(points)) @ points


@lru_cache
def _corner_cutting(points: int) -> np.ndarray:
    """Cutting every corner of a closed outline twice (Chaikin, 1974) as a matrix (4 N, N)."""
    matrix = np.eye(points)
    for _ in range(2):
        following = np.roll(matrix, -1, axis=0)
        matrix = np.stack([0.75 * matrix + 0.25 * following, 0.25 * matrix + 0.75 * following], 1).reshape(-1, points)
    return matrix

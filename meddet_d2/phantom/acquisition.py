"""From a painted slice to the image a scanner with a surface coil behind the neck would give.

Shape legend
    S: height and width of the image in pixels
"""

import cv2
import numpy as np

from .anatomy import NECK_CENTRE
from .canvas import Canvas
from .scanner import add_bias_field, add_rician_noise


def acquire(canvas: Canvas, size: int, noise: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Turn a painted slice into a magnitude image: texture, blur, coil, bias field, noise.

    Args:
        canvas: what was painted.
        size: S, the canvas's own.
        noise: range of the Rician noise's standard deviation, in fractions of the image's largest value.
        rng: the source of randomness.

    Returns:
        (S, S) uint8.
    """
    signal, texture = canvas.render()
    texture *= _texture_field(size, rng)
    signal *= 1.0 + texture
    signal = cv2.GaussianBlur(signal, (3, 3), 0.45)
    signal *= _coil_sensitivity(canvas, size, rng)
    signal = add_bias_field(signal, rng.uniform(0.05, 0.18), rng)
    # The window is set on the canal; fat beside the coil may be brighter than it shows.
    signal *= rng.uniform(0.80, 0.98)
    signal = add_rician_noise(signal, rng.uniform(*noise), rng)
    return np.rint(np.clip(signal, 0.0, 1.0) * 255.0).astype(np.uint8)


def _texture_field(size: int, rng: np.random.Generator) -> np.ndarray:
    """(S, S) float32 random field of variance about 1 with grain of two sizes, fixed in fractions of the image."""
    total = np.zeros((size, size), np.float32)
    for cells, weight in ((160, 0.8), (40, 0.9)):
        grain = rng.standard_normal((cells, cells), dtype=np.float32) * np.float32(weight)
        total += cv2.resize(grain, (size, size), interpolation=cv2.INTER_LINEAR)
    return total


def _coil_sensitivity(canvas: Canvas, size: int, rng: np.random.Generator) -> np.ndarray:
    """(S, S) float32 sensitivity of a surface coil behind the neck: 1 at the canal, less to the front and the ends."""
    coarse = 32
    step = (np.arange(coarse, dtype=np.float32) + 0.5) / coarse * size
    x, y = np.meshgrid(step, step)
    height = NECK_CENTRE[1] + rng.uniform(-0.05, 0.05)
    radius = rng.uniform(0.24, 0.32)
    field = np.zeros_like(x)
    for offset in (-0.18, 0.0, 0.18):
        (element,) = canvas.to_pixels(np.array([[NECK_CENTRE[0] + 0.30, height + offset]]))
        (rim,) = canvas.to_pixels(np.array([[NECK_CENTRE[0] + 0.30 + radius, height + offset]]))
        field += 1.0 / (1.0 + ((x - element[0]) ** 2 + (y - element[1]) ** 2) / (rim[0] - element[0]) ** 2) ** 1.1
    # Half of it stands for the body coil and the console's own correction.
    (canal,) = canvas.to_pixels(np.array([[NECK_CENTRE[0] + 0.04, NECK_CENTRE[1]]])).clip(0, size - 1)
    row, column = int(canal[1] * coarse / size), int(canal[0] * coarse / size)
    field = 0.45 + 0.55 * field / field[row, column]
    return cv2.resize(field.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)

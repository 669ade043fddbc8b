"""From a painted slice to the image a scanner with a surface coil behind the neck would give.

Shape legend
    S: height and width of the image in pixels
    H, W: height and width of any two-dimensional image
"""

import cv2
import numpy as np

from .anatomy import NECK_CENTRE
from .canvas import Canvas


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
    coil, height = NECK_CENTRE[0] + 0.30, NECK_CENTRE[1] + rng.uniform(-0.05, 0.05)
    radius = rng.uniform(0.24, 0.32)
    field = np.zeros_like(x)
    for offset in (-0.18, 0.0, 0.18):
        element, rim = canvas.to_pixels(np.array([[middle, height + offset] for middle in (coil, coil + radius)]))
        field += 1.0 / (1.0 + ((x - element[0]) ** 2 + (y - element[1]) ** 2) / (rim[0] - element[0]) ** 2) ** 1.1
    # Half of it stands for the body coil and the console's own correction.
    (canal,) = canvas.to_pixels(np.array([[NECK_CENTRE[0] + 0.04, NECK_CENTRE[1]]])).clip(0, size - 1)
    row, column = int(canal[1] * coarse / size), int(canal[0] * coarse / size)
    field = 0.45 + 0.55 * field / field[row, column]
    return cv2.resize(field.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)


def add_rician_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Replace every value by the magnitude of a complex number with Gaussian noise on both parts.

    A magnitude image is |x + n1 + i n2| with n1, n2 ~ N(0, sigma^2) (Gudbjartsson and Patz, 1995, eq. 1): about
    Gaussian where the signal is strong, Rayleigh with mean 1.25 sigma in air. The result is never negative.

    Args:
        image: (H, W), any real dtype, magnitudes >= 0.
        sigma: standard deviation of each part, in the image's own units, >= 0.
        rng: the source of randomness; two fields of H * W normal numbers are drawn from it.

    Returns:
        (H, W) float32.

    Raises:
        ValueError: sigma is negative or not finite.
    """
    if not (np.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"add_rician_noise: sigma is {sigma}; give a finite standard deviation >= 0.")
    real, imaginary = rng.standard_normal((2, *image.shape), dtype=np.float32) * np.float32(sigma)
    real += image
    return np.sqrt(real**2 + imaginary**2)


def add_bias_field(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply by a smooth field around 1, as an inhomogeneous coil or excitation does.

    The field is exp(strength * p), p a random polynomial of degree 3 in both coordinates (the form of BiasField in
    TorchIO and MONAI). It is scaled to max |p| = 1 and mean 0, so that `strength` alone says how strong the shading is.

    Args:
        image: (H, W), any real dtype.
        strength: natural logarithm of the greatest factor, >= 0; 0 changes nothing, 0.3 stays within a factor of 1.35.
        rng: the source of randomness; ten numbers are drawn from it.

    Returns:
        (H, W) float32.

    Raises:
        ValueError: strength is negative or not finite.
    """
    if not (np.isfinite(strength) and strength >= 0):
        raise ValueError(f"add_bias_field: strength is {strength}; give a finite number >= 0.")
    # Columns of y^i and of x^j: the sum over i + j <= 3 is then two small matrix products.
    y_powers, x_powers = (np.linspace(-1.0, 1.0, side)[:, None] ** np.arange(4) for side in image.shape)
    coefficients = np.zeros((4, 4))
    coefficients[np.add.outer(range(4), range(4)) <= 3] = rng.uniform(-1.0, 1.0, 10)
    coefficients[0, 0] = 0.0
    field = (y_powers @ coefficients @ x_powers.T).astype(np.float32)
    field -= field.mean()
    field *= np.float32(strength) / max(float(np.abs(field).max()), 1e-6)
    return np.exp(field, out=field) * image

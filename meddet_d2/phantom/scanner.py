"""Noise and shading of the phantom's magnitude images, in numpy: part of what its pixels are a function of.

Shape legend
    H, W: height and width of a two-dimensional image
"""

import numpy as np


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
    real = rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = rng.standard_normal(image.shape, dtype=np.float32)
    real *= np.float32(sigma)
    real += image
    imaginary *= np.float32(sigma)
    real *= real
    imaginary *= imaginary
    real += imaginary
    return np.sqrt(real, out=real)


def add_bias_field(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Multiply by a smooth field around 1, as an inhomogeneous coil or excitation does.

    The field is exp(strength * p), p a random polynomial of degree 3 in both coordinates (the form of BiasField in
    TorchIO and MONAI), scaled to max |p| = 1 and mean 0 so that `strength` alone says how strong the shading is.

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
    height, width = image.shape
    # powers[i] is y^i (or x^i); the sum over i + j <= 3 is then two small matrix products.
    y_powers = np.linspace(-1.0, 1.0, height)[:, None] ** np.arange(4)
    x_powers = np.linspace(-1.0, 1.0, width)[:, None] ** np.arange(4)
    coefficients = np.zeros((4, 4))
    for i in range(4):
        coefficients[i, : 4 - i] = rng.uniform(-1.0, 1.0, 4 - i)
    coefficients[0, 0] = 0.0
    field = (y_powers @ coefficients @ x_powers.T).astype(np.float32)
    field -= field.mean()
    field *= np.float32(strength) / max(float(np.abs(field).max()), 1e-6)
    return np.exp(field, out=field) * image

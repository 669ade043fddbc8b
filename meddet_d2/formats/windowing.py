"""From measured values to 8 bits: the robust range of an image, and whether a file's own window is worth its use."""

from pathlib import Path

import numpy as np

from .records import ReadError

# The window of images of more than 8 bits: these percentiles become 0 and 255. Half a percent at each end is cut off,
# so that a few bright pixels (vessels, spikes) do not darken everything else.
WINDOW_PERCENTILES = (0.5, 99.5)
# Greater numbers are made smaller before they are subtracted from each other.
MAX_VALUE = 1e300
# The lowest part of the robust range is air and its noise, which a window may make black.
AIR = 0.1
# A file's own window gives way if it makes black or white, out of values that differ, more than this share of pixels
MAX_LOST = 0.05
# that are not air, or if it is so wide that the robust range of the image gets fewer grey levels than this.
MIN_LEVELS = 64


def window(values: np.ndarray, measured: np.ndarray | None = None) -> np.ndarray:
    """Map an image of any real type to 8 bits by its robust range.

    WINDOW_PERCENTILES become 0 and 255, what lies beyond is cut off. Where they coincide (nearly everything has one
    value) the least and the greatest value are taken; a constant image becomes 0.

    Args:
        values: any shape, integer or float, finite.
        measured: bool, of the same shape, somewhere true: the pixels that determine the range (default: all).

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # of longer floats; the next line refuses them
        values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("holds NaN or infinite values")
    greatest = np.abs(values).max(initial=0.0)
    if greatest > MAX_VALUE:
        values = values / greatest
    inside = values if measured is None else values[measured]
    low, high = np.percentile(inside, WINDOW_PERCENTILES)
    if low == high:
        low, high = inside.min(), inside.max()
    if low == high:
        return np.zeros(values.shape, np.uint8)
    return np.rint(np.clip((values - low) / (high - low), 0.0, 1.0) * 255.0).astype(np.uint8)


def to_rgb(values: np.ndarray, path: Path) -> np.ndarray:
    """A picture, (H, W, 3) uint8, of grey (H, W) or colours (H, W, 3), windowed unless it has 8 bits.

    Raises:
        ReadError: a value is NaN or infinite; it names the file ``path``.
    """
    try:
        shown = values if values.dtype == np.uint8 else window(values)
    except ValueError as error:
        raise ReadError(f"{error}; write the file again with finite values.", path) from None
    return np.repeat(shown[:, :, None], 3, axis=2) if shown.ndim == 2 else shown


def why_not(values: np.ndarray, shown: np.ndarray) -> str | None:
    """Why a file's own window does not suit its image; None if it does.

    Args:
        values: the image before the window, any shape and real type, finite.
        shown: the image after it, of the same shape, float in 0..255.

    Returns:
        A remark that ends in what is done instead, or None.
    """
    low, high = np.percentile(values, WINDOW_PERCENTILES)
    tissue = values > low + AIR * (high - low)
    ends = [values[tissue & end] for end in (shown <= 0, shown >= 255)]
    # Of the pixels that become one grey level, those that had another value than most of them.
    lost = sum(end.size - np.unique(end, return_counts=True)[1].max(initial=0) for end in ends) / values.size
    if lost > MAX_LOST:
        return f"the file's display window would cut off {lost:.0%} of the pixels; percentiles were used instead"
    low, high = np.percentile(shown, WINDOW_PERCENTILES)
    if high - low < MIN_LEVELS:
        return (
            f"the file's display window would leave {high - low:.0f} of 256 grey levels; percentiles were used instead"
        )
    return None


def constant_remarks(pixels: np.ndarray) -> list[str]:
    """What is to be said of (H, W, 3) pixels that all have one colour; nothing of others."""
    return [] if (pixels != pixels[:1, :1]).any() else ["all of its pixels are alike: it shows nothing"]

"""One reader for the pictures MR images are exported as: PNG, JPEG, TIFF; 8 or 16 bits or float; any colour mode.

Detectron2's own reader cuts 16-bit values off at 255, which turns nearly all of a 12-bit image white. Here everything
that is not 8-bit is windowed: the robust range of the image is mapped to 0..255.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

# The window of images of more than 8 bits: these percentiles become 0 and 255. Half a percent at each end is cut off,
# so that a few bright pixels (vessels, spikes) do not darken everything else.
WINDOW_PERCENTILES = (0.5, 99.5)


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture as 8-bit RGB, upright as its EXIF orientation says.

    Grey images get three equal channels, palettes their colours, CMYK is converted, transparent parts become black.
    Images of 16 or 32 bits or of floats are windowed by `window`.

    Args:
        path: a PNG, JPEG or TIFF file (or any other single image that Pillow reads).

    Returns:
        (H, W, 3) uint8, channels in the order R, G, B.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, no image, a stack of images, or holds NaN or infinity. One line, naming the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image file; correct the path in the json or put the file there.")
    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1) if image.format in ("TIFF", "GIF") else 1
            # Pillow keeps the high byte only of 16-bit colour; which file that is stands in the decoder's raw mode.
            deep_colour = image.mode in ("RGB", "RGBA") and any(";16" in str(tile[3]) for tile in image.tile)
            image.load()
            image = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: cannot be read as an image ({reason}); replace or remove the file.") from error
    if frames > 1:
        raise ValueError(f"{path}: holds {frames} images; write each slice into a file of its own.")
    if deep_colour:
        return _window_file(_read_deep_colour(path), path)
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(_window_file(np.asarray(image), path)[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.array(image.convert("RGB"))


def window(values: np.ndarray) -> np.ndarray:
    """Map an image of any real type to 8 bits by its robust range.

    WINDOW_PERCENTILES become 0 and 255, what lies beyond is cut off. Where they coincide (nearly everything has one
    value) the least and the greatest value are taken; a constant image becomes 0.

    Args:
        values: any shape, integer or float, finite.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("holds NaN or infinite values")
    low, high = np.percentile(values, WINDOW_PERCENTILES)
    if low == high:
        low, high = values.min(), values.max()
    if low == high:
        return np.zeros(values.shape, np.uint8)
    return np.rint(np.clip((values - low) / (high - low), 0.0, 1.0) * 255.0).astype(np.uint8)


def _window_file(values: np.ndarray, path: Path) -> np.ndarray:
    try:
        return window(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; write the file again with finite values.") from error


def _read_deep_colour(path: Path) -> np.ndarray:
    """(H, W, 3) uint16 of a 16-bit colour file that Pillow has found sound; an alpha channel is left out."""
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYDEPTH
    values = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise ValueError(f"{path}: its 16-bit colours cannot be decoded; save it as 16-bit grey or 8-bit colour.")
    return values[:, :, 2::-1]

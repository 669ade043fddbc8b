"""The pictures MR images are exported as: PNG, JPEG, TIFF and a few more; 8 or 16 bits or float; any colour mode.

Detectron2's own reader cuts 16-bit values off at 255, which turns nearly all of a 12-bit image white. Here everything
that is not 8-bit is windowed: the robust range of the image is mapped to 0..255.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import SAMPLEFORMAT

from .quiet import reading
from .records import MAX_PIXELS, ReadError
from .tiff import PREFIXES, black_is_zero
from .windowing import to_rgb

# Those that Pillow decodes by itself. Its list has others that start programs (EPS) or are no pictures of anything.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000", "PPM")
# No image that shows something is packed so well; memory is not given to a header alone.
MAX_PIXELS_A_BYTE = 10_000
# Pillow's modes of more than 8 bits, and TIFF's word for signed samples.
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
SIGNED = 2
TOO_LARGE = f"has more than {MAX_PIXELS // 10**6} million pixels; cut out the part that matters."


def read_picture(path: Path) -> np.ndarray:
    """Read a picture as 8-bit RGB, upright as its EXIF orientation says.

    Grey images get three equal channels, palettes their colours, CMYK is converted, transparent parts become black.
    Images of 16 or 32 bits or of floats are windowed.

    Args:
        path: a file of one of FORMATS.

    Returns:
        (H, W, 3) uint8, channels in the order R, G, B.

    Raises:
        ReadError: it is truncated, no image, a stack of images or an animation, of more than MAX_PIXELS, or
            holds NaN or infinity.
    """
    values, inverted = _load(path)
    picture = to_rgb(values, path)
    return 255 - picture if inverted else picture


def read_deep_grey(path: Path) -> np.ndarray | None:
    """(H, W) of a grey picture that is not of 8 bits, before its window; None of any other. Raises as `read_picture`.

    Where white is zero in the file, these values are, too.
    """
    values, _ = _load(path)
    return values if values.ndim == 2 and values.dtype != np.uint8 else None


def _load(path: Path) -> tuple[np.ndarray, bool]:
    """What is in a picture, upright, and whether it shows black where it should show white.

    It is (H, W, 3) uint8 or uint16, or (H, W) of any type for grey that is not of 8 bits.
    """
    with reading(path, lambda name: f"cannot be read as an image ({name}): it is truncated or damaged; replace it."):
        try:
            content, inverted = black_is_zero(path)
            with Image.open(content, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise ReadError(TOO_LARGE)
                if width * height > MAX_PIXELS_A_BYTE * path.stat().st_size:
                    raise ReadError("is far too short for its size in pixels; it is damaged: replace it.")
                frames = getattr(image, "n_frames", 1)
                if frames > 1:
                    raise ReadError(f"holds {frames} images; write each slice into a separate file.")
                # Loading a PNG compares no checksums. For 16-bit colour OpenCV would make room for a chunk before it
                # sees that the file is too short for it. After this an image must be opened anew.
                image.verify()
            with Image.open(content, formats=FORMATS) as image:
                # Which file is 16-bit colour stands in the decoder's raw mode only.
                deep_colour = image.mode in ("RGB", "RGBA", "LA") and any(";16" in str(tile[3]) for tile in image.tile)
                tags = getattr(image, "tag_v2", None)
                image.load()
                if deep_colour:
                    return _deep_colour(path), inverted
                return _values(ImageOps.exif_transpose(image), tags, inverted), inverted
        except UnidentifiedImageError:
            if path.read_bytes()[:4] in PREFIXES:
                raise ReadError("is a TIFF of a kind that is not read; save it as a PNG of 8 or 16 bits.") from None
            raise ReadError("is no image that can be read (DICOM, NIfTI, PNG, JPEG, TIFF); leave it out.") from None
        except Image.DecompressionBombError:
            raise ReadError(TOO_LARGE) from None


def _values(image: Image.Image, tags: Mapping[int, Any] | None, inverted: bool) -> np.ndarray:
    """As `_load` has it; ``tags`` are those of a TIFF, and transparent parts become black."""
    signed = tags is not None and tags.get(SAMPLEFORMAT, (1,))[0] == SIGNED
    if image.mode in DEEP or (signed and image.mode == "L"):
        values = np.asarray(image)
        # Pillow knows neither signed bytes nor unsigned words of 32 bits.
        if values.dtype == np.uint8:
            return values.view(np.int8)
        return values.view(np.uint32) if tags and values.dtype == np.int32 and not signed else values
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = (255, 255, 255, 255) if inverted else (0, 0, 0, 255)
        image = Image.alpha_composite(Image.new("RGBA", image.size, ground), image)
    return np.array(image.convert("RGB"))


def _deep_colour(path: Path) -> np.ndarray:
    """(H, W, 3) uint16 of a 16-bit colour file that Pillow has found sound; an alpha channel is left out."""
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYDEPTH
    values = cv2.imdecode(np.fromfile(path, np.uint8), flags)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise ReadError("its 16-bit colours cannot be decoded; save it as 16-bit grey or 8-bit colour.")
    return values[:, :, 2::-1]

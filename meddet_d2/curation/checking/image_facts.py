"""What the files of a data set hold: each is read once, measured, and let go.

Of an image nothing stays in memory but these figures and a small signature, by which duplicates are found.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ...formats import ReadError, read_image
from ...formats.identity import file_digest
from ...formats.reader import read_deep_values
from ...formats.windowing import WINDOW_PERCENTILES
from .annotation_checks import ImageRecord

# Grey levels of 256: within what a pixel counts as at the highest value, as of one value with others, and beyond what
# as coloured.
AT_TOP, SAME_VALUE, COLOURED = 2, 5, 32
# The look of an image: see `signature`.
GRID, COARSE = 32, 8


@dataclass(frozen=True)
class ImageFacts:
    """What one file holds.

    Attributes:
        size: width, height.
        window: of a file of more than 8 bits, the percentiles that tell its robust range; None for 8 bits.
        top: the highest value.
        top_share: share of the pixels at it.
        background: share of the pixels at the most frequent value, more or less.
        contrast: grey levels between the 1st and the 99th percentile, of 256.
        coloured: share of the pixels with a colour.
        file: digest of the file's bytes.
        pixels: digest of the pixels.
        signature: float32, of length 1 or 0; see `signature`.
    """

    size: tuple[int, int]
    window: tuple[float, float] | None
    top: float
    top_share: float
    background: float
    contrast: float
    coloured: float
    file: str
    pixels: str
    signature: np.ndarray


def measure(path: Path) -> ImageFacts:
    """Read one file.

    Raises:
        ReadError, OSError: it cannot be read.
    """
    image = read_image(path)
    deep = read_deep_values(path)
    grey = image[:, :, 1]
    values = grey if deep is None else deep
    # JPEG moves the highest value a little.
    margin = AT_TOP if deep is None else 0
    red, green, blue = image[:, :, 0], grey, image[:, :, 2]
    # Channel by channel: numpy takes the maximum over a short last axis forty times slower.
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    histogram = np.bincount(grey.ravel(), minlength=256)
    low, high = np.searchsorted(np.cumsum(histogram), [0.01 * grey.size, 0.99 * grey.size])
    common = int(histogram.argmax())
    ends = np.percentile(values, WINDOW_PERCENTILES)
    pixels = np.ascontiguousarray(image if deep is None else deep)
    digest = hashlib.blake2b(f"{pixels.shape} {pixels.dtype.str}".encode(), digest_size=16)
    digest.update(pixels.data)
    return ImageFacts(
        size=(image.shape[1], image.shape[0]),
        window=None if deep is None else (float(ends[0]), float(ends[1])),
        top=float(values.max()),
        # Subtracted in floats: small unsigned values would wrap around.
        top_share=float((values >= float(values.max()) - margin).mean()),
        background=float(histogram[max(common - SAME_VALUE, 0) : common + SAME_VALUE + 1].sum() / grey.size),
        contrast=float(high - low),
        coloured=float((spread > COLOURED).mean()),
        file=file_digest(path),
        pixels=digest.hexdigest(),
        signature=signature(grey),
    )


def measure_all(images: Sequence[ImageRecord], *, progress: bool) -> list[tuple[ImageRecord, ImageFacts | str]]:
    """The facts of every image that has a file, or why it cannot be read; in order, with a bar for ``progress``."""
    there = [(image, image.path) for image in images if image.path is not None]
    found: list[tuple[ImageRecord, ImageFacts | str]] = []
    # One after the other: threads were no faster, with one image or four at a time.
    with warnings.catch_warnings():
        # Pillow's, of odd metadata and of size: they quote the file.
        warnings.simplefilter("ignore")
        for image, path in tqdm(there, "images", unit="image", disable=not progress):
            try:
                found.append((image, measure(path)))
            except ReadError as error:
                found.append((image, error.reason))
            except Exception as error:  # what a decoder raises has many types, and texts that quote the file
                text = f"cannot be read as an image ({type(error).__name__}); replace or remove the file."
                found.append((image, text))
    return found


def signature(grey: np.ndarray) -> np.ndarray:
    """The look of an image: on a grid of 32 x 32, less its own coarse shape (8 x 8), which all sagittal slices share.

    Args:
        grey: (H, W) uint8.

    Returns:
        (GRID * GRID,) float32 of length 1; zeros for an image of one value.
    """
    image = Image.fromarray(np.ascontiguousarray(grey))
    fine = image.resize((GRID, GRID), Image.Resampling.BOX)
    coarse = image.resize((COARSE, COARSE), Image.Resampling.BOX).resize((GRID, GRID), Image.Resampling.BICUBIC)
    detail = np.asarray(fine, np.float32).ravel() - np.asarray(coarse, np.float32).ravel()
    detail -= detail.mean()
    length = float(np.linalg.norm(detail))
    # Less than a grey level on average is the noise of rounding, which would look like any other.
    return detail / length if length > GRID else np.zeros_like(detail)

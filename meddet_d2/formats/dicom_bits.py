"""Which bits of a stored word are its value: BitsStored of them, of which HighBit is the highest (PS3.5, 8.1.1).

The others may hold anything, an overlay of old scanners for one. pydicom takes the lowest bits whatever HighBit says.
"""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from .records import ReadError

# The groups of overlays in an image; an overlay in the pixels' own bits has more than one bit allocated.
OVERLAYS = range(0x6000, 0x6020, 2)
OVERLAY_TAGS = [Tag(group, element) for group in OVERLAYS for element in (0x0100, 0x0102)]


def value_bits(words: np.ndarray, dataset: Dataset, precision: int | None) -> tuple[np.ndarray, list[str]]:
    """The values in stored words.

    Args:
        words: (H, W) of integers, as they are stored; signed where the values are. (H, W, 3) of colours.
        dataset: with BitsAllocated, BitsStored and, unless it is BitsStored - 1, HighBit.
        precision: bits of a sample in a compressed frame; None for BitsAllocated. A frame of no more than BitsStored
            bits holds values and not words.

    Returns:
        Values of the same shape and type, with the sign that their highest bit gives; and remarks.

    Raises:
        ReadError: BitsStored and HighBit contradict each other, or belong to colours and differ. It names no file.
    """
    width, stored = precision or dataset.BitsAllocated, dataset.BitsStored
    count = min(width, stored)
    high = dataset.get("HighBit", stored - 1) if stored < width else count - 1
    low = high + 1 - count
    if not (isinstance(high, int) and low >= 0 and high < width) or (words.ndim > 2 and low):
        raise ReadError("its BitsStored and HighBit do not fit together; save it again with HighBit = BitsStored - 1.")
    size = words.dtype.itemsize * 8
    values = words << (size - 1 - high) >> (size - count)
    # A difference is more than the value's sign, and more than nothing: then something else lies in these bits.
    mask = (1 << size) - 1 & ~(((1 << count) - 1) << low) & ~_overlay_bits(dataset)
    others = np.array(mask).astype(words.dtype)
    odd = ((words ^ (values << low)) & others != 0) & (words & others != 0)
    if not odd.any():
        return values, []
    return values, [
        f"{max(odd.mean(), 0.001):.1%} of the pixels use bits that are none of BitsStored and of no overlay; they were "
        "left out, so compare the picture with the original"
    ]


def _overlay_bits(dataset: Dataset) -> int:
    """The bits of a word that overlays are stored in, as a mask."""
    mask = 0
    for group in OVERLAYS:
        allocated, position = (dataset.get((group, element)) for element in (0x0100, 0x0102))
        if allocated is not None and position is not None and allocated.value != 1 and 0 <= position.value < 64:
            mask |= 1 << position.value
    return mask

"""COCO's run-length encoded masks (RLE).

They are not left to pycocotools: of a damaged mask it reads behind the end, and gives memory that nobody has written.
"""

from typing import Any

import cv2
import numpy as np

from .annotation import Corners

# Pixels: what is larger is no picture, and would fill the memory.
MOST_PIXELS = 2**26
DAMAGED = "a mask (RLE) is damaged; export it again, or export polygons"


def mask_box(encoded: dict[str, Any], *, single: bool) -> Corners:
    """The box around a mask.

    Args:
        encoded: "size" (height, width) and "counts", as a list or packed.
        single: refuse a mask of several parts, which is a crowd.

    Raises:
        ValueError: it is damaged, empty, or of several parts. One line without a full stop.
    """
    size, counts = encoded.get("size"), encoded.get("counts")
    if isinstance(counts, str):
        counts = _unpack(counts)
    lists = isinstance(size, list) and isinstance(counts, list) and all(type(value) is int for value in size + counts)
    if size is None or counts is None or not lists or len(size) != 2 or min(*size, *counts) < 0:
        raise ValueError(DAMAGED)
    if not 0 < size[0] * size[1] <= MOST_PIXELS or sum(counts) != size[0] * size[1]:
        raise ValueError(DAMAGED)
    # Runs of 0 and 1 in turn, column by column.
    values = np.repeat(np.arange(len(counts), dtype=np.uint8) % 2, counts)
    mask = np.ascontiguousarray(values.reshape(size[1], size[0]).T)
    parts = cv2.connectedComponents(mask, connectivity=8)[0] - 1
    if parts == 0:
        raise ValueError("a mask (RLE) is empty")
    if single and parts > 1:
        raise ValueError(f"a mask is a crowd (iscrowd 1) of {parts} parts; draw a mask or a box for each disc")
    x, y, width, height = cv2.boundingRect(mask)
    return float(x), float(y), float(x + width), float(y + height)


def _unpack(text: str) -> list[int] | None:
    """The runs of a packed mask, as maskApi.c of COCO packs them; None if it is damaged.

    A letter holds five bits of a number, lowest first, and whether more follow. Numbers are signed, and from the
    fourth on each is the difference to the one two before.
    """
    found: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            found.append(value + (found[-2] if len(found) > 2 else 0))
            value = shift = 0
    return None if shift else found

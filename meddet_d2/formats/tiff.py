"""TIFF files whose white is zero, read as if their black were: Pillow inverts 8 bits, and neither 16 nor floats."""

import struct
from io import BytesIO
from pathlib import Path

from .records import ReadError

PREFIXES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PHOTOMETRIC, WHITE_IS_ZERO, BLACK_IS_ZERO = 262, 0, 1
# The types that a photometric interpretation may have, by their code.
TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}


def black_is_zero(path: Path) -> tuple[Path | BytesIO, bool]:
    """A file to read, and whether its picture has to be inverted afterwards.

    Returns:
        The path and False of any file but a TIFF whose white is zero; of that, its content with the one tag changed.

    Raises:
        ReadError: a TIFF does not say which of its values is black.
        struct.error, EOFError: it is damaged.
    """
    with open(path, "rb") as file:
        head = file.read(16)
        if head[:4] not in PREFIXES:
            return path, False
        order = "<" if head[:1] == b"I" else ">"
        # BigTIFF counts with eight bytes where TIFF has two or four.
        counts, offsets = ("QQ", "Q") if b"+" in head[:4] else ("HI", "I")
        (start,) = struct.unpack_from(order + offsets, head, 8 if offsets == "Q" else 4)
        file.seek(start)
        number = struct.calcsize(order + counts[0])
        (count,) = struct.unpack(order + counts[0], file.read(number))
        entry = struct.Struct(f"{order}HH{counts[1]}{struct.calcsize(counts[1])}s")
        entries = file.read(min(count, 2**16) * entry.size)
    if len(entries) < count * entry.size:
        raise EOFError("incomplete")
    for place in range(0, len(entries) - entry.size + 1, entry.size):
        tag, kind, _, value = entry.unpack_from(entries, place)
        if tag == PHOTOMETRIC and kind in TYPES:
            code = order + TYPES[kind]
            if struct.unpack_from(code, value)[0] != WHITE_IS_ZERO:
                return path, False
            content = bytearray(path.read_bytes())
            struct.pack_into(code, content, start + number + place + entry.size - len(value), BLACK_IS_ZERO)
            return BytesIO(content), True
    raise ReadError("does not say whether its zeros are black (PhotometricInterpretation); save it again as PNG.", path)

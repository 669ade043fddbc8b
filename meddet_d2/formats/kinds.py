"""What a file is, by its first bytes: names lie, and scanners' files often have no extension."""

import gzip
import re
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from .records import ReadError

HEAD = 352
PAIRS = (b"ni1", b"ni2")
GZIP = b"\x1f\x8b"
# Bytes that are unpacked at a time.
BLOCK = 2**20
# Value representations that the first element of a DICOM file without preamble can have.
FIRST_VRS = (b"UL", b"UI", b"CS", b"OB", b"LO", b"SH", b"DA", b"TM")


def kind_of(path: Path) -> str:
    """ "dicom", "nifti", or "picture" for everything else.

    Raises:
        FileNotFoundError: there is no such file.
        ReadError: it is empty or cannot be opened, or is compressed and no NIfTI.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image file; correct the path or put the file there.")
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise ReadError(f"cannot be opened ({type(error).__name__}); check its permissions.", path) from None
    if not head:
        raise ReadError("is empty (0 bytes); copy it again or leave it out.", path)
    if head[:2] == GZIP:
        if not nifti_magic(_start(path)) and header_of(path) is None:
            raise ReadError("is compressed with gzip and is no sound NIfTI; unpack it or fetch it again.", path)
        return "nifti"
    if head[128:132] == b"DICM" or _is_bare_dicom(head):
        return "dicom"
    if nifti_magic(head) or header_of(path) is not None:
        return "nifti"
    return "picture"


def opened(path: Path) -> BinaryIO:
    """A file, unpacked where it is packed with gzip, whatever its name says."""
    with open(path, "rb") as file:
        packed = file.read(2) == GZIP
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else open(path, "rb")


def unpacked_size(file: BinaryIO, most: int, wbits: int = zlib.MAX_WBITS) -> int | None:
    """Bytes of a zlib stream, counted until they are more than ``most``; None if it is damaged or incomplete.

    Args:
        file: open at the stream's beginning.
        most: the count that is of interest.
        wbits: the stream's kind, as for `zlib.decompress`.
    """
    size, unpack = 0, zlib.decompressobj(wbits)
    try:
        while not unpack.eof and size <= most:
            packed = unpack.unconsumed_tail or file.read(BLOCK)
            # Of nothing, too: all may have been taken in and not given out.
            piece = unpack.decompress(packed, BLOCK)
            if not (packed or piece or unpack.eof):
                return None
            size += len(piece)
    except zlib.error:
        return None
    return size


def header_of(path: Path) -> Path | None:
    """The NIfTI header beside an .img file, which holds no more than voxels; None for all other files."""
    header = other_half(path) if ".img" in path.name.lower()[-7:] and not nifti_magic(_start(path)) else None
    return header if header is not None and nifti_magic(_start(header)) in PAIRS else None


def other_half(path: Path) -> Path | None:
    """The .img of an .hdr or the .hdr of an .img, either of them packed or not; None where there is none."""
    name = re.fullmatch(r"(.*)\.(hdr|img)(\.gz)?", path.name, re.IGNORECASE)
    if name is None:
        return None
    end = {"hdr": "img", "img": "hdr", "HDR": "IMG", "IMG": "HDR"}.get(name[2], "")
    packed = name[3] or ""
    names = [f"{name[1]}.{end}{suffix}" for suffix in (packed, "" if packed else ".gz")]
    return next((half for half in map(path.with_name, names) if half.is_file()), None)


def nifti_magic(head: bytes) -> bytes:
    """n+1 or n+2 by NIfTI's version, ni1 or ni2 where the voxels are in another file; nothing of another file."""
    if head[4:8] in (b"n+2\0", b"ni2\0"):
        return head[4:7]
    return head[344:347] if head[344:348] in (b"n+1\0", b"ni1\0") else b""


def _start(path: Path) -> bytes:
    """The first bytes of a file, unpacked; none of one that cannot be unpacked."""
    try:
        with opened(path) as file:
            return file.read(HEAD)
    except (OSError, EOFError, zlib.error):
        return b""


def _is_bare_dicom(head: bytes) -> bool:
    """DICOM without the 128 bytes of preamble: an element of group 2 or 8 comes first."""
    if len(head) < 12:
        return False
    for order in "<>":
        group, element = struct.unpack(f"{order}HH", head[:4])
        if group in (0x0002, 0x0008) and element <= 0x0070:
            (length,) = struct.unpack(f"{order}I", head[4:8])
            # Implicit: a length that fits the first elements of those groups. Explicit: a value representation.
            if head[4:6] in FIRST_VRS or (order == "<" and length <= 128 and length % 2 == 0):
                return True
    return False

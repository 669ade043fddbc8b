"""What a file is, by its first bytes: names lie, and scanners' files often have no extension."""

import gzip
import struct
import zlib
from pathlib import Path

from .records import ReadError

HEAD = 352
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
    if head[:2] == b"\x1f\x8b":
        if not _is_nifti(_unpacked(path)):
            raise ReadError("is compressed with gzip and is no sound NIfTI; unpack it or fetch it again.", path)
        return "nifti"
    if head[128:132] == b"DICM" or _is_bare_dicom(head):
        return "dicom"
    if _is_nifti(head) or header_of(path) is not None:
        return "nifti"
    return "picture"


def header_of(path: Path) -> Path | None:
    """The NIfTI header beside an .img file, which holds no more than voxels; None for all other files."""
    if path.suffix not in (".img", ".IMG"):
        return None
    header = path.with_suffix(".hdr" if path.suffix == ".img" else ".HDR")
    if not header.is_file():
        return None
    with open(header, "rb") as file:
        return header if _is_nifti(file.read(HEAD)) else None


def _unpacked(path: Path) -> bytes:
    try:
        with gzip.open(path, "rb") as file:
            return file.read(HEAD)
    except (OSError, EOFError, zlib.error):
        return b""


def _is_nifti(head: bytes) -> bool:
    """NIfTI-1 and NIfTI-2, in one file or two, of either byte order."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


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

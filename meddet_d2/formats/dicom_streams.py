"""What compressed content would take in memory, checked before pydicom or a decoder gives that memory to it.

A compressed frame has a size and bits in its own header, which need not be the DICOM header's.
"""

import struct
import zlib
from pathlib import Path

from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset

from .kinds import unpacked_size
from .records import ReadError

# Bytes of an unpacked file: an enhanced one of five hundred slices of 512 x 512.
MAX_INFLATED = 2**28
PREAMBLE = 128
STREAMS = (*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes)
# Markers of JPEG that begin a frame: baseline to arithmetic, without the tables between them, and JPEG-LS's.
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
JPEG, JPEG2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"


def check_deflated(path: Path) -> None:
    """Refuse a deflated file that would unpack to more than MAX_INFLATED: a few hundred kilobytes can hold gigabytes.

    Raises:
        ReadError: it would. It names no file.
        Exception: whatever pydicom raises on a damaged file; EOFError where its packed part is damaged.
    """
    with open(path, "rb") as file:
        has_preamble = file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"
        file.seek(PREAMBLE + 4 if has_preamble else 0)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
        if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
            return
        size = unpacked_size(file, MAX_INFLATED, -zlib.MAX_WBITS)
    if size is None:
        raise EOFError("incomplete or damaged")
    if size > MAX_INFLATED:
        raise ReadError(f"unpacks to more than {MAX_INFLATED >> 20} MB; save it as Explicit VR Little Endian.")


def check_stream(dataset: Dataset, index: int) -> int | None:
    """Refuse a frame whose own size is not the file's.

    Returns:
        The bits of a sample; None of a frame without a header.

    Raises:
        ReadError: it is another, or none. It names no file.
        Exception: whatever pydicom raises on a damaged file.
    """
    if dataset.file_meta.TransferSyntaxUID not in STREAMS:
        return None
    *size, precision = stream_shape(frame_of(dataset, index)) or (0, 0, 0)
    if size != [dataset.Rows, dataset.Columns]:
        raise ReadError("its compressed picture has another size than its header says; fetch it again or leave it out.")
    return precision


def frame_of(dataset: Dataset, index: int) -> bytes:
    """A compressed frame; raises whatever pydicom raises on a damaged file."""
    count = int(dataset.get("NumberOfFrames") or 1)
    offsets = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    return get_frame(
        dataset.PixelData, index, number_of_frames=count, extended_offsets=offsets if all(offsets) else None
    )


def stream_shape(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and bits of a sample in a JPEG, JPEG-LS or JPEG 2000 stream; None where it does not say."""
    if frame.startswith(JPEG):
        return _jpeg_shape(frame)
    # A JPEG 2000 stream may be wrapped in a file format (JP2).
    start = frame.find(JPEG2000)
    if start < 0 or len(frame) < start + 43:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    return bottom - top, right - left, (frame[start + 42] & 0x7F) + 1


def _jpeg_shape(frame: bytes) -> tuple[int, int, int] | None:
    place = len(JPEG)
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # filled up
            place += 1
            continue
        if marker in FRAMES:
            precision, rows, columns = struct.unpack_from(">BHH", frame, place + 4)
            return rows, columns, precision
        place += 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
    return None

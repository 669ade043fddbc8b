"""The size that a compressed frame has by its own header, which need not be the DICOM header's.

A decoder gives memory to the size in the frame.
"""

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes

from .records import ReadError

STREAMS = (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)
# Markers of JPEG that begin a frame: baseline to arithmetic, without the tables between them, and JPEG-LS's.
FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
JPEG, JPEG2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"


def check_stream(dataset: Dataset, index: int) -> None:
    """Refuse a frame whose own size is not the file's.

    Raises:
        ReadError: it is another, or none. It names no file.
        Exception: whatever pydicom raises on a damaged file.
    """
    if dataset.file_meta.TransferSyntaxUID not in STREAMS:
        return
    if stream_size(frame_of(dataset, index)) != (dataset.Rows, dataset.Columns):
        raise ReadError("its compressed picture has another size than its header says; fetch it again or leave it out.")


def frame_of(dataset: Dataset, index: int) -> bytes:
    """A compressed frame; raises whatever pydicom raises on a damaged file."""
    count = int(dataset.get("NumberOfFrames") or 1)
    offsets = dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths")
    return get_frame(
        dataset.PixelData, index, number_of_frames=count, extended_offsets=offsets if all(offsets) else None
    )


def stream_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns of a JPEG, JPEG-LS or JPEG 2000 stream; None where it does not say."""
    if frame.startswith(JPEG):
        return _jpeg_size(frame)
    # A JPEG 2000 stream may stand in a file format of its own.
    start = frame.find(JPEG2000)
    if start < 0 or len(frame) < start + 24:
        return None
    right, bottom, left, top = (int.from_bytes(frame[at : at + 4], "big") for at in range(start + 8, start + 24, 4))
    return bottom - top, right - left


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    place = len(JPEG)
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # filled up
            place += 1
            continue
        if marker in FRAMES:
            return int.from_bytes(frame[place + 5 : place + 7], "big"), int.from_bytes(
                frame[place + 7 : place + 9], "big"
            )
        place += 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
    return None

"""Deflated DICOM files, unpacked within a limit: pydicom would unpack a few hundred kilobytes into gigabytes."""

import zlib
from io import BytesIO
from pathlib import Path

from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from .records import ReadError

# Bytes of an unpacked file: an enhanced one of five hundred slices of 512 x 512.
MAX_INFLATED = 2**28
# Bytes that are unpacked at once, to a thousand times as many at most.
PIECE = 2**15
PREAMBLE = 128


def inflated(path: Path) -> tuple[BytesIO | Path, FileMetaDataset | None]:
    """What a deflated file holds behind its file meta information, and that; any other file's path and None.

    The transfer syntax in it is changed to Explicit VR Little Endian, which the unpacked content is in.

    Raises:
        ReadError: it is larger than MAX_INFLATED. It names no file.
        Exception: whatever pydicom and zlib raise on a damaged file.
    """
    with open(path, "rb") as file:
        has_preamble = file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"
        file.seek(PREAMBLE + 4 if has_preamble else 0)
        meta = FileMetaDataset(
            read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)
        )
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return path, None
        unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        content = BytesIO()
        while not unpacker.eof and (piece := file.read(PIECE)):
            if content.write(unpacker.decompress(piece)) and content.tell() > MAX_INFLATED:
                raise ReadError(f"unpacks to more than {MAX_INFLATED >> 20} MB; save it as Explicit VR Little Endian.")
    if not unpacker.eof:
        raise EOFError("incomplete")
    content.seek(0)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return content, meta

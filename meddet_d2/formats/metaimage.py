"""MetaImage volumes (.mha), which TorchIO reads through SimpleITK, after a look at what their header asks for."""

import math
import re
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np

from .kinds import unpacked_size

# The text before the voxels: SPIDER's have some 400 bytes.
MAX_HEADER = 2**16
# Twice SPIDER's largest; all of them are in memory at once.
MAX_VOXELS = 128_000_000
# More than zlib can pack into a byte.
MAX_VOXELS_A_BYTE = 1100
_PACKED = re.compile(rb"^CompressedData\s*[=:]\s*[T1]", re.MULTILINE | re.IGNORECASE)
# The header's last line says where the voxels are: in this file, or in any other on this machine.
_DATA = re.compile(rb"^ElementDataFile[ \t]*=[ \t]*LOCAL[ \t]*\r?$", re.MULTILINE)


def load_torchio() -> ModuleType:
    """TorchIO, which reads .mha through SimpleITK and turns volumes.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    try:
        import torchio
    except ImportError as error:
        raise ImportError(
            "SPIDER's .mha files need torchio, which is not installed: pip install -c constraints.txt -e '.[noise]'"
        ) from error
    return torchio


def read_volume(path: Path, *, labels: bool) -> tuple[np.ndarray, tuple[float, float, float]]:
    """A volume as (left to right, back to front, below to above), and the millimetres of a voxel.

    Args:
        path: an .mha.
        labels: its values are labels.

    Raises:
        ValueError: it is damaged, too large, holds anything but single finite values, or has them in another file.
    """
    torchio = load_torchio()
    _check_header(path)
    try:
        with warnings.catch_warnings():
            # That SimpleITK could not read a file; the error below says it.
            warnings.simplefilter("ignore", UserWarning)
            image = torchio.ToCanonical()((torchio.LabelMap if labels else torchio.ScalarImage)(path))
            values, (right, front, up) = image.data.numpy(), map(float, image.spacing)
    except Exception as error:
        # Damaged headers make SimpleITK, nibabel and TorchIO raise a dozen types.
        raise ValueError(f"{path}: cannot be read as a volume; unpack it again from the release.") from error
    if values.shape[0] != 1 or min(values.shape) < 1 or not np.isfinite(values).all():
        raise ValueError(f"{path}: is no volume of single finite values.")
    if not all(math.isfinite(size) and size > 0 for size in (right, front, up)):
        raise ValueError(f"{path}: its voxels have no size in millimetres; unpack it again from the release.")
    return values[0], (right, front, up)


def _check_header(path: Path) -> None:
    """Refuse what would read another file or ask for memory that the file does not justify; raises as `read_volume`."""
    import SimpleITK as sitk

    with open(path, "rb") as file:
        head = file.read(MAX_HEADER)
    place = head.lower().find(b"elementdatafile")
    data = _DATA.match(head, place) if place >= 0 else None
    if data is None:
        raise ValueError(f"{path}: is no MetaImage that holds its own voxels; unpack it again from the release.")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(f"{path}: cannot be read as a volume; unpack it again from the release.") from error
    voxels = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    if not 0 < voxels <= min(MAX_VOXELS, MAX_VOXELS_A_BYTE * path.stat().st_size):
        most = MAX_VOXELS // 10**6
        raise ValueError(
            f"{path}: has no voxels, more than {most} million, or more than can be in it; unpack it again."
        )
    if _PACKED.search(head, 0, place):
        with open(path, "rb") as file:
            file.seek(data.end() + 1)
            sizes = {voxels * width for width in (1, 2, 4, 8)}
            # MetaIO goes on with what it has unpacked up to the damage, and does not compare the checksum at the end.
            if unpacked_size(file, max(sizes)) not in sizes:
                raise ValueError(f"{path}: its packed voxels are damaged; unpack it again from the release.")

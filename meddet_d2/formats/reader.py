"""One file of any kind, to one image or to its slices."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np

from .identity import Pseudonyms, file_digest
from .kinds import kind_of
from .pictures import read_deep_grey, read_picture
from .records import MRSlice, ReadError, spacing_remarks
from .windowing import constant_remarks, to_rgb

PACKAGES = {"dicom": "pydicom pylibjpeg pylibjpeg-openjpeg python-gdcm", "nifti": "nibabel"}
SLICES = ("middle", "all")


def read_image(path: str | Path) -> np.ndarray:
    """Read one image as 8-bit RGB.

    More than 8 bits are windowed: nothing is cut off at 255. docs/how_to/reading.md says how.

    Args:
        path: a PNG, JPEG or TIFF, a DICOM file of one frame, or a NIfTI file, of which the mid-sagittal slice is taken.

    Returns:
        (H, W, 3) uint8, channels in the order R, G, B.

    Raises:
        FileNotFoundError: there is no such file.
        ReadError: it is truncated, no image, a stack or an animation, enormous, or holds NaN or infinity.
    """
    path = Path(path)
    kind = kind_of(path)
    if kind == "picture":
        return read_picture(path)
    if kind == "nifti":
        (plane,) = library(kind, path).read_planes(path, middle=True)
        return to_rgb(plane.values, path)
    dicom = library(kind, path)
    frames = dicom.read_frames(path)
    if len(frames) > 1:
        raise ReadError(f"holds {len(frames)} frames; write each slice into a separate file.", path)
    return dicom.read_picture(frames[0])


def read_deep_values(path: Path) -> np.ndarray | None:
    """(H, W) of the values that `read_image` windows, where they are grey and of more than 8 bits; None of others.

    Raises ReadError or OSError where it cannot be read.
    """
    kind = kind_of(path)
    if kind == "picture":
        return read_deep_grey(path)
    module = library(kind, path)
    values = module.read_values(path) if kind == "dicom" else module.read_planes(path, middle=True)[0].values
    return values if values.ndim == 2 and values.dtype.itemsize > 1 else None


def read_slices(path: str | Path, *, pseudonyms: Pseudonyms, slices: str = "middle") -> list[MRSlice]:
    """Read the slices of one file.

    Args:
        path: a picture, a DICOM file or a NIfTI file.
        pseudonyms: what names the slices and the patient.
        slices: "middle" (of a volume or of several frames, the middle one; of frames in several directions, the middle
            of each) or "all".

    Returns:
        At least one slice.

    Raises:
        FileNotFoundError: there is no such file.
        ReadError: it cannot be read, or one of its wanted slices cannot.
        ValueError: ``slices`` is neither.
    """
    check_slices(slices)
    path = Path(path)
    kind = kind_of(path)
    if kind == "dicom":
        dicom = library(kind, path)
        decoder = dicom.Decoder(pseudonyms)
        groups = dicom.series_of(dicom.read_frames(path))
        wanted = (dicom.in_order(group) if slices == "all" else dicom.middle_first(group)[:1] for group in groups)
        return [decoder(frame) for group in wanted for frame in group]
    return list(other_slices(path, kind, pseudonyms, slices))


def other_slices(path: Path, kind: str, pseudonyms: Pseudonyms, slices: str) -> Iterator[MRSlice]:
    """The slices of a picture or a NIfTI file; raises as `read_slices`."""
    if kind == "nifti":
        yield from library(kind, path).read_nifti(path, pseudonyms=pseudonyms, slices=slices)
        return
    pixels = read_picture(path)
    yield MRSlice(
        pixels=pixels,
        image_id=pseudonyms.image(file_digest(path)),
        patient_id=None,
        spacing=None,
        tags={},
        warnings=(*spacing_remarks(None), *constant_remarks(pixels)),
        source=path,
    )


def library(kind: str, path: Path) -> ModuleType:
    """The module for DICOM or NIfTI. Raises ReadError where its packages are missing: pictures do without them."""
    try:
        return import_module(f".{kind}", __package__)
    except ModuleNotFoundError as error:
        raise ReadError(f"needs a package that is not installed; run: pip install {PACKAGES[kind]}", path) from error


def check_slices(slices: str) -> None:
    if slices not in SLICES:
        raise ValueError(f"slices is {slices!r}; give 'middle' or 'all'.")

"""NIfTI volumes: sagittal slices as a radiologist looks at them, superior up and anterior to the left."""

import gzip
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from .identity import Pseudonyms, file_digest
from .kinds import header_of
from .quiet import quiet
from .records import MAX_PIXELS, MAX_VOXELS, MRSlice, ReadError
from .spacing import sane_spacing, spacing_remarks
from .windowing import constant_remarks, window

NIFTI = (nibabel.Nifti1Image, nibabel.Nifti1Pair, nibabel.Nifti2Image, nibabel.Nifti2Pair)
SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img")
MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
# Bytes before the voxels: the header and its extensions.
MAX_HEAD = 2**26
LEFT_RIGHT, FRONT_BACK, FOOT_HEAD = range(3)


@dataclass(frozen=True)
class Plane:
    """A slice as it is displayed, before any window.

    Attributes:
        values: (H, W), of any real type.
        number: from 1, counted from the patient's left (or back, or feet, where it is not sagittal).
        count: slices of the volume.
        spacing: millimetres from row to row and from column to column, or None.
        remarks: as in MRSlice.
    """

    values: np.ndarray
    number: int
    count: int
    spacing: tuple[float, float] | None
    remarks: tuple[str, ...]


def read_nifti(path: Path, *, pseudonyms: Pseudonyms, slices: str) -> Iterator[MRSlice]:
    """The mid-sagittal slice, or all from the patient's left to the right.

    An image of one slice gives that slice, whatever its plane. Of a series in time, the first volume.

    Raises:
        ReadError: it is truncated, no NIfTI, too large, of complex numbers or colours, or holds NaN or infinity.
    """
    planes = read_planes(path, middle=slices == "middle")
    digest = "".join(map(file_digest, _halves(path)))
    for plane in planes:
        pixels = _picture(plane, path)
        yield MRSlice(
            pixels=pixels,
            image_id=pseudonyms.image(f"{digest}#{plane.number}"),
            patient_id=None,
            spacing=plane.spacing,
            tags={},
            warnings=(*plane.remarks, *spacing_remarks(plane.spacing), *constant_remarks(pixels)),
            source=path,
            frame=plane.number if plane.count > 1 else None,
        )


def read_middle(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, the mid-sagittal slice; raises as `read_nifti` does."""
    (plane,) = read_planes(path, middle=True)
    return _picture(plane, path)


def read_planes(path: Path, *, middle: bool) -> list[Plane]:
    """The slices' values as they are displayed, before any window; raises as `read_nifti` does, but not for NaN."""
    with quiet():
        try:
            image, remarks = _open(path)
            values, sizes, axis, first, count = _canonical(image, middle)
        except ReadError as error:
            raise ReadError(error.reason, path) from None
        except FileNotFoundError:
            raise ReadError("its other half (.hdr or .img) is missing; put both into one folder.", path) from None
        except Exception as error:
            # nibabel raises a dozen types on damaged files; their text may quote the header.
            raise ReadError(
                f"cannot be read as NIfTI ({type(error).__name__}): it is truncated or damaged; fetch it again.", path
            ) from None
    if axis != LEFT_RIGHT:
        remarks.append("it is not a sagittal slice")
    down, across = [other for other in (FOOT_HEAD, FRONT_BACK, LEFT_RIGHT) if other != axis]
    spacing = sane_spacing((float(sizes[down]), float(sizes[across])))
    # Canonical axes run to the right, to the front and to the head. In a picture the head is above, and the patient
    # looks to the left; in the other planes, at the viewer or towards the ceiling.
    return [
        Plane(values.take(index, axis=axis)[::-1, ::-1].T, first + index + 1, count, spacing, tuple(remarks))
        for index in range(values.shape[axis])
    ]


def _halves(path: Path) -> list[Path]:
    """The files of an image: of a pair, the voxels are in one and how they lie is in the other."""
    header = header_of(path)
    if header is not None:
        return [header, path]
    if path.suffix in (".hdr", ".HDR"):
        return [path, path.with_suffix(".img" if path.suffix == ".hdr" else ".IMG")]
    return [path]


def _open(path: Path) -> tuple[nibabel.Nifti1Pair, list[str]]:
    """A file by its header, checked, and remarks."""
    if not path.name.lower().endswith(SUFFIXES):
        raise ReadError("is a NIfTI file under another name; let it end in .nii or .nii.gz.")
    _check_head(path)
    image = nibabel.load(header_of(path) or path)
    if not isinstance(image, NIFTI):
        raise ReadError("is NIfTI of another kind (CIFTI) and no volume; give the volume that it was made from.")
    kind = image.get_data_dtype()
    if kind.kind not in "iuf":
        what = "colours" if kind.names else "complex numbers" if kind.kind == "c" else "no numbers"
        raise ReadError(f"holds {what}; save it as grey, of a real type.")
    if len(image.shape) < 2 or min(image.shape) < 1:
        raise ReadError("has not the shape of an image or a volume; convert it again.")
    voxels = math.prod(image.shape[:3])
    if voxels > MAX_VOXELS:
        raise ReadError(f"has more than {MAX_VOXELS // 10**6} million voxels; cut out the part that matters.")
    _check_length(image, voxels * kind.itemsize)
    remarks = []
    if math.prod(image.shape[3:]) > 1:
        remarks.append(f"the first of {math.prod(image.shape[3:])} volumes was used")
    if image.header["qform_code"] == 0 and image.header["sform_code"] == 0:
        remarks.append("the orientation is not stated, so it may not be a sagittal slice")
    return image, remarks


def _check_head(path: Path) -> None:
    """What lies before the voxels is of a sane size: nibabel reads all of it, and a packed file may hold gigabytes."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if packed else open(path, "rb") as file:
        head = file.read(nibabel.Nifti2Header.sizeof_hdr)
        second = head[4:8] == b"n+2\0"
        if not second and head[344:348] != b"n+1\0":
            return  # a header by itself, or voxels: these are not packed
        header = (nibabel.Nifti2Header if second else nibabel.Nifti1Header)(head[: 540 if second else 348], check=False)
        end = header.get_data_offset()
        if not 0 <= end <= MAX_HEAD:
            raise ReadError(f"says that its voxels begin behind {MAX_HEAD >> 20} MB; convert it again.")
        head += file.read(max(0, end - len(head)))
    start = header.sizeof_hdr + 4
    extended = head[header.sizeof_hdr : header.sizeof_hdr + 1] > b"\0"
    while extended and start + 16 <= min(end, len(head)):
        (size,) = struct.unpack(f"{header.endianness}i", head[start : start + 4])
        if not 8 <= size <= end - start:
            raise ReadError("has an extension of its header that does not end before its voxels; convert it again.")
        start += size


def _check_length(image: nibabel.Nifti1Pair, size: int) -> None:
    """The first volume is there to its end, and undamaged, even where less of it is wanted: half a file is no file."""
    end = image.dataobj.offset + size
    with image.file_map["image"].get_prepare_fileobj("rb") as file:
        while end > 0 and (block := file.read(min(end, 1 << 22))):
            end -= len(block)
        # A packed file's checksum is compared where its end is reached. Not far behind the first volume of many.
        rest = size + (1 << 20)
        while end <= 0 and rest > 0 and (block := file.read(min(rest, 1 << 22))):
            rest -= len(block)
    if end > 0:
        raise ReadError("is truncated; fetch it again.")


def _canonical(image: nibabel.Nifti1Pair, middle: bool) -> tuple[np.ndarray, np.ndarray, int, int, int]:
    """The wanted part with axes that run right, front, head; mm of its axes; the axis of the slices; the number of the
    first, from 0, and how many the volume has."""
    if image.ndim == 2:
        image = type(image)(np.asanyarray(image.dataobj)[:, :, None], image.affine, image.header)
    axes = nibabel.io_orientation(image.affine)  # for each stored axis: which canonical one it is, and its direction
    shape = image.shape[:3]
    single = [index for index in range(3) if shape[index] == 1]
    stored = next(index for index in range(3) if axes[index, 0] == LEFT_RIGHT)
    if len(single) == 1:
        (stored,) = single
    axis, count = int(axes[stored, 0]), shape[stored]
    if math.prod(shape) // count > MAX_PIXELS:
        raise ReadError(f"has slices of more than {MAX_PIXELS // 10**6} million pixels; cut out the part that matters.")
    first = count // 2 if middle else 0
    cut = [slice(None)] * 3
    if middle:
        from_end = count - 1 - first
        start = first if axes[stored, 1] > 0 else from_end
        cut[stored] = slice(start, start + 1)
    # Cut out before it is turned: only this part is read. Of the axes behind the third, the first of each.
    part = nibabel.as_closest_canonical(image.slicer[(*cut, *(0,) * (image.ndim - 3))])
    unit = MILLIMETRES.get(part.header.get_xyzt_units()[0], 1.0)
    return np.asanyarray(part.dataobj), nibabel.affines.voxel_sizes(part.affine) * unit, axis, first, count


def _picture(plane: Plane, path: Path) -> np.ndarray:
    try:
        grey = plane.values if plane.values.dtype == np.uint8 else window(plane.values)
    except ValueError as error:
        raise ReadError(f"{error}; write the file again with finite values.", path) from None
    return np.repeat(grey[:, :, None], 3, axis=2)

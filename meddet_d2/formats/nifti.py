"""NIfTI volumes: sagittal slices as a radiologist looks at them, superior up and anterior to the left."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy

from .identity import Pseudonyms, file_digest
from .kinds import HEAD, PAIRS, header_of, nifti_magic, opened, other_half
from .nifti_geometry import FOOT_HEAD, FRONT_BACK, LEFT_RIGHT, VolumeGeometry, geometry_of
from .quiet import reading
from .records import MAX_PIXELS, MAX_VOXELS, MRSlice, Place, ReadError, sane_spacing, spacing_remarks
from .windowing import constant_remarks, to_rgb

# Intents of a matrix of the brain's surface, which NIfTI's header holds too.
CIFTI = range(3000, 3100)
KINDS = {
    b"ni1": nibabel.nifti1.Nifti1PairHeader,
    b"n+1": nibabel.Nifti1Header,
    b"ni2": nibabel.nifti2.Nifti2PairHeader,
    b"n+2": nibabel.Nifti2Header,
}
# Bytes before the voxels: the header and its extensions.
MAX_HEAD = 2**26


@dataclass(frozen=True)
class Plane:
    """A slice as it is displayed, before any window.

    Attributes:
        values: (H, W), of any real type.
        number: from 1, counted from the patient's left (or back, or feet, where it is not sagittal).
        count: slices of the volume.
        spacing: millimetres from row to row and from column to column, or None.
        remarks, place: as in MRSlice.
    """

    values: np.ndarray
    number: int
    count: int
    spacing: tuple[float, float] | None
    remarks: tuple[str, ...]
    place: Place | None


def read_nifti(path: Path, *, pseudonyms: Pseudonyms, slices: str) -> Iterator[MRSlice]:
    """The mid-sagittal slice, or all from the patient's left to the right.

    An image of one slice gives that slice, whatever its plane. Of a series in time, the first volume.

    Raises:
        ReadError: it is truncated, no NIfTI, too large, of complex numbers or colours, or holds NaN or infinity.
    """
    planes = read_planes(path, middle=slices == "middle")
    digest = "".join(map(file_digest, _halves(path)))
    for plane in planes:
        pixels = to_rgb(plane.values, path)
        yield MRSlice(
            pixels=pixels,
            image_id=pseudonyms.image(f"{digest}#{plane.number}"),
            patient_id=None,
            spacing=plane.spacing,
            tags={},
            warnings=(*plane.remarks, *spacing_remarks(plane.spacing), *constant_remarks(pixels)),
            source=path,
            frame=plane.number if plane.count > 1 else None,
            place=plane.place,
        )


def read_planes(path: Path, *, middle: bool) -> list[Plane]:
    """The slices' values as they are displayed, before any window; raises as `read_nifti` does, but not for NaN."""
    with reading(path, lambda name: f"cannot be read as NIfTI ({name}): it is truncated or damaged; fetch it again."):
        header, geometry, voxels = _header(path)
        with opened(voxels) as file:
            values, axis, first, count = _canonical(file, header, geometry, middle)
    remarks = list(geometry.remarks)
    volumes = math.prod(header.get_data_shape()[3:])
    if volumes > 1:
        remarks.append(f"the first of {volumes} volumes was used")
    if axis != LEFT_RIGHT:
        remarks.append("it is not a sagittal slice")
    down, across = [other for other in (FOOT_HEAD, FRONT_BACK, LEFT_RIGHT) if other != axis]
    spacing = sane_spacing((geometry.sizes[down], geometry.sizes[across]))
    # Canonical axes run to the right, to the front and to the head. In a picture the head is above, and the patient
    # looks to the left; in the other planes, at the viewer or towards the ceiling.
    turned = _of_turned(geometry, (*header.get_data_shape()[:3], 1)[:3]) if spacing is not None else None
    return [
        Plane(
            values.take(index, axis=axis)[::-1, ::-1].T,
            first + index + 1,
            count,
            spacing,
            tuple(remarks),
            None if turned is None else _place(turned, values.shape, axis, first + index),
        )
        for index in range(values.shape[axis])
    ]


def _of_turned(geometry: VolumeGeometry, shape: tuple[int, ...]) -> np.ndarray | None:
    """(4, 4), from the turned volume's voxels to millimetres to the left, the back and the head."""
    if geometry.affine is None:
        return None
    stored = nibabel.orientations.inv_ornt_aff(geometry.axes, shape)
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine @ stored


def _place(turned: np.ndarray, shape: tuple[int, ...], axis: int, number: int) -> Place:
    """Of a turned volume's slice: its columns run against one axis, its rows against the next."""
    across, down = [other for other in range(3) if other != axis]
    start = np.ones(4)
    start[axis], start[across], start[down] = number, shape[across] - 1, shape[down] - 1
    vectors = (turned @ start)[:3], -turned[:3, across], -turned[:3, down]
    return Place(*(tuple(vector.tolist()) for vector in vectors))


def _halves(path: Path) -> list[Path]:
    """The files of an image: of a pair, the header and then the voxels; a file of both alone.

    Raises ReadError, which names no file, where the other half is missing.
    """
    header = header_of(path) or path
    with opened(header) as file:
        if nifti_magic(file.read(HEAD)) not in PAIRS:
            return [header]
    voxels = path if path != header else other_half(path)
    if voxels is None:
        raise ReadError("its other half (.hdr or .img) is missing; put both into one folder.")
    return [header, voxels]


def _header(path: Path) -> tuple[nibabel.Nifti1Header, VolumeGeometry, Path]:
    """A file's header, checked, what it says of space, and the file of its voxels. Extensions are not read: they may be
    large."""
    halves = _halves(path)
    with opened(halves[0]) as file:
        head = file.read(nibabel.Nifti2Header.sizeof_hdr)
    kind = KINDS[nifti_magic(head)]
    head = head[: kind.sizeof_hdr]
    header = kind(head)
    if header["intent_code"] in CIFTI:
        raise ReadError("is NIfTI of another kind (CIFTI) and no volume; give the volume that it was made from.")
    values = header.get_data_dtype()
    if values.kind not in "iuf":
        what = "colours" if values.names else "complex numbers" if values.kind == "c" else "no numbers"
        raise ReadError(f"holds {what}; save it as grey, of a real type.")
    shape, start = header.get_data_shape(), header.get_data_offset()
    if len(shape) < 2 or min(shape) < 1:
        raise ReadError("has not the shape of an image or a volume; convert it again.")
    if math.prod(shape[:3]) > MAX_VOXELS:
        raise ReadError(f"has more than {MAX_VOXELS // 10**6} million voxels; cut out the part that matters.")
    if not (kind.sizeof_hdr if len(halves) == 1 else 0) <= start <= MAX_HEAD:
        raise ReadError(f"says that its voxels begin in its header, or behind {MAX_HEAD >> 20} MB; convert it again.")
    return header, geometry_of(header, kind(head, check=False)["pixdim"]), halves[-1]


def _check_length(file: BinaryIO, end: int, size: int) -> None:
    """The first volume is there to its end, and undamaged, even where less of it is wanted: half a file is no file."""
    # A packed file's checksum is compared where its end is reached. Not far behind the first volume of many.
    found, most = 0, end + size + (1 << 20)
    while found < most and (block := file.read(min(most - found, 1 << 22))):
        found += len(block)
    if found < end:
        raise ReadError("is truncated; fetch it again.")


def _canonical(
    file: BinaryIO, header: nibabel.Nifti1Header, geometry: VolumeGeometry, middle: bool
) -> tuple[np.ndarray, int, int, int]:
    """The wanted part with axes that run right, front, head; the axis of the slices; the first slice, from 0; the
    volume's number of slices."""
    shape = header.get_data_shape()
    size = math.prod(shape[:3]) * header.get_data_dtype().itemsize
    _check_length(file, header.get_data_offset() + size, size)
    proxy = ArrayProxy(file, header, mmap=False)
    three = (*shape[:3], 1)[:3]
    axes = geometry.axes
    single = [index for index in range(3) if three[index] == 1]
    stored = single[0] if len(single) == 1 else int(np.flatnonzero(axes[:, 0] == LEFT_RIGHT)[0])
    axis, count = int(axes[stored, 0]), three[stored]
    if math.prod(three) // count > MAX_PIXELS:
        raise ReadError(f"has slices of more than {MAX_PIXELS // 10**6} million pixels; cut out the part that matters.")
    first = count // 2 if middle else 0
    # Cut out before it is turned: only this part is read. Of the axes behind the third, the first of each.
    place: list[slice | int] = [slice(None)] * min(3, len(shape)) + [0] * (len(shape) - 3)
    if middle and stored < len(shape):
        start = first if axes[stored, 1] > 0 else count - 1 - first
        place[stored] = slice(start, start + 1)
    part = np.asanyarray(proxy[tuple(place)])
    turned = nibabel.orientations.apply_orientation(part.reshape((*part.shape, 1)[:3]), axes)
    return turned, axis, first, count

"""NIfTI volumes: sagittal slices as a radiologist looks at them, superior up and anterior to the left."""

import math
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np

from .identity import Pseudonyms, file_digest
from .kinds import header_of
from .quiet import quiet
from .records import MAX_PIXELS, MAX_VOXELS, MRSlice, ReadError
from .spacing import sane_spacing, spacing_remarks
from .windowing import window

NIFTI = (nibabel.Nifti1Image, nibabel.Nifti1Pair, nibabel.Nifti2Image, nibabel.Nifti2Pair)
SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img")
MILLIMETRES = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
LEFT_RIGHT, FRONT_BACK, FOOT_HEAD = range(3)


def read_nifti(path: Path, *, pseudonyms: Pseudonyms, slices: str) -> Iterator[MRSlice]:
    """The mid-sagittal slice, or all from the patient's left to the right.

    An image of one slice gives that slice, whatever its plane. Of a series in time, the first volume.

    Raises:
        ReadError: it is truncated, no NIfTI, too large, of complex numbers or colours, or holds NaN or infinity.
    """
    # Of a pair, the voxels are in one file and how they lie is in the other.
    digest = "".join(file_digest(file) for file in (header_of(path), path) if file is not None)
    for number, pixels, spacing, remarks, several in _cut(path, slices == "middle"):
        yield MRSlice(
            pixels=np.repeat(pixels[:, :, None], 3, axis=2),
            image_id=pseudonyms.image(f"{digest}#{number}"),
            patient_id=None,
            spacing=spacing,
            tags={},
            warnings=(*remarks, *spacing_remarks(spacing)),
            source=path,
            frame=number if several else None,
        )


def read_middle(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, the mid-sagittal slice; raises as `read_nifti` does."""
    ((_, pixels, _, _, _),) = _cut(path, True)
    return np.repeat(pixels[:, :, None], 3, axis=2)


def middle_values(path: Path) -> np.ndarray:
    """The mid-sagittal slice's values before any window, as it is displayed; for comparison with other software."""
    ((_, values, _, _, _),) = _planes(path, True)
    return values


def _cut(path: Path, middle: bool) -> Iterator[tuple]:
    for number, values, spacing, remarks, several in _planes(path, middle):
        yield number, _windowed(values, path), spacing, remarks, several


def _planes(path: Path, middle: bool) -> Iterator[tuple]:
    """Number from 1, values, spacing, remarks and whether there are several, of the slices as they are displayed."""
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
    for index in range(values.shape[axis]):
        # Canonical axes run to the right, to the front and to the head. In a picture the head is above, and the patient
        # looks to the left; in the other planes, at the viewer or towards the ceiling.
        shown = values.take(index, axis=axis)[::-1, ::-1].T
        yield first + index + 1, shown, spacing, remarks, count > 1


def _open(path: Path) -> tuple[nibabel.Nifti1Pair, list[str]]:
    """A file by its header, checked, and remarks."""
    if not path.name.lower().endswith(SUFFIXES):
        raise ReadError("is a NIfTI file under another name; let it end in .nii or .nii.gz.")
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


def _check_length(image: nibabel.Nifti1Pair, size: int) -> None:
    """The first volume is there to its end, even where less of it is wanted: half a file is no file."""
    end = image.dataobj.offset + size
    with image.file_map["image"].get_prepare_fileobj("rb") as file:
        while end > 0 and (block := file.read(min(end, 1 << 22))):
            end -= len(block)
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


def _windowed(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype == np.uint8:
        return values
    try:
        return window(values)
    except ValueError as error:
        raise ReadError(f"{error}; write the file again with finite values.", path) from None

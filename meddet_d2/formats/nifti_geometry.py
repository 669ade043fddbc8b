"""How a NIfTI volume lies in the patient and how large its voxels are, by whatever part of its header says it."""

from dataclasses import dataclass

import nibabel
import numpy as np

LEFT_RIGHT, FRONT_BACK, FOOT_HEAD = range(3)
# By the lowest three bits of xyzt_units: metres, millimetres, micrometres.
MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
# Sizes of one voxel in two parts of a header differ by no more than this share.
SAME_SIZE = 0.01


@dataclass(frozen=True)
class VolumeGeometry:
    """Attributes:
    axes: (3, 2), for each stored axis which of right, front and head it is, and its direction, 1 or -1.
    sizes: millimetres of a voxel to the right, to the front and to the head; NaN where the header does not say.
    remarks: as in MRSlice.
    affine: (4, 4), from stored voxels to millimetres to the right, the front and the head; None if nothing says it.
    """

    axes: np.ndarray
    sizes: tuple[float, ...]
    remarks: tuple[str, ...]
    affine: np.ndarray | None


def geometry_of(header: nibabel.Nifti1Header, pixdim: np.ndarray) -> VolumeGeometry:
    """By the sform, or the qform where that is missing or no transform, or else as if it were stored right-front-head.

    Args:
        header: checked by nibabel.
        pixdim: as it stands in the file, for nibabel takes a size of 0 for 1. Signs do not count, 0 and NaN are none.
    """
    pixdim = np.abs(pixdim[1:4].astype(np.float64))
    stated = np.where(np.isfinite(pixdim) & (pixdim > 0), pixdim, np.nan)
    sound = header.copy()
    sound["pixdim"][1:4] = np.where(np.isnan(stated), 1.0, stated)
    remarks, sizes, oriented = [], stated, True
    if header["sform_code"] > 0 and _is_transform(sform := sound.get_sform()):
        affine, sizes = sform, nibabel.affines.voxel_sizes(sform)
        if (np.abs(sizes / stated - 1.0) > SAME_SIZE).any():
            remarks.append("its header states two sizes of a voxel (sform and pixdim); that of the sform was used")
    elif header["qform_code"] > 0 and _is_transform(qform := _qform(sound)):
        affine = qform
    else:
        affine, oriented = sound.get_base_affine(), False
        remarks.append("the orientation is not stated, so it may not be a sagittal slice")
    unit = MILLIMETRES.get(int(header["xyzt_units"]) & 7)
    if unit is None and not np.isnan(sizes).all():
        remarks.append("the unit of its sizes is not stated; they were taken for millimetres")
    axes = nibabel.io_orientation(affine)
    order = np.argsort(axes[:, 0])
    scale = unit or 1.0
    stated_affine = np.diag([scale, scale, scale, 1.0]) @ affine if oriented else None
    return VolumeGeometry(axes, tuple(float(sizes[index]) * scale for index in order), tuple(remarks), stated_affine)


def _qform(header: nibabel.Nifti1Header) -> np.ndarray:
    try:
        return header.get_qform()
    except (ValueError, nibabel.spatialimages.HeaderDataError):
        # Its three numbers are no rotation.
        return np.full((4, 4), np.nan)


def _is_transform(affine: np.ndarray) -> bool:
    return bool(np.isfinite(affine).all() and np.linalg.matrix_rank(affine[:3, :3]) == 3)

"""Where a DICOM frame lies in the patient and how large its pixels are."""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from .dicom_groups import value_of
from .identity import numbers
from .spacing import sane_spacing, spacing_remarks

# In the order of trust. ImagerPixelSpacing is measured at the detector, not in the patient.
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
GEOMETRY = (*SPACINGS, "ImageOrientationPatient", "ImagePositionPatient")


@dataclass(frozen=True)
class Geometry:
    """Attributes:
    spacing: millimetres from row to row and from column to column, or None.
    orientation: directions of a row and of a column in the patient, six numbers rounded to 0.01, or None.
    position: millimetres along the normal of the slice, or None.
    """

    spacing: tuple[float, float] | None
    orientation: tuple[float, ...] | None
    position: float | None

    def remarks(self) -> list[str]:
        """What a reader of the picture should know of it."""
        remarks = spacing_remarks(self.spacing)
        if self.orientation is None:
            remarks.append("the orientation is not stated, so it may not be a sagittal slice")
        elif int(np.abs(_normal(self.orientation)).argmax()) != 0:
            remarks.append("it is not a sagittal slice")
        return remarks


def geometry_of(dataset: Dataset, index: int) -> Geometry:
    """Of one frame, from its functional groups or the file's top; what is missing or makes no sense is None."""
    candidates = (sane_spacing(_numbers(dataset, index, "PixelMeasuresSequence", name, 2)) for name in SPACINGS)
    spacing = next((found for found in candidates if found is not None), None)
    orientation = _numbers(dataset, index, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    if orientation is not None and not 0.9 < np.linalg.norm(_normal(orientation)) < 1.1:
        orientation = None
    corner = _numbers(dataset, index, "PlanePositionSequence", "ImagePositionPatient", 3)
    position = None if orientation is None or corner is None else float(np.dot(_normal(orientation), corner))
    if orientation is not None:
        # Plus zero, so that a rounded -0.001 is no orientation of its own.
        orientation = tuple(round(number, 2) + 0.0 for number in orientation)
    return Geometry(spacing, orientation, position)


def _normal(orientation: tuple[float, ...]) -> np.ndarray:
    return np.cross(orientation[:3], orientation[3:])


def _numbers(dataset: Dataset, index: int, sequence: str, keyword: str, count: int) -> tuple[float, ...] | None:
    try:
        return numbers(value_of(dataset, index, sequence, keyword), count)
    except Exception:
        # pydicom raises where a text is no number; then the file does not say it.
        return None

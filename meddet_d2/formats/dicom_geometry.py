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
    orientation: directions of a row and of a column in the patient, six numbers, or None.
    corner: the first pixel in the patient, three numbers in millimetres, or None; None without an orientation.
    """

    spacing: tuple[float, float] | None
    orientation: tuple[float, ...] | None
    corner: tuple[float, ...] | None

    @property
    def normal(self) -> np.ndarray | None:
        """The direction across the slice, nearly of length 1."""
        return None if self.orientation is None else np.cross(self.orientation[:3], self.orientation[3:])

    def remarks(self) -> list[str]:
        """What a reader of the picture should know of it."""
        remarks = spacing_remarks(self.spacing)
        if self.normal is None:
            remarks.append("the orientation is not stated, so it may not be a sagittal slice")
        elif int(np.abs(self.normal).argmax()) != 0:
            remarks.append("it is not a sagittal slice")
        return remarks


def geometry_of(dataset: Dataset, index: int) -> Geometry:
    """Of one frame, from its functional groups or the file's top; what is missing or makes no sense is None."""
    candidates = (sane_spacing(_numbers(dataset, index, "PixelMeasuresSequence", name, 2)) for name in SPACINGS)
    spacing = next((found for found in candidates if found is not None), None)
    orientation = _numbers(dataset, index, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    corner = _numbers(dataset, index, "PlanePositionSequence", "ImagePositionPatient", 3)
    geometry = Geometry(spacing, orientation, corner)
    if geometry.normal is None or not 0.9 < np.linalg.norm(geometry.normal) < 1.1:
        return Geometry(spacing, None, None)
    return geometry


def _numbers(dataset: Dataset, index: int, sequence: str, keyword: str, count: int) -> tuple[float, ...] | None:
    try:
        return numbers(value_of(dataset, index, sequence, keyword), count)
    except Exception:
        # pydicom raises where a text is no number; then the file does not say it.
        return None

"""What a DICOM file says of one frame: in the frame's functional groups, in the shared ones, or at its top.

Enhanced (multi-frame) files keep spacing, rescale and echo time in functional groups; all others have them at the top.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from .identity import numbers
from .records import Place, sane_spacing, spacing_remarks

GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")

# Keyword of the allow-list: the functional group that has it in an enhanced file, and its keyword there.
ACQUISITION = {
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "EchoTrainLength": ("MRTimingAndRelatedParametersSequence", "EchoTrainLength"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "SpacingBetweenSlices": ("PixelMeasuresSequence", "SpacingBetweenSlices"),
    "NumberOfAverages": ("MRAveragesSequence", "NumberOfAverages"),
    "PixelBandwidth": ("MRImagingModifierSequence", "PixelBandwidth"),
}
# What decides how the values are shown, by functional group; at the top of a file they stand without it.
DISPLAY = {
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}
TABLES = ("ModalityLUTSequence", "VOILUTSequence")
# In the order of trust. ImagerPixelSpacing is measured at the detector, not in the patient.
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
GEOMETRY = (*SPACINGS, "ImageOrientationPatient", "ImagePositionPatient")


def items_of(dataset: Dataset, index: int, sequence: str) -> list[Dataset]:
    """Where to look for what belongs to ``sequence``: its item for the frame, the shared one, the file's top."""
    per_frame, shared = (dataset.get(keyword) or [] for keyword in GROUPS)
    groups = [*per_frame[index : index + 1], *shared[:1]]
    found = [group.get(sequence) for group in groups]
    return [*(items[0] for items in found if items), dataset]


def value_of(dataset: Dataset, index: int, sequence: str, keyword: str) -> Any:
    """The first value found in `items_of`; None if there is none or pydicom cannot convert it."""
    return _first(items_of(dataset, index, sequence), keyword)


def _first(items: list[Dataset], keyword: str) -> Any:
    try:
        values = (item.get(keyword) for item in items)
        return next((value for value in values if value is not None), None)
    except Exception:
        # A text where a number belongs; the picture does not depend on it.
        return None


def acquisition(dataset: Dataset, index: int, keywords: list[str]) -> dict[str, Any]:
    """Values for `identity.allowed_tags`, by keyword; what pydicom cannot convert is None."""
    values = {keyword: _first([dataset], keyword) for keyword in keywords}
    for keyword, place in ACQUISITION.items():
        if values.get(keyword) is None:
            values[keyword] = value_of(dataset, index, *place)
    return values


def display_functions(dataset: Dataset, index: int) -> Dataset:
    """The frame's rescale and window, as pydicom's functions expect them: at the top of a dataset."""
    functions = Dataset()
    functions.file_meta = dataset.file_meta
    for sequence, keywords in DISPLAY.items():
        for item in items_of(dataset, index, sequence):
            # From one place or another: the window of one with the slope of the other would be nobody's.
            if item.get(keywords[0]) is not None:
                functions.update({item[keyword].tag: item[keyword] for keyword in keywords if keyword in item})
                break
    functions.update({dataset[keyword].tag: dataset[keyword] for keyword in TABLES if dataset.get(keyword)})
    return functions


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

    @property
    def place(self) -> Place | None:
        """Where the slice lies, if spacing, orientation and corner are known."""
        if self.spacing is None or self.orientation is None or self.corner is None:
            return None
        rows, columns = self.spacing
        across, down = np.multiply(self.orientation[:3], columns), np.multiply(self.orientation[3:], rows)
        return Place(tuple(self.corner), tuple(across.tolist()), tuple(down.tolist()))  # type: ignore[arg-type]

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
    return numbers(value_of(dataset, index, sequence, keyword), count)

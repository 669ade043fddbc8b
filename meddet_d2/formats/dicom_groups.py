"""Where a DICOM file says something of one frame: in the frame's functional groups, in the shared ones, or at its top.

Enhanced (multi-frame) files keep spacing, rescale and echo time in functional groups; all others have them at the top.
"""

from typing import Any

from pydicom.dataset import Dataset

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


def items_of(dataset: Dataset, index: int, sequence: str) -> list[Dataset]:
    """Where to look for what belongs to ``sequence``: its item for the frame, the shared one, the file's top."""
    per_frame, shared = (dataset.get(keyword) or [] for keyword in GROUPS)
    groups = [*per_frame[index : index + 1], *shared[:1]]
    found = [group.get(sequence) for group in groups]
    return [*(items[0] for items in found if items), dataset]


def value_of(dataset: Dataset, index: int, sequence: str, keyword: str) -> Any:
    """The first value found in `items_of`; None if there is none."""
    values = (item.get(keyword) for item in items_of(dataset, index, sequence))
    return next((value for value in values if value is not None), None)


def acquisition(dataset: Dataset, index: int, keywords: list[str]) -> dict[str, Any]:
    """Values for `identity.allowed_tags`, by keyword; what pydicom cannot convert is None."""
    values = {}
    for keyword in keywords:
        try:
            values[keyword] = dataset.get(keyword)
            if values[keyword] is None and keyword in ACQUISITION:
                values[keyword] = value_of(dataset, index, *ACQUISITION[keyword])
        except Exception:
            # A text where a number belongs; the picture does not depend on it.
            values[keyword] = None
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

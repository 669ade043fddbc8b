"""DICOM files: their frames by the header alone, and each frame's slice when it is wanted.

A header is read without its pixels and without what is not in HEADER_TAGS. So a folder of thousands of files fits in
memory, and most of what names a patient is never read at all.
"""

from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import MediaStorageDirectoryStorage

from .dicom_bits import OVERLAY_TAGS
from .dicom_groups import GEOMETRY, GROUPS, acquisition, display_functions, geometry_of
from .dicom_pixels import PIXEL_DATA, PLAIN, check_decodable, measured_values, set_transfer_syntax, to_picture
from .dicom_series import Frame, copy_key, in_order, middle_first, series_of
from .dicom_streams import check_deflated
from .identity import CODES, NUMBERS, Pseudonyms, allowed_tags, file_digest, numbers
from .quiet import quiet, reading
from .records import MAX_PIXELS, MRSlice, ReadError
from .windowing import constant_remarks

# What `reader` and `inputs` find here: they import this module where a DICOM file is met.
__all__ = ["Decoder", "copy_key", "in_order", "middle_first", "read_frames", "read_picture", "read_values", "series_of"]

IDENTITY = (
    *("PatientID", "IssuerOfPatientID", "PatientName"),
    *("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SeriesNumber"),
)
DESCRIPTION = ("ImageType", "BurnedInAnnotation", "InstanceNumber", "NumberOfFrames")
COLOURS = ("Red", "Green", "Blue")
# What decoding and display take; the lists of palettes and overlays that pydicom does not need here are left out.
DISPLAY = (
    "SamplesPerPixel", "PlanarConfiguration", "BitsAllocated", "HighBit", "PixelRepresentation",
    *(f"{kind}PixelPadding{end}" for kind in ("", "Float", "DoubleFloat") for end in ("Value", "RangeLimit")),
    "PixelPresentation", "PresentationLUTShape",
    "RescaleIntercept", "RescaleSlope", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    *(f"{colour}PaletteColorLookupTable{part}" for colour in COLOURS for part in ("Descriptor", "Data")),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in COLOURS),
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip
HEADER_TAGS = list(map(Tag, [*IDENTITY, *DESCRIPTION, *NUMBERS, *CODES, *DISPLAY, *GEOMETRY, *GROUPS]))
# The standard has them the other way round; the first one decides.
CONTRADICTIONS = (("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE"))
# More than any scanner puts into one file: a damaged number would keep us listing frames for ever.
MAX_FRAMES = 20_000
DAMAGED = "is no DICOM file that can be read: it is truncated or damaged; fetch it again or leave it out."


def read_frames(path: Path) -> list[Frame]:
    """The frames of a file, by its header.

    Raises:
        ReadError: it is no DICOM file, has no pixels, or they are of a kind that is not read.
    """
    dataset = _read(path, with_pixels=False)
    # pydicom converts a value when it is first asked for.
    with reading(path, lambda _: DAMAGED):
        return _frames(dataset, path)


class Decoder:
    """Frames to slices. The file that was used last stays open in memory, for its other frames."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._path: Path | None = None
        self._dataset = Dataset()

    def __call__(self, frame: Frame) -> MRSlice:
        """The slice of a frame; raises ReadError where it cannot be decoded."""
        if self._path != frame.path:
            self._dataset = _read(frame.path, with_pixels=True)
            self._path = frame.path
        pixels, remarks = decode(self._dataset, frame)
        several = frame.count > 1
        identity = frame.instance or file_digest(frame.path)
        return MRSlice(
            pixels=pixels,
            image_id=self._pseudonyms.image(f"{identity}#{frame.index + 1}" if several else identity),
            patient_id=None if frame.patient is None else self._pseudonyms.patient(frame.patient),
            spacing=frame.geometry.spacing,
            tags=dict(frame.tags),
            warnings=(*frame.warnings, *remarks, *constant_remarks(pixels)),
            source=frame.path,
            frame=frame.index + 1 if several else None,
            place=frame.geometry.place,
        )


def read_picture(frame: Frame) -> np.ndarray:
    """(H, W, 3) uint8 of one frame; raises ReadError."""
    return decode(_read(frame.path, with_pixels=True), frame)[0]


def decode(dataset: Dataset, frame: Frame) -> tuple[np.ndarray, list[str]]:
    """A frame's picture and remarks, as of `to_picture`; raises ReadError where it cannot be decoded."""
    # A UID that is none of a transfer syntax has no is_compressed.
    compressed = dataset.file_meta.TransferSyntaxUID not in PLAIN
    why = ", damaged, or compressed in a rare way (then save it uncompressed)" if compressed else " or damaged"
    with reading(
        frame.path, lambda name: f"its pixels cannot be decoded ({name}): it is truncated{why}; fetch it again."
    ):
        check_decodable(dataset)
        functions = display_functions(dataset, frame.index)
        values, remarks = measured_values(dataset, frame.index, functions)
        picture, more = to_picture(values, dataset, functions)
        return picture, remarks + more


def read_values(path: Path) -> np.ndarray:
    """Stored values of the first frame after rescale, before any window."""
    dataset = _read(path, with_pixels=True)
    with quiet():
        check_decodable(dataset)
        return measured_values(dataset, 0, display_functions(dataset, 0))[0]


def _read(path: Path, *, with_pixels: bool) -> Dataset:
    tags = [*HEADER_TAGS, *OVERLAY_TAGS, *map(Tag, PIXEL_DATA)] if with_pixels else HEADER_TAGS
    with reading(path, lambda _: DAMAGED):
        check_deflated(path)
        dataset = dcmread(path, force=True, stop_before_pixels=not with_pixels, specific_tags=tags)
        set_transfer_syntax(dataset)
        if dataset.get("NumberOfFrames") == 0:
            # Some write it of a single image. More frames would not fit.
            del dataset.NumberOfFrames
        return dataset


def _frames(dataset: Dataset, path: Path) -> list[Frame]:
    if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise ReadError("is a DICOMDIR, the index of a disc, without pixels; give the folder with the images.")
    rows, columns = _whole(dataset, "Rows"), _whole(dataset, "Columns")
    if rows is None or columns is None:
        raise ReadError("is no DICOM image (a report, a plan, an index, or damaged); leave it out.")
    if rows * columns > MAX_PIXELS:
        raise ReadError(f"has more than {MAX_PIXELS // 10**6} million pixels; cut out the part that matters.")
    if "MOSAIC" in _image_type(dataset):
        raise ReadError("is a mosaic, many small slices in one picture; export each slice as a file.")
    count = _whole(dataset, "NumberOfFrames") if dataset.get("NumberOfFrames") not in (None, "") else 1
    if count is None or count > MAX_FRAMES:
        raise ReadError("its number of frames makes no sense; fetch it again or leave it out.")
    remarks = _remarks(dataset)
    patient, instance = _patient(dataset), _text(dataset, "SOPInstanceUID")
    series, number = _text(dataset, "SeriesInstanceUID"), numbers(dataset.get("InstanceNumber"), 1)
    study = _text(dataset, "StudyInstanceUID"), _text(dataset, "SeriesNumber")
    frames = []
    for index in range(count):
        geometry = geometry_of(dataset, index)
        tags = allowed_tags(acquisition(dataset, index, [*NUMBERS, *CODES]))
        frames.append(
            Frame(
                path=path,
                index=index,
                count=count,
                # A file that names no series is a series by itself.
                series=(series or str(path), patient, rows, columns),
                study=study,
                patient=patient,
                instance=instance,
                number=number[0] if number else None,
                geometry=geometry,
                tags=tags,
                warnings=(*remarks, *geometry.remarks()),
            )
        )
    return frames


def _remarks(dataset: Dataset) -> list[str]:
    remarks = []
    burned_in = dataset.get("BurnedInAnnotation")
    if burned_in == "YES":
        remarks.append("BurnedInAnnotation is YES: the picture itself may show the patient's name")
    elif burned_in != "NO":
        remarks.append("BurnedInAnnotation is not stated: look whether the picture itself shows the patient's name")
    modality = allowed_tags({"Modality": dataset.get("Modality")}).get("Modality")
    if modality != "MR":
        remarks.append("it is not an MR image" if modality else "its modality is not stated")
    if (dataset.get("PhotometricInterpretation"), dataset.get("PresentationLUTShape")) in CONTRADICTIONS:
        remarks.append(
            "PhotometricInterpretation and PresentationLUTShape disagree, so black and white may be exchanged"
        )
    if "LOCALIZER" in _image_type(dataset):
        remarks.append("it is a localizer")
    return remarks


def _image_type(dataset: Dataset) -> list[str]:
    kinds = dataset.get("ImageType") or ()
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _patient(dataset: Dataset) -> str | None:
    """What the patient's pseudonym is made of."""
    number, issuer = _text(dataset, "PatientID"), _text(dataset, "IssuerOfPatientID")
    if number:
        # A number without issuer is as a table has it, so that both give one pseudonym. \x1f stands in no tag.
        return f"{number}\x1f{issuer}" if issuer else number
    name = (_text(dataset, "PatientName") or "").rstrip("^= ")
    return f"\x1fname\x1f{name}" if name else None


def _text(dataset: Dataset, keyword: str) -> str | None:
    return str(dataset.get(keyword) or "").strip() or None


def _whole(dataset: Dataset, keyword: str) -> int | None:
    """A whole number of at least 1, or None."""
    (number,) = numbers(dataset.get(keyword), 1) or (0,)
    return int(number) if number >= 1 and number == int(number) else None

"""DICOM files for tests: a plain sagittal MR slice, and one with a canary in every tag that can hold one.

No file is a patient's. ``CANARIES`` are the texts to look for in whatever is written or printed.
"""

from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.datadict import DicomDictionary, dictionary_VR
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from meddet_d2.formats import MRSlice, Pseudonyms, ReadError, read_image, read_slices
from meddet_d2.formats.quiet import quiet

PSEUDONYMS = Pseudonyms("a salt for tests")
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
PLAIN_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
ROOT_UID = "1.2.826.0.1.3680043.8.498.31415926535"
SAGITTAL = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]

# By value representation: what a tag of it holds in `canary_dicom`.
CANARY_VALUES: dict[str, Any] = {
    "AE": "CANARY_AE",
    "AS": "117Y",
    "CS": "CANARY_CS",
    "DA": "19040229",
    "DS": "271828.1828",
    "DT": "19040229031415",
    "FD": 2718281.828459,
    "FL": 2718272.0,
    "IS": "918273645",
    "LO": "Canary Long",
    "LT": "Canary Long Text",
    "OB": b"CANARYOB",
    "OD": b"CANARYOD",
    "OF": b"CANARYOF",
    "OL": b"CANARYOL",
    "OV": b"CANARYOV",
    "OW": b"CANARYOW",
    "PN": "Canary^Petunia",
    "SH": "Canary Short",
    "SL": 918273645,
    "SS": 28657,
    "ST": "Canary Short Text",
    "SV": 918273645,
    "TM": "031415.926535",
    "UC": "Canary Unlimited",
    "UI": "1.2.826.0.1.3680043.8.498.27182818284",
    "UL": 918273645,
    "UN": b"CANARYUN",
    "UR": "https://canary.example",
    "US": 48611,
    "UT": "Canary Unlimited Text",
    "UV": 918273645,
}
# "canary" is looked for in any case of letters. The short numbers and the age are left out: they stand in a picture's
# bytes or among coordinates by chance.
CANARIES = ["canary", "petunia", "19040229", "031415", "271828", "27182", "918273645", ROOT_UID]
SHORT_CANARIES = ["117Y", "28657", "48611"]

# Without these as they are, the pixels cannot be decoded.
STRUCTURE = {
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleIntercept", "RescaleSlope",
    "ModalityLUTSequence", "PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "PixelPresentation",
}  # fmt: skip
# What the items of sequences hold.
ITEM = [
    "PatientName", "PatientID", "PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "InstitutionName",
    "CodeValue", "CodeMeaning", "ReferencedSOPInstanceUID", "TextValue", "PersonName", "DateTime", "EffectiveEchoTime",
    "RepetitionTime", "SliceThickness", "WindowCenterWidthExplanation", "FrameAcquisitionNumber", "FrameComments",
]  # fmt: skip


def write_dicom(path: Path, pixels: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, **tags: Any) -> Path:
    """Write an MR image.

    Args:
        path: the file.
        pixels: (H, W) or (frames, H, W) of 8 or 16 bits, grey; (H, W, 3) uint8, RGB.
        syntax: Explicit or Implicit VR Little Endian, or Explicit VR Big Endian.
        tags: by keyword; they replace those of a plain sagittal slice, and None takes one out.

    Returns:
        ``path``.
    """
    dataset = make_dicom(pixels, **tags)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.asarray(pixels).astype(pixels.dtype.newbyteorder(">")).tobytes()
    return save(dataset, path)


def make_dicom(pixels: np.ndarray, **tags: Any) -> FileDataset:
    """The data set of `write_dicom`, not yet written."""
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3 and pixels.dtype == np.uint8
    frames = 1 if colour or pixels.ndim == 2 else len(pixels)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    bits = pixels.dtype.itemsize * 8
    values = {
        "SOPClassUID": MRImageStorage,
        "SOPInstanceUID": f"{ROOT_UID}.1",
        "SeriesInstanceUID": f"{ROOT_UID}.2",
        "StudyInstanceUID": f"{ROOT_UID}.3",
        "PatientID": "4711",
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "M"],
        "BurnedInAnnotation": "NO",
        "MagneticFieldStrength": 1.5,
        "PixelSpacing": [0.5, 0.5],
        "ImageOrientationPatient": SAGITTAL,
        "ImagePositionPatient": [0.0, -40.0, 60.0],
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "Rows": pixels.shape[0 if colour else -2],
        "Columns": pixels.shape[1 if colour else -1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PlanarConfiguration": 0 if colour else None,
        "NumberOfFrames": frames if frames > 1 else None,
        **tags,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    if "BitsStored" in tags and "HighBit" not in tags:
        dataset.HighBit = dataset.BitsStored - 1
    data = np.ascontiguousarray(pixels).tobytes()
    dataset.add_new("PixelData", "OW" if bits == 16 else "OB", data + b"\0" * (len(data) % 2))
    meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"] or f"{ROOT_UID}.9"
    return dataset


def save(dataset: FileDataset, path: Path) -> Path:
    """Write a data set with its file meta as it is, also where its values are not what the standard allows."""
    syntax = dataset.file_meta.TransferSyntaxUID
    with quiet():
        dcmwrite(
            path,
            dataset,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax != ExplicitVRBigEndian,
            enforce_file_format=True,
        )
    return path


def canary_dicom(path: Path, pixels: np.ndarray | None = None, **changes: Any) -> Path:
    """Write an MR image with a canary in every tag of DICOM's dictionary that can hold one, in private tags, in
    sequences (a second level too) and in the file meta information.

    Args:
        path: the file.
        pixels: (H, W) uint16; a 12-bit ramp of 64 x 64 by default.
        changes: by keyword; put in after the canaries, and None takes a tag out.

    Returns:
        ``path``.
    """
    if pixels is None:
        pixels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    dataset = make_dicom(pixels)
    with quiet():
        dataset.update(_canaries(_item(_item())))
        for group in (0x0009, 0x0029, 0x0099):
            block = dataset.private_block(group, "CANARY_PRIVATE", create=True)
            for element, vr in enumerate(("LO", "PN", "DA", "UN", "DS"), start=1):
                block.add_new(element, vr, CANARY_VALUES[vr])
        dataset.add_new(0x60000022, "LO", CANARY_VALUES["LO"])
        dataset.add_new(0x60004000, "LT", CANARY_VALUES["LT"])
        meta = dataset.file_meta
        meta.ImplementationVersionName = CANARY_VALUES["SH"]
        meta.SourceApplicationEntityTitle = CANARY_VALUES["AE"]
        meta.SendingApplicationEntityTitle = CANARY_VALUES["AE"]
        meta.MediaStorageSOPInstanceUID = CANARY_VALUES["UI"]
        meta.PrivateInformationCreatorUID = CANARY_VALUES["UI"]
        meta.PrivateInformation = CANARY_VALUES["OB"]
        for keyword, value in changes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        return save(dataset, path)


def write_lossless_jpeg(path: Path, values: np.ndarray, **tags: Any) -> Path:
    """The same as `write_dicom`, compressed as JPEG Lossless, which pydicom writes none of."""
    write_dicom(path, values, **tags)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path


def _canaries(item: Dataset) -> Dataset:
    """A data set with every tag of the dictionary; each sequence holds ``item``."""
    dataset = Dataset()
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        vr = vr.split(" or ")[0]
        if tag >> 16 in (0x0000, 0x0002, 0xFFFE) or tag & 0xFFFF == 0 or keyword in STRUCTURE or not keyword:
            continue
        if vr == "SQ":
            dataset.add_new(tag, vr, [item])
        elif vr in CANARY_VALUES:
            dataset.add_new(tag, vr, CANARY_VALUES[vr])
    return dataset


def _item(below: Dataset | None = None) -> Dataset:
    """An item of a sequence: names, dates and numbers where functional groups, references and requests have them."""
    item = Dataset()
    for keyword in ITEM:
        item.add_new(keyword, dictionary_VR(keyword), CANARY_VALUES[dictionary_VR(keyword)])
    item.private_block(0x0099, "CANARY_PRIVATE", create=True).add_new(1, "LO", CANARY_VALUES["LO"])
    if below is not None:
        for keyword in ("ReferencedStudySequence", "RequestAttributesSequence", "PixelMeasuresSequence"):
            item.add_new(keyword, "SQ", [below])
    return item


def only(path) -> MRSlice:
    (found,) = read_slices(path, pseudonyms=PSEUDONYMS)
    return found


def grey(path) -> np.ndarray:
    """(H, W) uint8."""
    image = read_image(path)
    assert all(np.array_equal(image[..., 0], image[..., channel]) for channel in (1, 2))
    return image[..., 0]


def said(path, *words) -> list[str]:
    """The remarks that have one of the words."""
    return [remark for remark in only(path).warnings if any(word in remark for word in words)]


def refusal(path) -> str:
    """Why it is refused, in one line that names the file."""
    with pytest.raises(ReadError) as caught:
        read_slices(path, pseudonyms=PSEUDONYMS)
    text = str(caught.value)
    assert text == f"{path}: {caught.value.reason}" and "\n" not in text
    return caught.value.reason


def item(**tags) -> Dataset:
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset

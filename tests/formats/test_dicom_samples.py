"""The DICOM files that pydicom and nibabel ship: the same pixels as pydicom's own, or a refusal by name."""

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

from meddet_d2.formats import MRSlice, Problem, Pseudonyms, ReadError, collect, read_image, read_slices, window
from meddet_d2.formats.dicom import read_values

PYDICOM = Path(pydicom.__file__).parent / "data" / "test_files"
NIBABEL = Path(nibabel.__file__).parent / "nicom" / "tests" / "data"
if not (PYDICOM / "MR_small.dcm").is_file() or not (NIBABEL / "0.dcm").is_file():
    pytest.skip("pydicom or nibabel came without its test files", allow_module_level=True)

PSEUDONYMS = Pseudonyms("a salt for tests")
MR_SMALL = [
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_expb.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
]
OTHER_MR = [PYDICOM / "examples_overlay.dcm"] + [
    NIBABEL / name for name in ("0.dcm", "1.dcm", "decimal_rescale.dcm", "slicethickness_empty_string.dcm")
]
DISC = sorted(path for path in (PYDICOM / "dicomdirtests").rglob("*") if path.name.isdigit() and path.is_file())
# 12-bit JPEG Extended is what no installed plugin decodes; the others are damaged on purpose.
UNDECODABLE = {"JPEG-lossy.dcm", "JPGExtended.dcm", "JPEG2000-embedded-sequence-delimiter.dcm", "MR_truncated.dcm"}
UNDECODABLE |= {"badVR.dcm"}
# Many slices in one picture.
MOSAICS = {"0.dcm", "1.dcm"}


def library_values(path: Path, index: int = 0) -> np.ndarray:
    """pydicom's pixels after its modality LUT, or its colours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
        values = pixel_array(dataset, index=index)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            return (apply_color_lut(values, dataset) >> 8).astype(np.uint8)
        return values if values.ndim == 3 else apply_modality_lut(values, dataset)


def images() -> list[Path]:
    """Every file of both packages that pydicom sees an image in."""
    found = []
    for path in sorted([*PYDICOM.rglob("*"), *NIBABEL.glob("*.dcm")]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(path, force=path.suffix == ".dcm")
            except Exception:
                continue
            if "Rows" in dataset and any(name.endswith("PixelData") for name in dataset.dir("PixelData")):
                found.append(path)
    return found


IMAGES = images()


def test_the_samples_are_there():
    assert len(DISC) == 31 and len(IMAGES) > 80
    assert {PYDICOM / name for name in MR_SMALL} | set(OTHER_MR) | set(DISC) <= set(IMAGES)


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.name)
def test_values_are_the_library_s(path):
    if path.name in UNDECODABLE:
        with pytest.raises(ReadError, match=path.name):
            read_slices(path, pseudonyms=PSEUDONYMS)
        return
    if path.name in MOSAICS:
        with pytest.raises(ReadError, match=rf"{path.name}: is a mosaic"):
            read_slices(path, pseudonyms=PSEUDONYMS)
        return
    values = read_values(path)
    expected = library_values(path)
    assert values.dtype == expected.dtype.newbyteorder("=") and np.array_equal(values, expected)
    shown = read_slices(path, pseudonyms=PSEUDONYMS, slices="all")[0].pixels
    assert shown.shape == (*values.shape[:2], 3) and shown.dtype == np.uint8


@pytest.mark.parametrize("name", MR_SMALL)
def test_every_way_of_writing_gives_one_picture(name):
    """Uncompressed in three ways, RLE, JPEG 2000, JPEG-LS: its window would whiten 5 %, so percentiles are used."""
    plain = library_values(PYDICOM / "MR_small.dcm")
    image = read_image(PYDICOM / name)
    assert np.array_equal(image, np.repeat(window(plain)[..., None], 3, axis=2))
    (found,) = read_slices(PYDICOM / name, pseudonyms=PSEUDONYMS)
    assert any("would cut off 5% of the pixels" in remark for remark in found.warnings)
    assert found.spacing == (0.3125, 0.3125) and found.tags["Modality"] == "MR"


def test_the_window_of_a_real_image_is_used():
    """Of examples_overlay: the first of two, which makes its air black and nothing else."""
    path = PYDICOM / "examples_overlay.dcm"
    values = library_values(path).astype(float)
    expected = np.clip((values - (450 - 0.5)) / (790 - 1) + 0.5, 0, 1) * 255
    (found,) = read_slices(path, pseudonyms=PSEUDONYMS)
    assert np.array_equal(found.pixels[..., 0], np.rint(expected).astype(np.uint8))
    assert not any("window" in remark for remark in found.warnings)


def test_a_truncated_file_is_refused_by_name():
    with pytest.raises(ReadError, match=r"MR_truncated\.dcm: its pixels cannot be decoded .* truncated") as caught:
        read_image(PYDICOM / "MR_truncated.dcm")
    assert "\n" not in str(caught.value) and "MR_truncated" not in caught.value.reason


def test_the_disc_folder_is_read_as_series():
    """The index is named, every image is there once, and the middle is one of each series."""
    everything = list(collect([PYDICOM / "dicomdirtests"], pseudonyms=PSEUDONYMS, slices="all"))
    slices = [result for result in everything if isinstance(result, MRSlice)]
    problems = [result for result in everything if isinstance(result, Problem)]
    names = [result.source for result in slices]
    assert sorted(names) == DISC and len(set(names)) == len(names)
    assert all("DICOMDIR" in problem.reason for problem in problems if problem.source.name.startswith("DICOMDIR"))
    series, patients = {}, set()
    for path in DISC:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        orientation = tuple(round(float(x), 2) + 0.0 for x in dataset.get("ImageOrientationPatient", ()))
        patients.add(dataset.PatientID)
        series.setdefault((dataset.SeriesInstanceUID, orientation), []).append(path)
    middle = [r for r in collect([PYDICOM / "dicomdirtests"], pseudonyms=PSEUDONYMS) if isinstance(r, MRSlice)]
    assert len(middle) == len(series) < len(DISC)
    assert len({r.patient_id for r in slices}) == len(patients) == 2


def test_frames_are_numbered_from_one():
    found = read_slices(PYDICOM / "examples_ybr_color.dcm", pseudonyms=PSEUDONYMS, slices="all")
    assert [one.frame for one in found] == list(range(1, 31))
    assert np.array_equal(found[7].pixels, library_values(PYDICOM / "examples_ybr_color.dcm", 7))
    (middle,) = read_slices(PYDICOM / "examples_ybr_color.dcm", pseudonyms=PSEUDONYMS)
    assert middle.frame == 16 and middle.image_id == found[15].image_id
    with pytest.raises(ReadError, match="holds 30 frames"):
        read_image(PYDICOM / "examples_ybr_color.dcm")

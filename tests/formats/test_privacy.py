"""Canaries in every tag, header field and text chunk: none comes out of the reader, whatever it says or raises."""

import logging
import traceback
import warnings

import dicom_files
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin

from meddet_d2.formats import MRSlice, Pseudonyms, ReadError, collect, read_image, read_slices
from meddet_d2.formats.quiet import quiet

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
PSEUDONYMS = Pseudonyms("a salt for tests")
SECRETS = [*dicom_files.CANARIES, *dicom_files.SHORT_CANARIES]


@pytest.fixture(autouse=True)
def nothing_gets_out(capfd, caplog):
    """Whatever a test does, no canary is printed, logged at any level, or warned of."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    out, err = capfd.readouterr()
    # By now caplog.text is that of the teardown.
    logged = [record.getMessage() for record in caplog.get_records("call")]
    assert_clean(out, err, *logged, *(str(warning.message) for warning in caught))


@pytest.fixture(scope="module")
def canary_file(tmp_path_factory):
    return dicom_files.canary_dicom(tmp_path_factory.mktemp("birds") / "a.dcm")


def assert_clean(*texts):
    for text in texts:
        found = [secret for secret in SECRETS if secret.lower() in str(text).lower()]
        assert not found, (found, text)


def told(error: ReadError, folder) -> list[str]:
    """An error's line and traceback, less the folder of the test, which has the test's name, and our own code."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return [line.replace(str(folder), "") for line in [str(error), *lines] if "test_privacy.py" not in line]


def contents(found: MRSlice) -> list[str]:
    """Everything of a slice but its source, as text."""
    fields = [found.image_id, found.patient_id, found.spacing, found.tags, found.warnings, found.frame]
    return [repr(found), *map(repr, fields)]


def test_the_canaries_are_in_the_file(canary_file):
    """Or the other tests would look for nothing."""
    with quiet():
        dataset = pydicom.dcmread(canary_file)
        assert len(dataset) > 4900
        assert dataset.PatientName == "Canary^Petunia" and dataset.Modality == "CANARY_CS"
        assert float(dataset.EchoTime) == 271828.1828 and dataset.SpecificCharacterSet == "CANARY_CS"
        assert dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PatientID == "Canary Long"
        assert dataset[0x00991001].value == "Canary Long"
    text = canary_file.read_bytes().lower()
    missing = {secret for secret in dicom_files.CANARIES if secret.encode() not in text}
    assert missing == {dicom_files.ROOT_UID}, "which a canary replaces"
    assert len(text) > 10**6


def test_a_slice_holds_no_canary(canary_file):
    (found,) = read_slices(canary_file, pseudonyms=PSEUDONYMS)
    assert_clean(*contents(found))
    assert found.tags == {"Rows": 64, "Columns": 64, "BitsStored": 16, "PhotometricInterpretation": "MONOCHROME2"}
    assert found.patient_id == PSEUDONYMS.patient("Canary Long\x1fCanary Long")
    assert read_image(canary_file).shape == (64, 64, 3)
    (again,) = collect([canary_file], pseudonyms=PSEUDONYMS)
    assert_clean(*contents(again))


def test_pixels_are_those_of_the_plain_file(canary_file, tmp_path):
    """No canary is burned into, or takes part in, the picture."""
    plain = read_image(dicom_files.write_dicom(tmp_path / "plain.dcm", RAMP))
    changed = dicom_files.canary_dicom(tmp_path / "c.dcm", RAMP, PixelPaddingValue=None, PixelPaddingRangeLimit=None)
    assert np.array_equal(read_image(changed), plain)


@pytest.mark.parametrize(
    "changes",
    [
        {"Rows": 65},
        {"Rows": 0},
        {"Rows": 60000, "Columns": 60000},
        {"PhotometricInterpretation": "CANARY_CS"},
        {"NumberOfFrames": 918273645},
        {"PixelData": None},
        {"BitsAllocated": 28657},
        {"SamplesPerPixel": 48611},
        {"PhotometricInterpretation": "PALETTE COLOR"},
    ],
    ids=str,
)
def test_an_error_holds_no_canary(canary_file, tmp_path, changes):
    with quiet():
        dataset = pydicom.dcmread(canary_file)
        for keyword, value in changes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        path = dicom_files.save(dataset, tmp_path / "bad.dcm")
    with pytest.raises(ReadError) as caught:
        read_slices(path, pseudonyms=PSEUDONYMS)
    assert_clean(caught.value.reason, *told(caught.value, tmp_path))
    (problem,) = collect([path], pseudonyms=PSEUDONYMS)
    assert_clean(problem.reason, repr(problem))


@pytest.mark.parametrize("share", [0.0003, 0.002, 0.1, 0.5, 0.9, 0.99999])
def test_a_truncated_file_says_no_canary(canary_file, tmp_path, share):
    """Cut off at this share of what stands before the end of the pixels."""
    data = canary_file.read_bytes()
    end = data.index(RAMP.tobytes()) + RAMP.nbytes
    path = tmp_path / "cut.dcm"
    path.write_bytes(data[: int(end * share)])
    with pytest.raises(ReadError) as caught:
        read_slices(path, pseudonyms=PSEUDONYMS)
    assert_clean(*told(caught.value, tmp_path))


@pytest.mark.parametrize("text", ["JANE DOE", "DOE_JANE", "MR JANE", "4711", "MR\\JANE", "SE\\DOE"])
def test_text_in_a_code_stays_behind(tmp_path, text):
    """A name in capital letters has the form of a code; only the standard's terms pass."""
    codes = ("Modality", "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "BodyPartExamined")
    path = dicom_files.write_dicom(tmp_path / "a.dcm", RAMP, **dict.fromkeys(codes, text.split("\\")))
    (found,) = read_slices(path, pseudonyms=PSEUDONYMS)
    assert not any(word in repr(contents(found)) for word in ("JANE", "DOE", "4711"))


def test_a_path_is_in_no_reason_and_no_repr(tmp_path):
    folder = tmp_path / "Canary^Petunia 19040229"
    folder.mkdir()
    (folder / "empty.png").touch()
    (folder / "text.dcm").write_text("hello")
    (folder / "half.nii.gz").write_bytes(b"\x1f\x8b\x08")
    (folder / ".hidden").touch()
    dicom_files.write_dicom(folder / "whole.dcm", RAMP)
    results = list(collect([folder, folder / "absent"], pseudonyms=PSEUDONYMS))
    assert len(results) == 6
    for result in results:
        assert_clean(repr(result), result.warnings if isinstance(result, MRSlice) else result.reason)


def test_pictures_texts_stay_behind(tmp_path):
    text = PngImagePlugin.PngInfo()
    for key in ("Description", "Author", "Canary"):
        text.add_text(key, "Canary^Petunia 19040229")
    exif = Image.Exif()
    exif[0x010E] = exif[0x9286] = exif[0x8298] = "Canary^Petunia 19040229"
    picture = Image.fromarray(np.full((8, 8), 50, np.uint8))
    with quiet():
        picture.save(tmp_path / "a.png", pnginfo=text)
        picture.save(tmp_path / "a.jpg", exif=exif, comment=b"Canary^Petunia")
        picture.save(tmp_path / "a.tif", tiffinfo={270: "Canary^Petunia", 315: "19040229"})
    paths = sorted(tmp_path.iterdir())
    for path in paths:
        (found,) = read_slices(path, pseudonyms=PSEUDONYMS)
        assert_clean(*contents(found))
        assert found.patient_id is None and found.tags == {}
    cut = tmp_path / "cut.tif"
    cut.write_bytes(paths[-1].read_bytes()[:-20])
    with pytest.raises(ReadError) as caught:
        read_image(cut)
    assert_clean(*told(caught.value, tmp_path))


def test_nifti_texts_stay_behind(tmp_path):
    image = nibabel.Nifti1Image(np.arange(512, dtype=np.int16).reshape(8, 8, 8), np.eye(4))
    for key in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[key] = b"Canary^Petunia"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Canary^Petunia 19040229"))
    nibabel.save(image, tmp_path / "a.nii")
    assert b"Petunia" in (tmp_path / "a.nii").read_bytes()
    (found,) = read_slices(tmp_path / "a.nii", pseudonyms=PSEUDONYMS)
    assert_clean(*contents(found))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[40:56] = b"\xff\x7f" * 8
    (tmp_path / "bad.nii").write_bytes(data)
    with pytest.raises(ReadError) as caught:
        read_image(tmp_path / "bad.nii")
    assert_clean(*told(caught.value, tmp_path))

"""DICOM images made here: ways of writing, functional groups, spacing, remarks, and what is refused."""

import dicom_files
import numpy as np
import pytest
from dicom_files import PLAIN_SYNTAXES, PSEUDONYMS, RAMP, grey, item, only, refusal, said
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from meddet_d2.formats import dicom_streams, read_image, read_slices, window

# --- ways of writing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", PLAIN_SYNTAXES)
def test_without_preamble_and_meta(tmp_path, syntax):
    path = dicom_files.write_dicom(tmp_path / "whole.dcm", RAMP, syntax=syntax, BitsStored=12)
    data = path.read_bytes()
    length = int.from_bytes(data[140:144], "little")
    bare = tmp_path / "IM0001"
    bare.write_bytes(data[144 + length :])
    assert np.array_equal(read_image(bare), read_image(path))
    no_preamble = tmp_path / "IM0002"
    no_preamble.write_bytes(data[132:])
    assert np.array_equal(read_image(no_preamble), read_image(path))


@pytest.mark.parametrize("name", ["no extension", "picture.png", "Ünïcode – 圖.dcm"])
def test_the_name_does_not_matter(tmp_path, name):
    assert read_image(dicom_files.write_dicom(tmp_path / name, RAMP)).shape == (64, 64, 3)


def test_rle_and_deflated(tmp_path):
    plain = dicom_files.write_dicom(tmp_path / "plain.dcm", RAMP, BitsStored=12)
    dataset = dicom_files.make_dicom(RAMP, BitsStored=12)
    dataset.compress(RLELossless)
    assert np.array_equal(read_image(dicom_files.save(dataset, tmp_path / "rle.dcm")), read_image(plain))
    dataset = dicom_files.make_dicom(RAMP, BitsStored=12)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert np.array_equal(read_image(dicom_files.save(dataset, tmp_path / "deflated.dcm")), read_image(plain))


def test_lossless_jpeg(tmp_path):
    plain = dicom_files.write_dicom(tmp_path / "plain.dcm", RAMP, BitsStored=12)
    packed = dicom_files.write_lossless_jpeg(tmp_path / "packed.dcm", RAMP, BitsStored=12)
    assert dcmread(packed).file_meta.TransferSyntaxUID == JPEGLosslessSV1
    assert packed.stat().st_size < plain.stat().st_size
    assert np.array_equal(read_image(packed), read_image(plain))


def test_a_deflated_file_that_is_cut_off_too_large_or_bare(tmp_path, monkeypatch):
    dataset = dicom_files.make_dicom(RAMP, BitsStored=12)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = dicom_files.save(dataset, tmp_path / "deflated.dcm")
    whole, pixels = path.read_bytes(), read_image(path)
    path.write_bytes(whole[132:])
    assert np.array_equal(read_image(path), pixels), "without a preamble"
    path.write_bytes(whole[:-9])
    assert "truncated or damaged" in refusal(path)
    path.write_bytes(whole)
    monkeypatch.setattr(dicom_streams, "MAX_INFLATED", 8000)
    assert "unpacks to more than" in refusal(path)


def test_a_file_of_two_transfer_syntaxes(tmp_path):
    path = dicom_files.write_dicom(tmp_path / "a.dcm", RAMP)
    syntax = ExplicitVRLittleEndian.encode()
    path.write_bytes(path.read_bytes().replace(syntax, syntax[:9] + b"\\" + syntax[10:], 1))
    assert "truncated or damaged" in refusal(path)


@pytest.mark.parametrize(
    ("stream", "shape"),
    [
        (b"\xff\xd8\xff\xe0\0\4ab\xff\xff\xc0\0\x0b\x08\0\x10\0\x20\1", (16, 32, 8)),
        (b"\xff\xd8\xff\xf7\0\x0b\x10\2\0\0\x40\1", (512, 64, 16)),
        (b"\xff\xd8\xff\xc4\0\x09\x08\0\x10\0\x20\1\2", None),
        (b"\xff\xd8\xff\xc0\0", None),
        (b"jP\xff\x4f\xff\x51\0\x29\0\0\0\0\1\4\0\0\0\x83\0\0\0\4\0\0\0\3" + bytes(18) + b"\x8b", (128, 256, 12)),
        (b"\xff\x4f\xff\x51\0\x29", None),
        (b"nothing", None),
    ],
)
def test_the_size_and_the_bits_in_a_compressed_frame(stream, shape):
    assert dicom_streams.stream_shape(stream) == shape


# --- several frames --------------------------------------------------------------------------------------------------


def enhanced(path, positions, **tags):
    """A multi-frame file of ramps, with rescale and window by frame, at positions on the axis to the left."""
    frames = np.stack([RAMP + 100 * index for index in range(len(positions))]).astype(np.uint16)
    groups = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[x, 0.0, 0.0])],
            PixelValueTransformationSequence=[item(RescaleSlope=index + 1, RescaleIntercept=-index)],
            FrameVOILUTSequence=[item(WindowCenter=2200.0 * (index + 1), WindowWidth=4400.0 * (index + 1))],
        )
        for index, x in enumerate(positions)
    ]
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[0.7, 0.7], SliceThickness=3.3)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=dicom_files.SAGITTAL)],
        MREchoSequence=[item(EffectiveEchoTime=99.5)],
    )
    return dicom_files.write_dicom(
        path,
        frames,
        PixelSpacing=None,
        ImageOrientationPatient=None,
        ImagePositionPatient=None,
        PerFrameFunctionalGroupsSequence=groups,
        SharedFunctionalGroupsSequence=[shared],
        **tags,
    )


def test_functional_groups(tmp_path):
    path = enhanced(tmp_path / "enhanced.dcm", [0.0, 4.0, 8.0])
    found = read_slices(path, pseudonyms=PSEUDONYMS, slices="all")
    assert [one.frame for one in found] == [3, 2, 1], "from the patient's left, which is where x is greatest"
    assert len({one.image_id for one in found}) == 3
    for index, one in enumerate(reversed(found)):
        assert one.spacing == (0.7, 0.7) and one.tags["SliceThickness"] == 3.3 and one.tags["EchoTime"] == 99.5
        assert one.warnings == ()
        values = (RAMP + 100.0 * index) * (index + 1) - index
        center, width = 2200.0 * (index + 1), 4400.0 * (index + 1)
        expected = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
        assert np.array_equal(one.pixels[..., 0], np.rint(expected))


def test_no_frames_are_one(tmp_path):
    """The standard has at least one; some write 0 of a single image."""
    path = dicom_files.write_dicom(tmp_path / "a.dcm", RAMP, NumberOfFrames=0)
    assert np.array_equal(grey(path), window(RAMP)) and only(path).frame is None


def test_a_mosaic_is_refused(tmp_path):
    path = dicom_files.write_dicom(tmp_path / "a.dcm", RAMP, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    assert "many small slices in one picture" in refusal(path)


def test_frames_are_sorted_by_position(tmp_path):
    path = enhanced(tmp_path / "shuffled.dcm", [8.0, 0.0, 12.0, 4.0, 16.0])
    found = read_slices(path, pseudonyms=PSEUDONYMS, slices="all")
    assert [one.frame for one in found] == [5, 3, 1, 4, 2]
    assert only(path).frame == 1


def test_frames_in_three_directions_give_three_middles(tmp_path):
    directions = [[0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]]
    groups = [item(PlaneOrientationSequence=[item(ImageOrientationPatient=directions[i // 3])]) for i in range(9)]
    path = dicom_files.write_dicom(
        tmp_path / "scout.dcm",
        np.stack([RAMP] * 9),
        ImageOrientationPatient=None,
        PerFrameFunctionalGroupsSequence=groups,
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    found = read_slices(path, pseudonyms=PSEUDONYMS)
    assert [one.frame for one in found] == [2, 5, 8]
    assert ["it is not a sagittal slice" in one.warnings for one in found] == [False, True, True]
    assert all("it is a localizer" in one.warnings for one in found)


# --- spacing, remarks, tags ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({}, (0.5, 0.5)),
        ({"PixelSpacing": [0.4, 0.9]}, (0.4, 0.9)),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2)),
        ({"PixelSpacing": [0.0, 0.0], "ImagerPixelSpacing": [0.2, 0.2]}, (0.2, 0.2)),
        ({"PixelSpacing": None}, None),
        ({"PixelSpacing": [-1, 1]}, None),
        ({"PixelSpacing": [0.5, 5000]}, None),
        ({"PixelSpacing": [0.5]}, None),
    ],
)
def test_spacing(tmp_path, tags, spacing):
    path = dicom_files.write_dicom(tmp_path / "a.dcm", RAMP, **tags)
    assert only(path).spacing == spacing
    assert bool(said(path, "spacing is not stated")) is (spacing is None)
    assert bool(said(path, "not square")) is (spacing == (0.4, 0.9))


def test_a_plain_slice_has_no_remarks(tmp_path):
    path = dicom_files.write_dicom(tmp_path / "a.dcm", RAMP)
    found = only(path)
    assert found.warnings == () and found.frame is None and found.source == path
    expected = {"MagneticFieldStrength": 1.5, "Rows": 64, "Columns": 64, "BitsStored": 16}
    assert found.tags == {**expected, "Modality": "MR", "PhotometricInterpretation": "MONOCHROME2"}


@pytest.mark.parametrize(
    ("tags", "remark"),
    [
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation is YES"),
        ({"BurnedInAnnotation": None}, "BurnedInAnnotation is not stated"),
        ({"BurnedInAnnotation": "SOMETIMES"}, "BurnedInAnnotation is not stated"),
        ({"Modality": "CT"}, "it is not an MR image"),
        ({"Modality": None}, "its modality is not stated"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "it is a localizer"),
        ({"PresentationLUTShape": "IDENTITY"}, None),
        ({"PresentationLUTShape": "INVERSE"}, "PhotometricInterpretation and PresentationLUTShape disagree"),
        ({"PresentationLUTShape": "INVERSE", "PhotometricInterpretation": "MONOCHROME1"}, None),
        ({"PresentationLUTShape": "IDENTITY", "PhotometricInterpretation": "MONOCHROME1"}, "PhotometricInterpretation"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "it is not a sagittal slice"),
        ({"ImageOrientationPatient": [0.9, 0.436, 0, 0, 0, -1]}, "it is not a sagittal slice"),
        ({"ImageOrientationPatient": [0.2, 0.98, 0, 0, 0, -1]}, None),
        ({"ImageOrientationPatient": None}, "the orientation is not stated"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "the orientation is not stated"),
    ],
)
def test_remarks(tmp_path, tags, remark):
    (*found,) = only(dicom_files.write_dicom(tmp_path / "a.dcm", RAMP, **tags)).warnings
    assert len(found) == (remark is not None) and all(text.startswith(remark) for text in found)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_without_pixels(tmp_path):
    dataset = dicom_files.make_dicom(RAMP)
    del dataset.PixelData
    assert "holds no pixels" in refusal(dicom_files.save(dataset, tmp_path / "none.dcm"))
    for keyword in ("Rows", "Columns"):
        delattr(dataset, keyword)
    assert "is no DICOM image" in refusal(dicom_files.save(dataset, tmp_path / "report.dcm"))


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Rows": 65}, "its pixels cannot be decoded"),
        ({"Rows": 0}, "is no DICOM image"),
        ({"Rows": 65535, "Columns": 65535}, "more than 64 million pixels"),
        ({"BitsAllocated": 12}, "its pixels cannot be decoded"),
        ({"SamplesPerPixel": 3}, "its pixels cannot be decoded"),
        ({"PhotometricInterpretation": "CMYK"}, "photometric interpretation"),
        ({"PhotometricInterpretation": None}, "photometric interpretation"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "its pixels cannot be decoded"),
        ({"NumberOfFrames": 2}, "its pixels cannot be decoded"),
        ({"NumberOfFrames": 2_000_000_000}, "number of frames makes no sense"),
        ({"NumberOfFrames": -1}, "number of frames makes no sense"),
    ],
)
def test_what_does_not_fit_together(tmp_path, tags, words):
    assert words in refusal(dicom_files.write_dicom(tmp_path / "bad.dcm", RAMP, **tags))


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.4.102", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.4"])
def test_unknown_transfer_syntaxes(tmp_path, uid):
    path = dicom_files.write_dicom(tmp_path / "video.dcm", RAMP)
    data = path.read_bytes()
    old = b"1.2.840.10008.1.2.1\0"
    start = data.index(old)
    assert data[start - 2 : start] == len(old).to_bytes(2, "little")
    new = uid.encode() + b"\0" * (len(uid) % 2)
    group = int.from_bytes(data[140:144], "little") + len(new) - len(old)
    data = data[: start - 2] + len(new).to_bytes(2, "little") + new + data[start + len(old) :]
    path.write_bytes(data[:140] + group.to_bytes(4, "little") + data[144:])
    assert "transfer syntax" in refusal(path)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.99])
def test_truncated(tmp_path, share):
    path = dicom_files.write_dicom(tmp_path / "cut.dcm", RAMP)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert refusal(path)


def test_slices_is_middle_or_all(tmp_path):
    path = dicom_files.write_dicom(tmp_path / "a.dcm", RAMP)
    with pytest.raises(ValueError, match="'first'"):
        read_slices(path, pseudonyms=PSEUDONYMS, slices="first")

"""DICOM images made here: windows, inversion, functional groups, spacing, remarks, and what is refused."""

import dicom_files
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from meddet_d2.formats import Pseudonyms, ReadError, dicom_deflated, dicom_streams, read_image, read_slices, window

PSEUDONYMS = Pseudonyms("a salt for tests")
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]


def only(path):
    (found,) = read_slices(path, pseudonyms=PSEUDONYMS)
    return found


def grey(path):
    image = read_image(path)
    assert all(np.array_equal(image[..., 0], image[..., channel]) for channel in (1, 2))
    return image[..., 0]


def said(path, *words):
    """The remarks that have one of the words."""
    return [remark for remark in only(path).warnings if any(word in remark for word in words)]


def refusal(path):
    with pytest.raises(ReadError) as caught:
        read_slices(path, pseudonyms=PSEUDONYMS)
    text = str(caught.value)
    assert text == f"{path}: {caught.value.reason}" and "\n" not in text
    return caught.value.reason


def item(**tags):
    dataset = Dataset()
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


# --- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("tags", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}], ids=["percentiles", "window"])
def test_a_12_bit_ramp_keeps_its_levels(tmp_path, photometric, tags):
    path = dicom_files.write_dicom(
        tmp_path / "ramp.dcm", RAMP, BitsStored=12, PhotometricInterpretation=photometric, **tags
    )
    row = grey(path).ravel().astype(int)
    direction = -1 if photometric == "MONOCHROME1" else 1
    assert len(np.unique(row)) >= 250
    assert (np.diff(row) * direction >= 0).all()
    assert {row[0], row[-1]} == {0, 255}
    assert ((row == 0) | (row == 255)).mean() < 0.02
    assert not said(path, "window")


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_bits_and_signs(tmp_path, syntax, kind):
    values = RAMP.astype(kind) * 8 - (16000 if kind is np.int16 else 0)
    path = dicom_files.write_dicom(tmp_path / "deep.dcm", values, syntax=syntax)
    assert np.array_equal(grey(path), window(values))


def test_12_bits_signed(tmp_path):
    values = RAMP.astype(np.int16) - 2048
    path = dicom_files.write_dicom(tmp_path / "signed.dcm", values, BitsStored=12)
    assert np.array_equal(grey(path), window(values))


@pytest.mark.parametrize("tags", [{}, {"RescaleSlope": 1, "RescaleIntercept": 0}])
def test_8_bits_without_a_window_are_kept(tmp_path, tags):
    values = np.full((32, 32), 100, np.uint8)
    values[:16] = np.arange(100, 132)
    assert np.array_equal(grey(dicom_files.write_dicom(tmp_path / "grey.dcm", values, **tags)), values)
    inverted = dicom_files.write_dicom(tmp_path / "m1.dcm", values, PhotometricInterpretation="MONOCHROME1", **tags)
    assert np.array_equal(grey(inverted), 255 - values)


def test_8_bits_with_a_rescale_are_windowed(tmp_path):
    values = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    path = dicom_files.write_dicom(tmp_path / "scaled.dcm", values, RescaleSlope=2, RescaleIntercept=-10)
    assert np.array_equal(grey(path), window(values * 2.0 - 10))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_window_is_the_standard_s(tmp_path, photometric, function):
    """PS3.3 C.11.2.1.2 and C.11.2.1.3, after the rescale; the inversion comes last."""
    center, width = 5000.0, 7800.0
    tags = {"RescaleSlope": 2, "RescaleIntercept": 1000, "WindowCenter": [center, 1], "WindowWidth": [width, 2]}
    path = dicom_files.write_dicom(
        tmp_path / "a.dcm", RAMP, BitsStored=12, PhotometricInterpretation=photometric, VOILUTFunction=function, **tags
    )
    values = RAMP * 2.0 + 1000
    if function == "SIGMOID":
        expected = 255 / (1 + np.exp(-4 * (values - center) / width))
    else:
        exact = function == "LINEAR_EXACT"
        left, size = (center, width) if exact else (center - 0.5, width - 1)
        expected = np.clip((values - left) / size + 0.5, 0, 1) * 255
    expected = np.rint(expected)
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    assert np.abs(grey(path) - expected).max() == 0
    assert not said(path, "window")


@pytest.mark.parametrize("bits", [8, 12])
def test_a_table_goes_before_a_window(tmp_path, bits):
    entries = np.rint(np.sqrt(np.arange(4096) / 4095) * (2**bits - 1)).astype(np.uint16)
    table = item(LUTDescriptor=[4096, 0, bits])
    table.add_new("LUTData", "OW", entries.tobytes())
    path = dicom_files.write_dicom(
        tmp_path / "table.dcm", RAMP, BitsStored=12, VOILUTSequence=[table], WindowCenter=1000, WindowWidth=10
    )
    assert np.array_equal(grey(path).ravel(), np.rint(entries / (2**bits - 1) * 255))


@pytest.mark.parametrize(
    ("tags", "remark"),
    [
        ({"WindowCenter": 100, "WindowWidth": 200}, "would cut off 90% of the pixels"),
        ({"WindowCenter": 2048, "WindowWidth": 60000}, "would leave 17 of 256 grey levels"),
        ({"WindowCenter": 2048, "WindowWidth": 0}, "cannot be used"),
        ({"WindowCenter": 2048, "WindowWidth": -5}, "cannot be used"),
        ({"WindowCenter": 2048}, "cannot be used"),
        ({"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "MAGIC"}, "cannot be used"),
        ({"VOILUTSequence": [Dataset()]}, "cannot be used"),
    ],
)
def test_a_bad_window_gives_way(tmp_path, tags, remark):
    path = dicom_files.write_dicom(tmp_path / "bad.dcm", RAMP, BitsStored=12, **tags)
    assert np.array_equal(grey(path), window(RAMP))
    (found,) = said(path, "window")
    assert remark in found and found.endswith("percentiles were used instead")


def test_a_window_may_make_air_black_and_not_tissue(tmp_path):
    values = RAMP.copy()
    values[:32] = np.arange(64) + 1  # half of the image is air, of values up to 64
    for low, black in ((100, True), (2500, False)):
        tags = {"WindowCenter": (low + 4096) / 2, "WindowWidth": 4096 - low}
        path = dicom_files.write_dicom(tmp_path / f"{low}.dcm", values, BitsStored=12, **tags)
        assert (not said(path, "window")) is black
        assert (grey(path)[:32] == 0).all() == black


def test_padding_does_not_count(tmp_path):
    values = RAMP.astype(np.int16)
    values[:, :8] = -2000
    path = dicom_files.write_dicom(tmp_path / "padded.dcm", values, PixelPaddingValue=-2000)
    assert np.array_equal(grey(path)[:, 8:], window(values[:, 8:])) and not grey(path)[:, :8].any()
    empty = dicom_files.write_dicom(tmp_path / "empty.dcm", np.full_like(values, -2000), PixelPaddingValue=-2000)
    assert not grey(empty).any()


def test_colours_stay(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(read_image(dicom_files.write_dicom(tmp_path / "rgb.dcm", colours)), colours)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused(tmp_path, value):
    dataset = dicom_files.make_dicom(RAMP)
    del dataset.PixelData
    values = RAMP.astype(np.float32)
    values[3, 3] = value
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
    dataset.FloatPixelData = values.tobytes()
    assert "NaN" in refusal(dicom_files.save(dataset, tmp_path / "float.dcm"))


def float_file(path, values, photometric="MONOCHROME2", **tags):
    """As the standard has it: without bits and without a sign."""
    dataset = dicom_files.make_dicom(RAMP, PhotometricInterpretation=photometric, **tags)
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, keyword)
    dataset.BitsAllocated = values.dtype.itemsize * 8
    setattr(dataset, "FloatPixelData" if values.dtype == np.float32 else "DoubleFloatPixelData", values.tobytes())
    return dicom_files.save(dataset, path)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_float_pixels(tmp_path, kind, photometric):
    values = (RAMP / 7 - 100).astype(kind)
    values[:8] = -1e6
    name = "FloatPixelPadding" if kind is np.float32 else "DoubleFloatPixelPadding"
    path = float_file(tmp_path / "a.dcm", values, photometric, **{f"{name}Value": -1e6})
    expected = window(values, values > -1e6)
    assert np.array_equal(grey(path), 255 - expected if photometric == "MONOCHROME1" else expected)
    windowed = {"WindowCenter": 100.5, "WindowWidth": 401}
    row = grey(float_file(tmp_path / "b.dcm", (RAMP / 10).astype(kind), photometric, **windowed)).astype(int).ravel()
    assert abs(abs(row[-1] - row[0]) - 255) < 10 and (np.diff(row) >= 0).all() == (photometric == "MONOCHROME2")


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32])
def test_monochrome1_is_inverted_at_every_depth(tmp_path, syntax, kind):
    values = (RAMP.astype(int) // 16 + np.iinfo(kind).min if kind in (np.uint8, np.int8) else RAMP).astype(kind)
    plain = dicom_files.write_dicom(tmp_path / "a.dcm", values, syntax=syntax)
    white = dicom_files.write_dicom(tmp_path / "b.dcm", values, syntax=syntax, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(grey(white), 255 - grey(plain)) and grey(plain)[0, 0] < grey(plain)[-1, -1]


def test_an_image_of_one_value_is_named(tmp_path):
    for value in (0, 700):
        path = dicom_files.write_dicom(tmp_path / "a.dcm", np.full_like(RAMP, value), WindowCenter=10, WindowWidth=5)
        assert said(path, "it shows nothing")
    assert not said(dicom_files.write_dicom(tmp_path / "b.dcm", RAMP), "it shows nothing")


# --- ways of writing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
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
    monkeypatch.setattr(dicom_deflated, "MAX_INFLATED", 8000)
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

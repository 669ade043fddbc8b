"""DICOM images made here: bits, signs, windows, padding and inversion."""

import dicom_files
import numpy as np
import pytest
from dicom_files import PLAIN_SYNTAXES, RAMP, grey, item, refusal, said
from pydicom.dataset import Dataset

from meddet_d2.formats import read_image, window


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


@pytest.mark.parametrize("syntax", PLAIN_SYNTAXES)
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


@pytest.mark.parametrize("syntax", PLAIN_SYNTAXES)
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

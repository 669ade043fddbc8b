"""Which bits of a stored word are its value, however a DICOM file is written."""

import dicom_files
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from meddet_d2.formats import Pseudonyms, ReadError, read_image, read_slices
from meddet_d2.formats.dicom import read_values

PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
SYNTAXES = [*PLAIN, RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless]
# Twelve bits, smooth enough that a shift by a bit is no picture of it.
VALUES = (np.add.outer(np.arange(64), np.arange(64)) * 32 % 4096).astype(np.uint16)


def written(path, words, syntax, **header):
    """Whole words, compressed as such, under a header that says which of their bits are the value."""
    if syntax == JPEGLosslessSV1:
        dicom_files.write_lossless_jpeg(path, words)
    elif syntax in PLAIN:
        dicom_files.write_dicom(path, words, syntax=syntax)
    else:
        dataset = dicom_files.make_dicom(words)
        dataset.compress(syntax, generate_instance_uid=False)
        dicom_files.save(dataset, path)
    dataset = dcmread(path)
    for tag, value in header.pop("overlay", {}).items():
        dataset.add_new(tag, "US", value)
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    return dicom_files.save(dataset, path)


def remarks(path):
    (found,) = read_slices(path, pseudonyms=Pseudonyms("a salt for tests"))
    return [remark for remark in found.warnings if "BitsStored" in remark]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("high", [11, 13, 15])
@pytest.mark.parametrize("signed", [False, True])
def test_the_value_lies_below_the_high_bit(tmp_path, syntax, high, signed):
    """The sign is that of the value's highest bit: no bit above it has to repeat it."""
    words = VALUES << (high - 11)
    expected = VALUES.astype(int) - (VALUES >= 2048) * 4096 if signed else VALUES
    words = words.view(np.int16) if signed else words
    path = written(tmp_path / "a.dcm", words, syntax, BitsStored=12, HighBit=high)
    assert np.array_equal(read_values(path), expected)
    assert remarks(path) == []


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@pytest.mark.parametrize("signed", [False, True])
def test_what_lies_above_the_value_is_left_out_and_named(tmp_path, syntax, signed):
    words = VALUES.copy()
    words[:16] |= 0x4000
    words = words.view(np.int16) if signed else words
    path = written(tmp_path / "a.dcm", words, syntax, BitsStored=12, HighBit=11)
    assert np.array_equal(read_values(path), VALUES.astype(int) - (VALUES >= 2048) * 4096 if signed else VALUES)
    (remark,) = remarks(path)
    assert remark.startswith("25.0% of the pixels")


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
def test_an_overlay_in_unused_bits_is_no_value_and_no_remark(tmp_path, syntax):
    words = VALUES.copy()
    words[:16] |= 0x4000
    overlay = {0x60020100: 16, 0x60020102: 14}
    path = written(tmp_path / "a.dcm", words, syntax, BitsStored=12, HighBit=11, overlay=overlay)
    assert np.array_equal(read_values(path), VALUES) and remarks(path) == []
    path = written(tmp_path / "b.dcm", words, syntax, BitsStored=12, HighBit=11, overlay={**overlay, 0x60020102: 13})
    assert len(remarks(path)) == 1, "of another bit"
    path = written(tmp_path / "c.dcm", words, syntax, BitsStored=12, HighBit=11, overlay={**overlay, 0x60020100: 1})
    assert len(remarks(path)) == 1, "an overlay in an element"


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.name)
@pytest.mark.parametrize("signed", [False, True])
def test_a_compressed_frame_of_twelve_bits_holds_values(tmp_path, syntax, signed):
    """Compression took the unused bits away: HighBit may still be that of the words before it."""
    values = VALUES.astype(np.int16) - 2048 if signed else VALUES
    path = tmp_path / "a.dcm"
    if syntax == JPEGLosslessSV1:
        dicom_files.write_lossless_jpeg(path, values, BitsStored=12)
    else:
        dataset = dicom_files.make_dicom(values, BitsStored=12)
        dataset.compress(syntax, generate_instance_uid=False)
        dicom_files.save(dataset, path)
    # Of gdcm's JPEG Lossless, every frame has 16 bits: it holds words.
    for high in (11,) if syntax == JPEGLosslessSV1 else (11, 15):
        dataset = dcmread(path)
        dataset.HighBit = high
        assert np.array_equal(read_values(dicom_files.save(dataset, path)), values)
        assert remarks(path) == []


@pytest.mark.parametrize(("kind", "stored", "high"), [(np.uint8, 6, 7), (np.uint8, 6, 5), (np.uint32, 20, 27)])
def test_words_of_8_and_32_bits(tmp_path, kind, stored, high):
    values = (VALUES % 64).astype(kind) if kind is np.uint8 else VALUES.astype(kind) << 8
    path = written(
        tmp_path / "a.dcm", values << (high + 1 - stored), ExplicitVRLittleEndian, BitsStored=stored, HighBit=high
    )
    assert np.array_equal(read_values(path), values) and remarks(path) == []


def test_one_bit(tmp_path):
    dataset = dicom_files.make_dicom(VALUES.astype(np.uint8)[:8], BitsStored=1)
    bits = np.random.default_rng(0).integers(0, 2, (8, 64), dtype=np.uint8)
    dataset.BitsAllocated, dataset.PixelData = 1, np.packbits(bits, bitorder="little").tobytes()
    assert np.array_equal(read_image(dicom_files.save(dataset, tmp_path / "a.dcm"))[..., 0], bits * 255)


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_the_high_bit_of_a_whole_word_does_not_matter(tmp_path, kind):
    """Some scanners write the highest bit that a slice uses."""
    values = (VALUES * 16).astype(kind)
    path = written(tmp_path / "a.dcm", values, ExplicitVRLittleEndian, BitsStored=16, HighBit=10)
    assert np.array_equal(read_values(path), values) and remarks(path) == []


@pytest.mark.parametrize("high", [3, 10, 16, 31])
def test_a_high_bit_that_cannot_be_is_refused(tmp_path, high):
    path = written(tmp_path / "a.dcm", VALUES, ExplicitVRLittleEndian, BitsStored=12, HighBit=high)
    with pytest.raises(ReadError, match=r"a\.dcm: its BitsStored and HighBit do not fit together"):
        read_image(path)


def test_without_a_high_bit_the_lowest_bits_count(tmp_path):
    dataset = dicom_files.make_dicom(VALUES, BitsStored=12)
    del dataset.HighBit
    assert np.array_equal(read_values(dicom_files.save(dataset, tmp_path / "a.dcm")), VALUES)


def test_colours_that_do_not_lie_at_the_bottom_are_refused(tmp_path):
    colours = np.stack([VALUES % 64] * 3, axis=-1).astype(np.uint8)
    dataset = dicom_files.make_dicom(colours, BitsStored=6)
    assert np.array_equal(read_image(dicom_files.save(dataset, tmp_path / "a.dcm")), colours)
    dataset.HighBit = 7
    with pytest.raises(ReadError, match="do not fit together"):
        read_image(dicom_files.save(dataset, tmp_path / "b.dcm"))


def test_indices_of_a_palette_are_values(tmp_path):
    ramp = np.arange(256, dtype=np.uint16) << 8
    tables = {f"{colour}PaletteColorLookupTableDescriptor": [256, 0, 16] for colour in ("Red", "Green", "Blue")}
    tables |= {f"{colour}PaletteColorLookupTableData": ramp.tobytes() for colour in ("Red", "Green", "Blue")}
    words = (VALUES >> 4) << 8
    path = dicom_files.write_dicom(
        tmp_path / "a.dcm", words, BitsStored=8, HighBit=15, PhotometricInterpretation="PALETTE COLOR", **tables
    )
    assert np.array_equal(read_image(path)[..., 1], VALUES >> 4)

"""TIFF files whose zeros are white or black, of every depth and byte order: a picture is never turned round."""

import struct
from itertools import product

import numpy as np
import pytest
from PIL import Image

from meddet_d2.formats import ReadError, read_image, window
from meddet_d2.formats.pictures import read_deep_grey

RAMP = np.arange(256).reshape(16, 16)
VALUES = {
    "u1": RAMP, "i1": RAMP - 128, "u2": RAMP * 200, "i2": RAMP * 200 - 25000, "u4": RAMP * 16_000_000,
    "i4": RAMP * 8_000_000 - 10**9, "f4": RAMP / 7 - 9, "f8": RAMP / 7,
}  # fmt: skip
# What Pillow, changed in the one tag, does not know: refused, and not guessed.
REFUSED = {(">", "u4"), ("<", "f8"), (">", "f8")}


def tiff(path, values, white_is_zero, order, *, big=False, photometric=True):
    """One strip of grey, without compression."""
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    form = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    count, offset = ("Q", "Q") if big else ("H", "I")
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HHQ", 8, 0, 16 + len(data)) if big else struct.pack(order + "I", 8 + len(data))
    entries = {256: values.shape[1], 257: values.shape[0], 258: values.itemsize * 8, 259: 1}
    entries |= {262: 0 if white_is_zero else 1} if photometric else {}
    entries |= {273: len(head), 277: 1, 278: values.shape[0], 279: len(data), 339: form}
    directory = struct.pack(order + count, len(entries))
    for tag, value in entries.items():
        kind = 3 if tag in (258, 259, 262, 277, 339) else 4
        content = struct.pack(order + ("H" if kind == 3 else "I"), value)
        directory += struct.pack(order + "HH" + offset, tag, kind, 1) + content.ljust(8 if big else 4, b"\0")
    path.write_bytes(head + data + directory + bytes(8))
    return path


@pytest.mark.parametrize(("order", "kind", "big"), list(product("<>", VALUES, (False, True))))
def test_white_is_zero(tmp_path, order, kind, big):
    values = VALUES[kind].astype(kind)
    shown = values if kind == "u1" else window(values)
    black = tiff(tmp_path / "black.tif", values, False, order, big=big)
    white = tiff(tmp_path / "white.tif", values, True, order, big=big)
    if (order, kind) in REFUSED or (big and order == ">"):
        for path in (black, white):
            with pytest.raises(ReadError, match=r"tif: is a TIFF of a kind that is not read; save it as a PNG"):
                read_image(path)
        return
    assert np.array_equal(read_image(black)[..., 1], shown)
    assert np.array_equal(read_image(white)[..., 1], 255 - shown)
    if kind != "u1":
        assert np.array_equal(read_deep_grey(black), values) and np.array_equal(read_deep_grey(white), values)


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_a_file_that_says_neither_is_refused(tmp_path, kind):
    """Pillow would take its zeros for white where it has 8 bits, and for black where it has more."""
    path = tiff(tmp_path / "a.tif", VALUES[kind].astype(kind), False, "<", photometric=False)
    with pytest.raises(ReadError, match=r"a\.tif: does not say whether its zeros are black"):
        read_image(path)


@pytest.mark.parametrize("compression", ["raw", "group4", "packbits", "tiff_lzw"])
@pytest.mark.parametrize("white", [False, True])
def test_one_bit(tmp_path, compression, white):
    picture = Image.fromarray(RAMP > 100)
    path = tmp_path / "a.tif"
    picture.save(path, compression=compression, tiffinfo={262: 0 if white else 1})
    with Image.open(path) as image:
        assert image.tag_v2[262] == (0 if white else 1)
        expected = np.array(image.convert("L"))
    assert np.array_equal(read_image(path)[..., 1], expected)


@pytest.mark.parametrize("compression", ["packbits", "tiff_lzw", "tiff_adobe_deflate"])
def test_compressed_words(tmp_path, compression):
    values = VALUES["u2"].astype("u2")
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    place = data.index(struct.pack("<HHIH", 262, 3, 1, 1)) + 8
    assert np.array_equal(read_image(tmp_path / "a.tif")[..., 1], window(values))
    data[place] = 0
    (tmp_path / "a.tif").write_bytes(data)
    assert np.array_equal(read_image(tmp_path / "a.tif")[..., 1], 255 - window(values))


@pytest.mark.parametrize("length", [3, 8, 300, -30, -100])
def test_a_file_that_is_cut_off_is_refused(tmp_path, length):
    path = tiff(tmp_path / "a.tif", VALUES["u2"].astype("u2"), True, "<")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ReadError, match=r"a\.tif"):
        read_image(path)


def test_other_pictures_with_white_first(tmp_path):
    """A PBM's ones are black; palettes and Adobe's CMYK say what their numbers are."""
    bits = RAMP > 100
    Image.fromarray(bits).save(tmp_path / "a.pbm")
    assert np.array_equal(read_image(tmp_path / "a.pbm")[..., 0], bits * 255)
    palette = Image.fromarray(RAMP.astype(np.uint8), mode="P")
    palette.putpalette([255 - level for level in range(256) for _ in range(3)])
    for suffix in ("png", "gif", "bmp", "tif"):
        palette.save(tmp_path / f"a.{suffix}")
        assert np.array_equal(read_image(tmp_path / f"a.{suffix}")[..., 2], 255 - RAMP), suffix
    white = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    for suffix in ("jpg", "tif"):
        white.save(tmp_path / f"white.{suffix}")
        assert (read_image(tmp_path / f"white.{suffix}") == 255).all(), suffix

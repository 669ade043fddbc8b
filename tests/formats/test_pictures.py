"""The reader of pictures: every kind of file gives 8-bit RGB, or one line that names the file."""

import hashlib
import pickle
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from meddet_d2.formats import Pseudonyms, ReadError, read_image, read_slices, window

RAMP = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
COLOURS = np.stack([RAMP, RAMP[:, ::-1], RAMP // 2], axis=2)


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("array", [RAMP, COLOURS, RAMP.astype(np.uint16) * 200], ids=["grey", "colour", "16 bit"])
def test_a_flipped_bit_in_a_png_is_seen(tmp_path, array):
    """Also one that gives as many pixels, which Pillow takes for the image."""
    noisy = array + np.random.default_rng(0).integers(0, 20, array.shape).astype(array.dtype)
    path = saved(tmp_path / "a.png", noisy)
    data = path.read_bytes()
    start = data.index(b"IDAT") + 4
    for place in range(start, len(data) - 16, max(1, len(data) // 300)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ReadError, match=r"a\.png"):
            read_image(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_is_kept(tmp_path, suffix):
    image = read_image(saved(tmp_path / f"grey.{suffix}", RAMP))
    assert image.shape == (16, 256, 3) and image.dtype == np.uint8 and image.flags.writeable
    assert all(np.array_equal(image[..., channel], RAMP) for channel in range(3))


def test_colour_is_rgb(tmp_path):
    assert np.array_equal(read_image(saved(tmp_path / "colour.png", COLOURS)), COLOURS)


def test_jpeg_is_near(tmp_path):
    image = read_image(saved(tmp_path / "grey.jpg", RAMP, quality=95))
    assert image.shape == (16, 256, 3) and np.abs(image[..., 0].astype(int) - RAMP).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("top", [4095, 65535, 900])
def test_16_bit_grey_is_windowed_and_not_cut_off(tmp_path, suffix, top):
    values = np.tile(np.linspace(0, top, 256).astype(np.uint16), (16, 1))
    image = read_image(saved(tmp_path / f"deep.{suffix}", values))
    assert image.shape == (16, 256, 3)
    row = image[0, :, 0].astype(int)
    assert row[0] == 0 and row[-1] == 255 and (np.diff(row) >= 0).all()
    assert np.abs(row - np.arange(256)).max() <= 2
    assert (image == 255).mean() < 0.02


def test_few_bright_pixels_do_not_darken_the_rest():
    values = np.tile(np.linspace(0, 1000, 256), (64, 1))
    values[0, :8] = 60000.0
    assert abs(int(window(values)[1, 128]) - 128) <= 3


def test_16_bit_colour_is_windowed(tmp_path):
    values = COLOURS.astype(np.uint16) * 16  # 12 bits, which Pillow would turn almost black
    path = tmp_path / "deep_colour.png"
    assert cv2.imwrite(str(path), values[:, :, ::-1])
    image = read_image(path)
    assert image.shape == COLOURS.shape
    assert np.abs(image.astype(int) - COLOURS).max() <= 3


def test_float_tiff_is_windowed(tmp_path):
    values = np.tile(np.linspace(-1.0, 1.0, 256, dtype=np.float32), (16, 1))
    row = read_image(saved(tmp_path / "float.tif", values))[0, :, 0].astype(int)
    assert np.abs(row - np.arange(256)).max() <= 2


def test_a_nearly_constant_image_still_shows_what_is_there():
    values = np.zeros((100, 100), np.uint16)
    values[50, 50] = 700
    assert window(values)[50, 50] == 255 and window(values).sum() == 255
    assert not window(np.full((4, 4), 3.0)).any()


def test_transparent_parts_are_black(tmp_path):
    alpha = np.full((16, 256, 1), 255, np.uint8)
    alpha[:, 128:] = 0
    image = read_image(saved(tmp_path / "alpha.png", np.concatenate([COLOURS, alpha], axis=2)))
    assert np.array_equal(image[:, :128], COLOURS[:, :128]) and not image[:, 128:].any()


def test_grey_with_alpha(tmp_path):
    image = read_image(saved(tmp_path / "la.png", np.stack([RAMP, np.full_like(RAMP, 255)], axis=2)))
    assert np.array_equal(image[..., 1], RAMP)


def test_cmyk_is_converted(tmp_path):
    cyan = np.zeros((8, 8, 4), np.uint8)
    cyan[..., 0] = 255
    Image.fromarray(cyan, mode="CMYK").save(tmp_path / "cmyk.tif")
    assert read_image(tmp_path / "cmyk.tif")[0, 0].tolist() == [0, 255, 255]


def test_palette_gives_its_colours(tmp_path):
    image = Image.fromarray(COLOURS).quantize(256)
    image.save(tmp_path / "palette.png")
    assert np.array_equal(read_image(tmp_path / "palette.png"), np.array(image.convert("RGB")))


def test_one_bit(tmp_path):
    Image.fromarray(RAMP > 127).save(tmp_path / "bit.png")
    assert np.unique(read_image(tmp_path / "bit.png")).tolist() == [0, 255]


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(RAMP).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (256, 16, 3)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = saved(tmp_path / f"cut.{suffix}", noise)
    # A TIFF may hold its directory at the end: then it is no image at all any more.
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"cut.{suffix}") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.png"):
        read_image(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        read_image(tmp_path / "absent.png")


def test_a_stack_is_refused(tmp_path):
    pages = [Image.fromarray(RAMP), Image.fromarray(RAMP)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ValueError, match=r"stack\.tif: holds 2 images"):
        read_image(tmp_path / "stack.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(tmp_path, value):
    values = np.zeros((8, 8), np.float32)
    values[3, 3] = value
    with pytest.raises(ValueError, match=r"bad\.tif: holds NaN"):
        read_image(saved(tmp_path / "bad.tif", values))


# --- what is refused, and levels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_12_bit_ramp_keeps_its_levels(tmp_path, suffix):
    path = saved(tmp_path / f"ramp.{suffix}", np.arange(4096, dtype=np.uint16).reshape(64, 64))
    row = read_image(path)[..., 0].ravel().astype(int)
    assert len(np.unique(row)) >= 250 and (np.diff(row) >= 0).all() and (row[0], row[-1]) == (0, 255)


def test_16_bit_grey_with_alpha_is_windowed(tmp_path):
    values = RAMP.astype(np.uint16) * 16
    path = tmp_path / "la.png"
    assert cv2.imwrite(str(path), np.dstack([values] * 3 + [np.full_like(values, 65535)]))
    assert np.abs(read_image(path)[..., 0].astype(int) - RAMP).max() <= 3
    chunks = (b"IHDR", np.array([256, 16], ">u4").tobytes() + bytes([16, 4, 0, 0, 0]))
    grey = np.dstack([values, np.full_like(values, 65535)]).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in (chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        checksum = zlib.crc32(name + content).to_bytes(4, "big")
        data += len(content).to_bytes(4, "big") + name + content + checksum
    path.write_bytes(data)
    assert np.abs(read_image(path)[..., 0].astype(int) - RAMP).max() <= 3


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_an_animation_is_refused(tmp_path, suffix):
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 90, 200)]
    frames[0].save(tmp_path / f"moving.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(ReadError, match=rf"moving\.{suffix}: holds 3 images"):
        read_image(tmp_path / f"moving.{suffix}")
    frames[0].save(tmp_path / f"still.{suffix}")
    assert read_image(tmp_path / f"still.{suffix}").shape == (8, 8, 3)


@pytest.mark.parametrize("name", ["empty.png", "empty.dcm", "empty.nii.gz", "empty"])
def test_an_empty_file_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ReadError, match=rf"{name}: is empty"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("side", [8001, 10000, 60000])
def test_an_enormous_file_is_refused_before_it_is_decoded(tmp_path, side):
    """One grey level compresses a thousandfold: the file is small, the image is not."""
    header = np.array([side, side], ">u4").tobytes() + bytes([8, 0, 0, 0, 0])
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")):
        data += len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(data)
    with pytest.raises(ReadError, match=r"huge\.png: has more than 64 million pixels"):
        read_image(tmp_path / "huge.png")


@pytest.mark.parametrize(
    "content", [b"%PDF-1.4\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\0" * 500, b"x"]
)
def test_other_files_are_no_images(tmp_path, content):
    """PostScript too, for which Pillow would start another program."""
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ReadError, match=r"a\.png: is no image"):
        read_image(tmp_path / "a.png")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such image file"):
        read_image(tmp_path)


def test_an_error_survives_its_way_from_a_worker():
    """A data loader makes it again from its text; others pickle it."""
    error = ReadError("is empty.", Path("a.png"))
    assert (str(error), error.reason) == ("a.png: is empty.", "is empty.")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason) == (str(error), error.reason)
    assert str(ReadError(str(error))) == str(error)


def test_a_picture_has_an_id_and_no_spacing(tmp_path):
    path = saved(tmp_path / "Ünï – 圖.png", RAMP)
    (found,) = read_slices(path, pseudonyms=Pseudonyms("salt"), slices="all")
    assert np.array_equal(found.pixels, read_image(path))
    assert (found.patient_id, found.spacing, found.tags, found.frame) == (None, None, {}, None)
    assert found.image_id == Pseudonyms("salt").image(f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}")
    assert found.warnings == ("the pixel spacing is not stated, so nothing can be given in millimetres",)

"""The image reader: every kind of file gives 8-bit RGB, or one line that names the file."""

import cv2
import numpy as np
import pytest
from PIL import Image

from meddet_d2.data.formats import read_image, window

RAMP = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
COLOURS = np.stack([RAMP, RAMP[:, ::-1], RAMP // 2], axis=2)


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


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

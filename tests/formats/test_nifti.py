"""NIfTI: however a volume is stored, its sagittal slices have the head above and the face to the left."""

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest

from meddet_d2.formats import Pseudonyms, ReadError, collect, read_image, read_slices, window
from meddet_d2.formats.nifti import read_planes

PSEUDONYMS = Pseudonyms("a salt for tests")
SIZES = np.array([4.0, 0.6, 0.7])  # millimetres to the right, to the front, to the head
SHAPE = (5, 8, 9)
ORIENTATIONS = [
    "".join(side[flip] for side, flip in zip(order, flips, strict=True))
    for order in permutations(["LR", "PA", "IS"])
    for flips in product((0, 1), repeat=3)
]


def world():
    """A volume in RAS whose values say where they are: 100 x + 10 y + z, each an index."""
    x, y, z = np.indices(SHAPE)
    return (100 * x + 10 * y + z).astype(np.int16)


def image_of(values, codes="RAS", kind=nibabel.Nifti1Image):
    """The volume, stored along other axes; its affine says so."""
    image = kind(values, np.diag([*SIZES, 1.0]))
    image.header.set_xyzt_units("mm")
    target = nibabel.orientations.axcodes2ornt(codes)
    return image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), target))


def saved(image, path):
    nibabel.save(image, path)
    return path


def middle_values(path):
    (plane,) = read_planes(path, middle=True)
    return plane.values


def sagittal(x):
    """What is expected of slice x: rows from the head down, columns from the face to the back."""
    return np.array([[100 * x + 10 * y + z for y in reversed(range(8))] for z in reversed(range(9))])


def refusal(path):
    with pytest.raises(ReadError) as caught:
        read_slices(path, pseudonyms=PSEUDONYMS)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_gives_one_picture(tmp_path, codes):
    path = saved(image_of(world(), codes), tmp_path / "a.nii")
    assert nibabel.aff2axcodes(nibabel.load(path).affine) == tuple(codes)
    assert np.array_equal(middle_values(path), sagittal(2))
    (found,) = read_slices(path, pseudonyms=PSEUDONYMS)
    assert np.array_equal(found.pixels, np.repeat(window(sagittal(2))[..., None], 3, axis=2))
    assert np.array_equal(read_image(path), found.pixels)
    assert found.spacing == pytest.approx((0.7, 0.6)) and found.frame == 3 and found.patient_id is None
    assert [remark for remark in found.warnings if "square" not in remark] == []
    everything = read_slices(path, pseudonyms=PSEUDONYMS, slices="all")
    assert [one.frame for one in everything] == [1, 2, 3, 4, 5], "from the patient's left"
    for index, one in enumerate(everything):
        assert np.array_equal(one.pixels[..., 0], window(sagittal(index)))
    assert everything[2].image_id == found.image_id and len({one.image_id for one in everything}) == 5


@pytest.mark.parametrize("codes", ["RAS", "LPI", "PIR"])
def test_an_even_number_has_one_middle(tmp_path, codes):
    values = np.concatenate([world(), world()[:1] + 500])
    assert np.array_equal(middle_values(saved(image_of(values, codes), tmp_path / "a.nii")), sagittal(3))


def test_oblique_volumes_keep_their_spacing(tmp_path):
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * SIZES
    (found,) = read_slices(saved(nibabel.Nifti1Image(world(), affine), tmp_path / "a.nii"), pseudonyms=PSEUDONYMS)
    assert found.spacing == pytest.approx((0.7, 0.6), rel=1e-5)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ", "Ünï – 圖.nii"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_names_and_versions(tmp_path, name, kind):
    assert np.array_equal(middle_values(saved(image_of(world(), kind=kind), tmp_path / name)), sagittal(2))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a", "a.bin", "a.img", "a.hdr", "a.gz", "a.dcm"])
def test_the_content_counts_and_not_the_name(tmp_path, kind, packed, name):
    data = saved(image_of(world(), kind=kind), tmp_path / "whole.nii").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    assert np.array_equal(middle_values(tmp_path / name), sagittal(2))
    (found,) = read_slices(tmp_path / name, pseudonyms=PSEUDONYMS)
    assert found.spacing == pytest.approx((0.7, 0.6)) and found.frame == 3


@pytest.mark.parametrize(
    "names", [("A.HDR", "A.IMG"), ("a.hdr", "a.img.gz"), ("a.hdr.gz", "a.img"), ("a.hdr.gz", "a.img.gz")]
)
def test_halves_of_a_pair_may_be_packed(tmp_path, names):
    saved(image_of(world(), kind=nibabel.Nifti1Pair), tmp_path / "x.img")
    for name, half in zip(names, ("x.hdr", "x.img"), strict=True):
        data = (tmp_path / half).read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        (tmp_path / half).unlink()
    for name in names:
        assert np.array_equal(middle_values(tmp_path / name), sagittal(2))
    found = list(collect([tmp_path], pseudonyms=PSEUDONYMS))
    assert len(found) == 1 and found[0].spacing == pytest.approx((0.7, 0.6))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
def test_a_pair_is_read_by_either_half(tmp_path, kind):
    saved(image_of(world(), kind=kind), tmp_path / "a.img")
    ids = set()
    for name in ("a.hdr", "a.img"):
        assert np.array_equal(middle_values(tmp_path / name), sagittal(2))
        ids.add(read_slices(tmp_path / name, pseudonyms=PSEUDONYMS)[0].image_id)
    saved(image_of(world() + 1, kind=kind), tmp_path / "c.img")
    ids.add(read_slices(tmp_path / "c.hdr", pseudonyms=PSEUDONYMS)[0].image_id)
    assert len(ids) == 2, "of both files, so that a header like another's is no copy"
    (tmp_path / "a.img").rename(tmp_path / "b.img")
    assert "other half" in refusal(tmp_path / "a.hdr")
    assert "no image" in refusal(tmp_path / "b.img")


@pytest.mark.parametrize("order", "<>")
def test_scale_and_byte_order(tmp_path, order):
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.int16)
    image = nibabel.Nifti1Image(world(), np.diag([*SIZES, 1.0]), header)
    image.header.set_slope_inter(0.25, -3.0)
    path = saved(image, tmp_path / "a.nii")
    assert nibabel.load(path).header.endianness == order
    assert np.array_equal(middle_values(path), sagittal(2) * 0.25 - 3.0)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("unknown", 1.0), ("meter", 1000.0), ("micron", 0.001)])
def test_units(tmp_path, unit, factor):
    image = nibabel.Nifti1Image(world(), np.diag([*(SIZES / factor), 1.0]))
    image.header.set_xyzt_units(unit)
    (found,) = read_slices(saved(image, tmp_path / "a.nii"), pseudonyms=PSEUDONYMS)
    assert found.spacing == pytest.approx((0.7, 0.6), rel=1e-5)


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1)])
def test_one_slice_of_another_plane(tmp_path, shape):
    """By its header it is axial: the front is above, the patient's right is on the left."""
    values = (np.arange(72, dtype=np.int16)).reshape(8, 9)
    path = saved(nibabel.Nifti1Image(values.reshape(shape), np.diag([0.5, 0.6, 3.0, 1.0])), tmp_path / "a.nii")
    (found,) = read_slices(path, pseudonyms=PSEUDONYMS, slices="all")
    assert np.array_equal(middle_values(path), values[::-1, ::-1].T)
    assert found.frame is None and found.spacing == pytest.approx((0.6, 0.5))
    assert "it is not a sagittal slice" in found.warnings


def test_one_sagittal_slice(tmp_path):
    (found,) = read_slices(saved(image_of(world()[:1], "SPL"), tmp_path / "a.nii"), pseudonyms=PSEUDONYMS)
    assert np.array_equal(found.pixels[..., 0], window(sagittal(0))) and found.frame is None
    assert "it is not a sagittal slice" not in found.warnings


def test_the_first_of_several_volumes(tmp_path):
    values = np.stack([world(), world() + 1000, world() + 2000], axis=3)
    path = saved(nibabel.Nifti1Image(values, np.diag([*SIZES, 1.0])), tmp_path / "a.nii.gz")
    assert np.array_equal(middle_values(path), sagittal(2))
    (found,) = read_slices(path, pseudonyms=PSEUDONYMS)
    assert "the first of 3 volumes was used" in found.warnings


def test_without_an_orientation(tmp_path):
    image = nibabel.Nifti1Image(world(), None)
    image.header["pixdim"][1:4] = SIZES
    (found,) = read_slices(saved(image, tmp_path / "a.nii"), pseudonyms=PSEUDONYMS)
    assert any("orientation is not stated" in remark for remark in found.warnings)
    assert found.spacing == pytest.approx((0.7, 0.6))


def test_8_bits_are_kept(tmp_path):
    values = (world() % 200).astype(np.uint8)
    path = saved(nibabel.Nifti1Image(values, np.diag([*SIZES, 1.0])), tmp_path / "a.nii")
    assert np.array_equal(read_image(path)[..., 0], sagittal(2) % 200)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused(tmp_path, value):
    values = world().astype(np.float32)
    values[2, 3, 4] = value
    path = saved(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    assert "NaN" in refusal(path)


def test_colours_and_complex_numbers_are_refused(tmp_path):
    path = saved(nibabel.Nifti1Image(world().astype(np.complex64), np.eye(4)), tmp_path / "complex.nii")
    assert "complex" in refusal(path)
    colours = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "colours" in refusal(saved(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "rgb.nii"))


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_truncated(tmp_path, suffix, share):
    """Also where the wanted slice is still whole."""
    rng = np.random.default_rng(0)
    path = saved(
        nibabel.Nifti1Image(rng.integers(0, 999, (9, 16, 16), dtype=np.int16), np.eye(4)[[2, 1, 0, 3]]),
        tmp_path / f"a.{suffix}",
    )
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert "truncated" in refusal(path)


@pytest.mark.parametrize("volumes", [1, 2])
def test_a_flipped_bit_in_a_packed_file_is_seen(tmp_path, volumes):
    """By the checksum at its end, though the wanted slice lies in the middle."""
    values = np.random.default_rng(0).integers(0, 999, (9, 16, 16, volumes), dtype=np.int16)
    path = saved(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii.gz")
    data = path.read_bytes()
    for place in range(len(data) // 8, len(data) - 8, len(data) // 50):
        damaged = bytearray(data)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        assert "again" in refusal(path)


def header_with(tmp_path, **fields):
    image = nibabel.Nifti1Image(world(), np.eye(4))
    path = saved(image, tmp_path / "a.nii")
    data = path.read_bytes()
    header = nibabel.Nifti1Header(data[:348], check=False)
    for key, value in fields.items():
        header[key] = value
    path.write_bytes(header.binaryblock + data[348:])
    return path


SQUARE = "the pixels are not square (0.70 x 0.60 mm); they are kept as they are"
TURNED = "the orientation is not stated, so it may not be a sagittal slice"
TWO_SIZES = "its header states two sizes of a voxel (sform and pixdim); that of the sform was used"
NO_UNIT = "the unit of its sizes is not stated; they were taken for millimetres"
NO_SPACING = "the pixel spacing is not stated, so nothing can be given in millimetres"
ZERO = {"srow_x": 0, "srow_y": 0, "srow_z": 0}
NO_FORM = {"sform_code": 0, "qform_code": 0}


@pytest.mark.parametrize(
    ("fields", "remarks"),
    [
        ({}, [SQUARE]),
        ({**ZERO, "qform_code": 1}, [SQUARE]),
        ({"srow_x": np.nan, "qform_code": 1}, [SQUARE]),
        ({"srow_z": [0, 0.6, 0, 0], "qform_code": 2}, [SQUARE]),
        ({"sform_code": 0, "qform_code": 1, "pixdim": [0, 4, 0.6, 0.7, 0, 0, 0, 0]}, [SQUARE]),
        (ZERO, [TURNED, SQUARE]),
        (NO_FORM, [TURNED, SQUARE]),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": 0.9, "quatern_c": 0.9}, [TURNED, SQUARE]),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": np.nan}, [TURNED, SQUARE]),
        ({**NO_FORM, "pixdim": [1, -4, -0.6, -0.7, 0, 0, 0, 0]}, [TURNED, SQUARE]),
        ({**NO_FORM, "pixdim": [1, np.nan, 0.6, 0.7, 0, 0, 0, 0]}, [TURNED, SQUARE]),
        ({**NO_FORM, "pixdim": [1, 4, 0, 0.7, 0, 0, 0, 0]}, [TURNED, NO_SPACING]),
        ({**NO_FORM, "pixdim": [1, 4, 0.6, np.inf, 0, 0, 0, 0]}, [TURNED, NO_SPACING]),
        ({"sform_code": 0, "qform_code": 1, "pixdim": [1, 0, 0, 0, 0, 0, 0, 0]}, [NO_SPACING]),
        ({"pixdim": [1, 0, 0, 0, 0, 0, 0, 0]}, [SQUARE]),
        ({"pixdim": [1, 1, 1, 1, 0, 0, 0, 0]}, [TWO_SIZES, SQUARE]),
        ({"xyzt_units": 0}, [NO_UNIT, SQUARE]),
        ({"xyzt_units": 7}, [NO_UNIT, SQUARE]),
        ({"xyzt_units": 255}, [NO_UNIT, SQUARE]),
        ({"xyzt_units": 2 + 64}, [SQUARE]),
        ({"xyzt_units": 1}, [NO_SPACING]),
        ({"xyzt_units": 3}, [NO_SPACING]),
        ({"scl_slope": 0, "scl_inter": 5}, [SQUARE]),
        ({"scl_slope": np.nan}, [SQUARE]),
        ({"dim": [4, 5, 8, 9, 1, 0, 0, 0]}, [SQUARE]),
        ({"dim": [7, 5, 8, 9, 1, 1, 1, 1]}, [SQUARE]),
        ({"sform_code": 99}, [TURNED, SQUARE]),
        ({"bitpix": 0, "sizeof_hdr": 0}, [SQUARE]),
    ],
    ids=str,
)
@pytest.mark.parametrize("order", "<>")
def test_odd_headers(tmp_path, fields, remarks, order):
    """The picture is always right; where something of it is not known, a remark says so."""
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.int16)
    image = nibabel.Nifti1Image(world(), np.diag([*SIZES, 1.0]), header)
    image.header.set_xyzt_units("mm")
    data = saved(image, tmp_path / "a.nii").read_bytes()
    header = nibabel.Nifti1Header(data[:348], check=False)
    for key, value in fields.items():
        header[key] = value
    (tmp_path / "a.nii").write_bytes(header.binaryblock + data[348:])
    assert np.array_equal(middle_values(tmp_path / "a.nii"), sagittal(2))
    (found,) = read_slices(tmp_path / "a.nii", pseudonyms=PSEUDONYMS)
    assert list(found.warnings) == remarks
    assert found.spacing == (None if NO_SPACING in remarks else pytest.approx((0.7, 0.6)))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "million voxels"),
        ({"dim": [3, 20000, 20000, 1, 1, 1, 1, 1]}, "million pixels|truncated"),
        ({"dim": [3, 30, 30, 30, 1, 1, 1, 1]}, "truncated"),
        ({"dim": [3, -5, 8, 9, 1, 1, 1, 1]}, "shape|truncated"),
        ({"dim": [1, 360, 1, 1, 1, 1, 1, 1]}, "shape"),
        ({"dim": [0, 1, 1, 1, 1, 1, 1, 1]}, "shape"),
        ({"datatype": 9999}, "truncated or damaged"),
        ({"vox_offset": 1e6}, "truncated"),
        ({"vox_offset": 1e9}, "or behind 64 MB"),
        ({"vox_offset": 0}, "begin in its header"),
        ({"vox_offset": np.nan}, "truncated or damaged"),
        ({"scl_slope": 2, "scl_inter": np.inf}, "truncated or damaged"),
        ({"intent_code": 3006}, "CIFTI"),
    ],
    ids=str,
)
def test_absurd_headers(tmp_path, fields, words):
    path = header_with(tmp_path, **fields)
    with pytest.raises(ReadError, match=words):
        read_slices(path, pseudonyms=PSEUDONYMS)


def test_what_is_no_nifti(tmp_path):
    (tmp_path / "text.nii").write_text("hello")
    assert "no image" in refusal(tmp_path / "text.nii")
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"hello"))
    assert "no sound NIfTI" in refusal(tmp_path / "text.nii.gz")


# --- what nibabel ships ----------------------------------------------------------------------------------------------

SAMPLES = Path(nibabel.__file__).parent / "tests" / "data"
READABLE = [
    "anatomical.nii",
    "example4d.nii.gz",
    "example_nifti2.nii.gz",
    "functional.nii",
    "reoriented_anat_moved.nii",
]
READABLE += ["standard.nii.gz"]


@pytest.mark.parametrize("name", READABLE)
def test_samples_have_the_library_s_values(name):
    if not (SAMPLES / name).is_file():
        pytest.skip("nibabel came without its test files")
    image = nibabel.as_closest_canonical(nibabel.load(SAMPLES / name))
    volume = image.get_fdata()
    volume = volume[..., 0] if volume.ndim == 4 else volume
    plane = volume[volume.shape[0] // 2]
    assert np.allclose(middle_values(SAMPLES / name), plane[::-1, ::-1].T)
    (found,) = read_slices(SAMPLES / name, pseudonyms=PSEUDONYMS)
    assert found.spacing == pytest.approx(tuple(nibabel.affines.voxel_sizes(image.affine)[[2, 1]]))


@pytest.mark.parametrize("codes", ["RAS", "LPI", "PIR", "ASL"])
def test_a_pixel_lies_where_its_voxel_does(codes, tmp_path):
    """In the patient, to left, back and head: by the affine of the file, however it is stored."""
    affine = nibabel.affines.from_matvec([[2.9, 0.2, 0.1], [-0.2, 0.6, 0.05], [-0.1, -0.05, 0.5]], [-12.0, 31.0, 7.5])
    values = np.zeros((5, 7, 9), np.int16)
    values[3, 2, 6] = 900
    image = nibabel.Nifti1Image(values, affine)
    target = nibabel.orientations.axcodes2ornt(codes)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), target))
    slices = read_slices(saved(turned, tmp_path / "a.nii"), pseudonyms=PSEUDONYMS, slices="all")
    (bright,) = [one for one in slices if np.ptp(one.pixels)]
    row, column = np.unravel_index(bright.pixels[:, :, 0].argmax(), bright.pixels.shape[:2])
    right, front, head = (affine @ [3, 2, 6, 1])[:3]
    np.testing.assert_allclose(bright.place.of(column + 0.5, row + 0.5), (-right, -front, head), atol=1e-4)


def test_a_file_without_an_orientation_has_no_place(tmp_path):
    (found,) = read_slices(saved(nibabel.Nifti1Image(world(), None), tmp_path / "a.nii"), pseudonyms=PSEUDONYMS)
    assert found.place is None

"""Files and folders: series in their order, one bad file is a problem, and nothing is left out in silence."""

import os
import sys

import dicom_files
import nibabel
import numpy as np
import pytest
from PIL import Image

from meddet_d2.formats import MRSlice, Problem, Pseudonyms, collect, dicom, read_slices

PSEUDONYMS = Pseudonyms("a salt for tests")
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def collected(*inputs, slices="middle"):
    return list(collect(inputs, pseudonyms=PSEUDONYMS, slices=slices))


def names(results):
    """Names of the files, and of problems what is said of them."""
    return [one.source.name if isinstance(one, MRSlice) else (one.source.name, one.reason) for one in results]


def instance(folder, name, number, x=None, series="2", **tags):
    """An instance of a series, at x millimetres to the left."""
    folder.mkdir(exist_ok=True, parents=True)
    tags.setdefault("SOPInstanceUID", f"{dicom_files.ROOT_UID}.{series}.{number}")
    tags.setdefault("ImagePositionPatient", None if x is None else [float(x), 0.0, 0.0])
    return dicom_files.write_dicom(
        folder / name,
        RAMP + number,
        SeriesInstanceUID=f"{dicom_files.ROOT_UID}.{series}",
        InstanceNumber=number,
        **tags,
    )


def test_a_series_is_sorted_by_position(tmp_path):
    """From the patient's left; names and instance numbers say something else."""
    for number, x in enumerate([0, 8, -4, 4, -8], start=1):
        instance(tmp_path, f"IM{number}", number, x)
    assert names(collected(tmp_path, slices="all")) == ["IM2", "IM4", "IM1", "IM3", "IM5"]
    assert names(collected(tmp_path)) == ["IM1"]


def test_without_positions_the_instance_numbers_count(tmp_path):
    for number, name in [(10, "a"), (9, "b"), (11, "c")]:
        instance(tmp_path, name, number)
    assert names(collected(tmp_path, slices="all")) == ["b", "a", "c"]
    instance(tmp_path, "d", 1, 5.0)
    assert names(collected(tmp_path, slices="all")) == ["d", "b", "a", "c"]


def test_a_mixed_folder_gives_the_middle_of_each_series(tmp_path):
    """Two series, one of them in two folders, a scout of another direction and one of another size."""
    for number in range(1, 4):
        instance(tmp_path / "x", f"a{number}", number, number, series="5")
        instance(tmp_path / "x", f"b{number}", number, number, series="6")
    for number in range(4, 8):
        instance(tmp_path / "y", f"a{number}", number, number, series="5")
    axial = [1, 0, 0, 0, 1, 0]
    instance(tmp_path / "x", "c1", 8, 1, series="5", ImageOrientationPatient=axial)
    small = {"SeriesInstanceUID": f"{dicom_files.ROOT_UID}.5", "SOPInstanceUID": "1.2.3"}
    dicom_files.write_dicom(tmp_path / "x" / "d1", RAMP[:32], **small)
    assert names(collected(tmp_path)) == ["a4", "b2", "c1", "d1"]
    assert len(collected(tmp_path, slices="all")) == 12


def test_files_by_name_are_no_series(tmp_path):
    paths = [instance(tmp_path, f"IM{number}", number, number) for number in range(3)]
    assert names(collect(paths, pseudonyms=PSEUDONYMS)) == ["IM0", "IM1", "IM2"]


def test_two_patients_with_one_series_number(tmp_path):
    for number in range(1, 4):
        instance(tmp_path, f"a{number}", number, number, PatientID="1")
        instance(tmp_path, f"b{number}", number + 5, number, PatientID="2")
    assert names(collected(tmp_path)) == ["a2", "b2"]


def test_files_without_a_series_number_stay_apart(tmp_path):
    for number in range(3):
        path = dicom_files.write_dicom(tmp_path / f"a{number}", RAMP, SOPInstanceUID=f"1.2.{number}")
        dicom_files.write_dicom(path, RAMP, SOPInstanceUID=f"1.2.{number}", SeriesInstanceUID=None)
    assert names(collected(tmp_path)) == ["a0", "a1", "a2"]


def test_everything_of_a_folder_is_told(tmp_path):
    """In the order of the names, whatever they are; one bad file stops nothing."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (9, 9), dtype=np.uint8)).save(tmp_path / "a picture.png")
    (tmp_path / "b.json").write_text("{}")
    (tmp_path / "c.dcm").touch()
    (tmp_path / "DICOMDIR").write_bytes(dicomdir(tmp_path))
    nibabel.save(nibabel.Nifti1Pair(rng.integers(0, 999, (4, 5, 6), dtype=np.int16), np.eye(4)), tmp_path / "d.img")
    dicom_files.write_dicom(tmp_path / "e.dcm", RAMP)
    cut = dicom_files.write_dicom(tmp_path / "f.dcm", RAMP, SOPInstanceUID="1.2.3", SeriesInstanceUID="1.2.4")
    cut.write_bytes(cut.read_bytes()[:-100])
    Image.new("CMYK", (5, 5)).save(tmp_path / "g – 圖.tif")
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / ".git").mkdir()
    results = collected(tmp_path)
    assert names(results) == [
        (tmp_path.name, "2 hidden files or folders in it (.name) were left out."),
        ("DICOMDIR", "is a DICOMDIR, the index of a disc, without pixels; give the folder with the images."),
        "a picture.png",
        ("b.json", "is no image that can be read (DICOM, NIfTI, PNG, JPEG, TIFF); leave it out."),
        ("c.dcm", "is empty (0 bytes); copy it again or leave it out."),
        "d.hdr",
        "e.dcm",
        (
            "f.dcm",
            "its pixels cannot be decoded (ValueError): it is truncated or damaged; fetch it again.",
        ),
        "g – 圖.tif",
    ]
    assert all("\n" not in one.reason and str(one) == f"{one.source}: {one.reason}" for one in problems(results))


def problems(results):
    return [one for one in results if isinstance(one, Problem)]


def dicomdir(folder):
    dataset = dicom_files.make_dicom(RAMP)
    dataset.SOPClassUID = "1.2.840.10008.1.3.10"
    path = dicom_files.save(dataset, folder / "temporary")
    content = path.read_bytes()
    path.unlink()
    return content


def test_where_the_middle_is_bad_its_neighbour_is_taken(tmp_path):
    for number in range(1, 6):
        path = instance(tmp_path, f"IM{number}", number, -number)
        if number in (3, 2):
            path.write_bytes(path.read_bytes()[:-10])
    results = collected(tmp_path)
    assert [one.source.name for one in results] == ["IM3", "IM2", "IM4"]
    assert [type(one) for one in results] == [Problem, Problem, MRSlice]
    results = collected(tmp_path, slices="all")
    assert [one.source.name for one in problems(results)] == ["IM2", "IM3"] and len(results) == 5


def test_missing_and_odd_inputs(tmp_path):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    results = collected(*(tmp_path / name for name in ("empty", "absent.dcm", "pipe", "broken")))
    assert [name for name, _ in names(results)] == ["empty", "absent.dcm", "pipe", "broken"]
    assert "without files" in results[0].reason and all("no such file" in one.reason for one in results[1:])
    assert collected() == []


def test_links_in_a_circle_end(tmp_path):
    dicom_files.write_dicom(tmp_path / "a.dcm", RAMP)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "up").symlink_to(tmp_path, target_is_directory=True)
    results = collected(tmp_path)
    assert names(results) == [("up", "is a folder that was read already; left out."), "a.dcm"]


def test_a_linked_folder_is_read(tmp_path):
    dicom_files.write_dicom(tmp_path / "a.dcm", RAMP)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "link").symlink_to(tmp_path, target_is_directory=True)
    assert "a.dcm" in names(collected(tmp_path / "study"))


def test_a_copy_is_named(tmp_path):
    """Results are written under the id: the second would replace the first."""
    first = dicom_files.write_dicom(tmp_path / "a.dcm", RAMP)
    (tmp_path / "b.dcm").write_bytes(first.read_bytes())
    grey = Image.fromarray(np.full((5, 5), 7, np.uint8))
    for name in ("c.png", "d.png"):
        grey.save(tmp_path / name)
    results = collected(tmp_path / "a.dcm", tmp_path / "b.dcm", tmp_path / "c.png", tmp_path / "d.png", first)
    assert [one.source.name for one in problems(results)] == ["b.dcm", "d.png", "a.dcm"]
    assert all("the same image as one before" in one.reason for one in problems(results))


def test_pixels_are_read_one_file_at_a_time(tmp_path, monkeypatch):
    """All headers first, without pixels; then a file's pixels when its slice is asked for."""
    for number in range(4):
        instance(tmp_path, f"IM{number}", number, -number)
    read = []
    original = dicom._read

    def spy(path, *, with_pixels):
        dataset = original(path, with_pixels=with_pixels)
        read.append((path.name, "PixelData" in dataset))
        return dataset

    monkeypatch.setattr(dicom, "_read", spy)
    results = collect([tmp_path], pseudonyms=PSEUDONYMS, slices="all")
    next(results)
    assert read == [*((f"IM{number}", False) for number in range(4)), ("IM0", True)]
    next(results)
    assert read[-1] == ("IM1", True) and len(read) == 6


def test_slices_are_those_of_read_slices(tmp_path):
    volume = np.random.default_rng(0).integers(0, 999, (4, 5, 6), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii")
    for slices in ("middle", "all"):
        together = collected(tmp_path, slices=slices)
        single = read_slices(tmp_path / "a.nii", pseudonyms=PSEUDONYMS, slices=slices)
        assert [one.image_id for one in together] == [one.image_id for one in single]
    with pytest.raises(ValueError, match="'few'"):
        collect([tmp_path], pseudonyms=PSEUDONYMS, slices="few")


@pytest.mark.parametrize(("kind", "name"), [("dicom", "pydicom"), ("nifti", "nibabel")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, kind, name):
    """A deployed detector of pictures has neither; it reads them, and says what the other files need."""
    monkeypatch.setitem(sys.modules, f"meddet_d2.formats.{kind}", None)
    dicom_files.write_dicom(tmp_path / "a.dcm", RAMP)
    nibabel.save(nibabel.Nifti1Image(RAMP.astype(np.int16)[:, :, None], np.eye(4)), tmp_path / "b.nii")
    Image.fromarray(RAMP).save(tmp_path / "c.png")
    results = collected(tmp_path)
    assert [type(one) for one in results].count(MRSlice) == 2
    (problem,) = problems(results)
    assert f"pip install {name}" in problem.reason


@pytest.mark.parametrize("slices, awaited", [("middle", 2), ("all", 6)])
def test_how_much_is_to_come_is_told_before_the_pixels(tmp_path, slices, awaited):
    """A picture and a text; then a series of five and a damaged file."""
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "picture.png")
    (tmp_path / "note.txt").write_text("no image")
    folder = tmp_path / "series"
    for number in range(1, 6):
        instance(folder, f"IM{number}", number, number)
    (folder / "damaged.dcm").write_bytes((folder / "IM1").read_bytes()[:300])
    told = []
    inputs = [tmp_path / "picture.png", tmp_path / "note.txt", folder]
    results = collect(inputs, pseudonyms=PSEUDONYMS, slices=slices, expect=told.append)
    assert told == []
    next(results)
    assert told == [1]
    rest = list(results)
    assert told == [1, 1, awaited] and len(rest) + 1 == sum(told)

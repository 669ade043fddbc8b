"""What one series is, and which of its slices is the middle."""

import dicom_files
import numpy as np
import pytest
from dicom_files import PSEUDONYMS, RAMP, item

from meddet_d2.formats import MRSlice, collect, read_slices

ROOT = dicom_files.ROOT_UID


def instance(folder, name, number, x=None, **tags):
    """An image of a series, at x millimetres to the left."""
    folder.mkdir(exist_ok=True, parents=True)
    tags.setdefault("SOPInstanceUID", f"{ROOT}.2.{number}")
    tags.setdefault("ImagePositionPatient", None if x is None else [float(x), 0.0, 0.0])
    tags.setdefault("InstanceNumber", number)
    return dicom_files.write_dicom(folder / name, RAMP + (number or 0), **tags)


def stack(folder, count=9, **tags):
    """s0 at the patient's left to the last at the right, 4 mm apart."""
    return [instance(folder, f"s{n}", n, -4 * n, **tags) for n in range(count)]


def collected(*inputs, slices="middle"):
    return list(collect(inputs, pseudonyms=PSEUDONYMS, slices=slices))


def read(results):
    return [one.source.name for one in results if isinstance(one, MRSlice)]


def refused(results):
    return [(one.source.name, one.reason) for one in results if not isinstance(one, MRSlice)]


def middle(*inputs):
    """The name of the only slice that is read, and its remarks."""
    (found,) = [one for one in collected(*inputs) if isinstance(one, MRSlice)]
    return found.source.name, found.warnings


# --- copies and repeats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["", "copies"])
def test_copies_do_not_move_the_middle_and_are_named(tmp_path, below):
    for path in stack(tmp_path)[6:]:
        for number in (1, 2):
            (tmp_path / below).mkdir(exist_ok=True)
            (tmp_path / below / f"{path.name}({number})").write_bytes(path.read_bytes())
    results = collected(tmp_path)
    assert read(results) == ["s4"]
    assert [name for name, _ in refused(results)] == [f"s{n}({i})" for n in (6, 7, 8) for i in (1, 2)]
    assert all("is the same image as one before it" in reason for _, reason in refused(results))
    everything = collected(tmp_path, slices="all")
    assert read(everything) == [f"s{n}" for n in range(9)] and len(refused(everything)) == 6


@pytest.mark.parametrize("apart", [0.0, 0.02])
def test_repeats_at_one_position_count_once(tmp_path, apart):
    """Echoes and moments: the first by instance number, and a remark."""
    stack(tmp_path)
    for n in range(5, 9):
        for echo in (1, 2):
            instance(tmp_path, f"a{n}{echo}", 10 * echo + n, -4 * n + echo * apart)
    assert middle(tmp_path) == ("s4", ())
    for n in range(5):
        instance(tmp_path, f"a{n}", 40 + n, -4 * n + apart)
    name, remarks = middle(tmp_path)
    assert name == "s4" and remarks == ("the first of 2 images at its position was used",)
    everything = collected(tmp_path, slices="all")
    assert read(everything)[:4] == ["s0", "a0", "s1", "a1"] and len(everything) == 9 + 8 + 5
    assert all(one.warnings == () for one in everything)


def test_one_identifier_for_different_slices(tmp_path):
    """As careless software leaves them: the middle is that of all, and no two results get one name."""
    stack(tmp_path, SOPInstanceUID="1.2.3")
    assert read(collected(tmp_path)) == ["s4"]
    results = collected(tmp_path, slices="all")
    assert read(results) == ["s0"] and len(refused(results)) == 8


def test_where_the_middle_is_bad_its_repeat_is_next(tmp_path):
    paths = stack(tmp_path, 3)
    instance(tmp_path, "again", 20, -4)
    paths[1].write_bytes(paths[1].read_bytes()[:-10])
    results = collected(tmp_path)
    assert [name for name, _ in refused(results)] == ["s1"] and read(results) == ["again"]


# --- directions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edge", [0.005, 0.015, 0.125])
def test_a_direction_may_be_rounded_differently(tmp_path, edge):
    """Around every edge at which rounding to two digits would part them."""
    for n in range(9):
        turned = edge + (0.0001 if n % 2 else -0.0001)
        direction = [turned, (1 - turned**2) ** 0.5, 0.0, 0.0, 0.0, -1.0]
        # Far from the origin, where the rounded direction of each would give another place.
        instance(tmp_path, f"s{n}", n, ImageOrientationPatient=direction, ImagePositionPatient=[-4.0 * n, 900.0, 0.0])
    assert middle(tmp_path) == ("s4", ())
    assert read(collected(tmp_path, slices="all")) == [f"s{n}" for n in range(9)]


def test_a_scout_of_three_directions_has_three_middles(tmp_path):
    directions = [[0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1]]
    for n in range(9):
        tags = {"ImageOrientationPatient": directions[n // 3], "ImagePositionPatient": [float(n)] * 3}
        instance(tmp_path, f"s{n}", n, **tags)
    assert read(collected(tmp_path)) == ["s1", "s4", "s7"]


def test_stacks_that_are_turned_by_a_degree_stay_apart(tmp_path):
    for n in range(6):
        turned = np.radians(n // 3)
        direction = [float(np.sin(turned)), float(np.cos(turned)), 0.0, 0.0, 0.0, -1.0]
        instance(tmp_path, f"s{n}", n, -4 * n, ImageOrientationPatient=direction)
    assert read(collected(tmp_path)) == ["s1", "s4"]


# --- a lost number of the series -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [None, 7])
def test_a_series_number_in_every_slice(tmp_path, number):
    for n in range(9):
        instance(tmp_path / str(n), f"s{n}", n, -4 * n, SeriesInstanceUID=f"{ROOT}.8.{n}", SeriesNumber=number)
    name, remarks = middle(tmp_path)
    assert name == "s4"
    assert remarks == ("each of 9 slices names another series; by their positions they were taken as one",)
    assert len(collected(tmp_path, slices="all")) == 9


def test_a_slice_that_shares_its_file_is_not_lost(tmp_path):
    """A file of two directions, of which one continues the slices of other files."""
    for n in range(1, 5):
        instance(tmp_path, f"s{n}", n, -4 * n, SeriesInstanceUID=f"{ROOT}.8.{n}")
    directions = [dicom_files.SAGITTAL, [1, 0, 0, 0, 1, 0]]
    groups = [item(PlaneOrientationSequence=[item(ImageOrientationPatient=direction)]) for direction in directions]
    tags = {"ImageOrientationPatient": None, "ImagePositionPatient": [0.0] * 3, "SOPInstanceUID": "1.2.3"}
    frames = np.stack([RAMP, RAMP])
    dicom_files.write_dicom(tmp_path / "s0", frames, PerFrameFunctionalGroupsSequence=groups, **tags)
    assert [(one.source.name, one.frame) for one in collected(tmp_path)] == [("s2", None), ("s0", 2)]


@pytest.mark.parametrize(
    "differs",
    [
        lambda n: {"SeriesNumber": n},
        lambda n: {"StudyInstanceUID": f"{ROOT}.9.{n}"},
        lambda n: {"EchoTime": 10 + n},
        lambda n: {"PatientID": str(n)},
        lambda n: {"PixelSpacing": [0.5 + n / 10] * 2},
        lambda n: {"ImagePositionPatient": [0.0, 0.0, 0.0]},
        lambda n: {"ImagePositionPatient": None},
    ],
)
def test_slices_of_different_series_stay_apart(tmp_path, differs):
    """One slice of each of several series: nothing of them may be lost."""
    for n in range(4):
        instance(tmp_path, f"s{n}", n, -4 * n, SeriesInstanceUID=f"{ROOT}.8.{n}", **differs(n))
    results = collected(tmp_path)
    assert read(results) == ["s0", "s1", "s2", "s3"]
    lost = ["may be one series in parts" in " ".join(one.warnings) for one in results]
    assert set(lost) == {set(differs(0)) <= {"SeriesNumber", "StudyInstanceUID"}}


# --- without positions -----------------------------------------------------------------------------------------------


def test_names_are_read_as_people_read_them(tmp_path):
    """Without positions and numbers, img2 comes before img10."""
    for n in range(1, 14):
        instance(tmp_path, f"img{n}", n, InstanceNumber=None)
    name, remarks = middle(tmp_path)
    assert name == "img7"
    assert remarks == ("the position is not stated, so the middle was counted by the names of the files",)


@pytest.mark.parametrize("numbers", [[None] * 5, [1] * 5, [3, None, 1, 2, 4]])
def test_numbers_that_say_nothing(tmp_path, numbers):
    for n, number in enumerate(numbers):
        instance(tmp_path, f"s{n}", n, InstanceNumber=number)
    name, remarks = middle(tmp_path)
    assert name == "s2" and "counted by the names of the files" in remarks[0]


def test_numbers_go_before_names(tmp_path):
    for n, number in enumerate([10, 9, 30, 20, 40]):
        instance(tmp_path, f"s{n}", n, InstanceNumber=number)
    name, remarks = middle(tmp_path)
    assert name == "s3" and remarks == ("the position is not stated, so the middle was counted by instance number",)


def test_one_position_for_all(tmp_path):
    """Of a film of one slice, or of software that writes zeros."""
    for n in range(9):
        instance(tmp_path, f"s{n}", n, 0)
    remark = "all of its 9 images state one position, so the middle was counted by instance number"
    assert middle(tmp_path) == ("s4", (remark,))


def test_one_image_needs_no_position(tmp_path):
    assert middle(instance(tmp_path, "s0", 1)) == ("s0", ())


# --- several frames in one file --------------------------------------------------------------------------------------


def test_frames_at_one_position_count_once(tmp_path):
    """Five positions, of which the last two were taken three times."""
    places = [0, 4, 8, 12, 16, 12, 16, 12, 16]
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=[-float(x), 0.0, 0.0])]) for x in places]
    frames = np.stack([RAMP + n for n in range(9)])
    tags = {"ImagePositionPatient": None, "PerFrameFunctionalGroupsSequence": groups}
    path = dicom_files.write_dicom(tmp_path / "a", frames, **tags)
    (found,) = read_slices(path, pseudonyms=PSEUDONYMS)
    assert found.frame == 3 and found.warnings == ()
    assert [one.frame for one in read_slices(path, pseudonyms=PSEUDONYMS, slices="all")] == [1, 2, 3, 4, 6, 8, 5, 7, 9]
    (tmp_path / "b").write_bytes(path.read_bytes())
    assert [name for name, _ in refused(collected(tmp_path))] == ["b"]


def test_frames_without_positions(tmp_path):
    path = dicom_files.write_dicom(tmp_path / "a", np.stack([RAMP] * 5), ImagePositionPatient=None)
    (found,) = read_slices(path, pseudonyms=PSEUDONYMS)
    assert found.frame == 3
    assert found.warnings == ("the position is not stated, so the middle was counted by their order in the file",)

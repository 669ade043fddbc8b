"""Corners and disc centres by the landmarks' names."""

import numpy as np
import pytest

from meddet_d2.layout.csxa_names import CSXA_NAMES
from meddet_d2.layout.levels import DISCS
from meddet_d2.layout.spine_points import SpinePoints, disc_names, in_millimetres, levels_in, point_array, without_weak

DISC_NAMES = tuple(f"{level} disc" for level in DISCS[:6])


def test_which_levels_a_set_of_names_gives():
    assert levels_in(CSXA_NAMES + DISC_NAMES) == DISCS[:6]
    # T1 has no corner, so the corners cannot give C7/T1.
    assert levels_in(CSXA_NAMES) == DISCS[:5]
    assert levels_in(("L4/5", "L5/S1 Disc")) == ("L4/5", "L5/S1")
    assert levels_in(("hand 00", "C5/6 canal", "T12")) == ()


def test_left_is_the_front_in_the_neck_alone():
    """A frontal X-ray of the trunk has corners by the same words, of the patient's own sides."""
    names = tuple(f"L4 {end} {side}" for end in ("top", "bottom") for side in ("left", "right"))
    spine = SpinePoints(names, np.zeros((4, 2)))
    assert spine.vertebrae == () and np.isnan(spine.endplate("L4", "top")).all()
    said = SpinePoints(("L4 bottom back", "L4 bottom front", "L5 top front"), np.array([[1.0, 2], [3, 4], [5, 6]]))
    assert said.vertebrae == ("L4", "L5") and said.endplate("L4", "bottom").tolist() == [[3, 4], [1, 2]]
    assert said.endplate("L5", "top")[0].tolist() == [5, 6] and np.isnan(said.endplate("L5", "top")[1]).all()
    neck = SpinePoints(("C4 bottom left", "C4 bottom back"), np.array([[1.0, 2], [3, 4]])).endplate("C4", "bottom")
    # Not a mixture of both words.
    assert np.isnan(neck[0]).all() and neck[1].tolist() == [3, 4]
    assert SpinePoints(CSXA_NAMES, np.zeros((23, 2))).vertebrae == ("C2", "C3", "C4", "C5", "C6", "C7")


def test_a_disc_s_own_landmark_goes_before_the_corners_and_is_not_replaced_by_them():
    points = np.arange(58, dtype=float).reshape(29, 2)
    names = CSXA_NAMES + DISC_NAMES
    assert SpinePoints(names, points).disc_centres()["C2/3"].tolist() == points[23].tolist()
    corners = SpinePoints(CSXA_NAMES, points[:23]).disc_centres()
    assert corners["C2/3"].tolist() == points[[1, 2, 3, 4]].mean(axis=0).tolist()
    points[23] = np.nan
    assert "C2/3" not in SpinePoints(names, points).disc_centres()
    points[4] = np.nan
    assert list(SpinePoints(CSXA_NAMES, points[:23]).disc_centres()) == ["C3/4", "C4/5", "C5/6", "C6/7"]


def test_an_endplate_is_its_front_and_its_back_corner():
    points = np.arange(46, dtype=float).reshape(23, 2)
    spine = SpinePoints(CSXA_NAMES, points)
    assert spine.endplate("C3", "top").tolist() == points[[3, 4]].tolist()
    assert spine.endplate("C7", "bottom").tolist() == points[[21, 22]].tolist()
    assert np.isnan(spine.endplate("T1", "top")).all() and np.isnan(spine.endplate("C2", "top")).all()


def test_two_landmarks_of_one_disc_and_points_without_names_are_refused():
    with pytest.raises(ValueError, match="'C5/6' and 'C5-C6 disc' are both the disc C5/6"):
        disc_names(("C5/6", "C5-C6 disc"))
    with pytest.raises(ValueError, match="23 landmark names"):
        SpinePoints(CSXA_NAMES, np.zeros((22, 2)))


def test_millimetres_are_by_row_and_column_and_weak_points_are_missing():
    assert in_millimetres([[2.0, 3.0]], (0.5, 0.25)).tolist() == [[0.5, 1.5]]
    assert in_millimetres([[2.0, 3.0]], None).tolist() == [[2.0, 3.0]]
    found = without_weak(np.array([[1.0, 2, 0.5], [1, 2, 0.49], [1, 2, np.nan]]), 0.5)
    assert found[0].tolist() == [1, 2] and np.isnan(found[1:]).all()
    assert np.isnan(point_array({"a": (1, 2)}, ("a", "b"))).tolist() == [[False, False], [True, True]]

"""Distances and angles from the corners of vertebrae, against the phantom's anatomy."""

import math
from dataclasses import replace

import numpy as np
import pytest
from small_phantom import small_phantom

from meddet_d2.layout.csxa_names import CSXA_NAMES
from meddet_d2.layout.spine_measures import LENGTHS, MEASURE_COLUMNS, measure
from meddet_d2.layout.spine_points import SpinePoints
from meddet_d2.phantom import PHANTOM_LANDMARKS, make_patient
from meddet_d2.phantom.anatomy import NECK_CENTRE, Spine
from meddet_d2.phantom.landmark_dataset import neck_landmarks
from meddet_d2.phantom.phantom_dataset import FIELD_OF_VIEW_MM, new_canvas

SIZE = 512
PARAMS = small_phantom(size=SIZE, train_patients=3)
SPACING = (FIELD_OF_VIEW_MM / SIZE,) * 2
# A coordinate is rounded to 1e-4 pixels.
EXACT = 3e-4 * SPACING[0]
LEVELS = ("C2/3", "C3/4", "C4/5", "C5/6", "C6/7")


def points_of(neck):
    points = np.array(neck_landmarks(neck, new_canvas(PARAMS, neck), SIZE))
    assert (points[:, 2] == 2).all()
    return points[:, :2]


def measured(neck, spacing=SPACING, change=lambda points: points):
    found = measure(SpinePoints(PHANTOM_LANDMARKS.names, change(points_of(neck))), spacing)
    return {one.level: one for one in found}


@pytest.fixture(scope="module")
def necks():
    return [make_patient(PARAMS, "train", number)[0].neck for number in range(3)]


def test_lengths_are_those_of_the_anatomy(necks):
    for neck in necks:
        found = measured(neck)
        assert tuple(found) == (*LEVELS, "C7/T1", "C2-C7")
        bodies = [neck.spine(body.corners()) * FIELD_OF_VIEW_MM for body in neck.bodies()]
        for level, above, below in zip(LEVELS, bodies, bodies[1:], strict=False):
            one = found[level]
            front, back = (np.linalg.norm(above[2 + side] - below[side]) for side in (0, 1))
            middle = np.linalg.norm(above[2:].mean(axis=0) - below[:2].mean(axis=0))
            widths = [np.linalg.norm(end[0] - end[1]) for end in (above[2:], below[:2])]
            assert one.unit == "mm"
            assert list(one.lengths.values())[:5] == pytest.approx([front, middle, back, *widths], abs=EXACT)
            assert 4 < one.lengths["height_middle"] < 9 and 14 < one.lengths["width_above"] < 18


def test_a_straight_neck_has_the_numbers_it_was_drawn_with(necks):
    spacing = necks[0].shape["spacing"]
    straight = replace(necks[0], spine=Spine(tilt=0.0, lordosis=0.0, length=5.0 * spacing, centre=NECK_CENTRE))
    found, bodies = measured(straight), straight.bodies()
    for level, above, below in zip(LEVELS, bodies, bodies[1:], strict=False):
        height = (below.corners()[0, 0] - above.corners()[2, 0]) * FIELD_OF_VIEW_MM
        width = (above.corners()[1, 1] - above.corners()[0, 1]) * FIELD_OF_VIEW_MM
        assert list(found[level].lengths.values()) == pytest.approx([height] * 3 + [width] * 2 + [0.0], abs=EXACT)
        assert found[level].angle == pytest.approx(0, abs=0.01)
    assert found["C2-C7"].angle == pytest.approx(0, abs=0.01)


def test_lordosis_is_the_turn_of_the_spine_between_the_endplates(necks):
    """Endplates lie across the curve, whose tangent turns evenly by 2 x lordosis from C2/3 to C7/T1."""
    neck = necks[0]
    length = 5.0 * neck.shape["spacing"]
    for lordosis in (0.3, -0.1):
        bent = replace(neck, spine=Spine(tilt=0.05, lordosis=lordosis, length=length, centre=NECK_CENTRE))
        ends = [neck.bodies()[number].corners()[2, 0] for number in (0, 5)]
        expected = math.degrees(lordosis * 2.0 * (ends[1] - ends[0]) / length)
        found = measured(bent)
        assert found["C2-C7"].angle == pytest.approx(expected, abs=0.02)
        discs = [found[level].angle for level in LEVELS]
        assert all(np.sign(angle) == np.sign(lordosis) for angle in discs)
        # A patient who faces right has the same numbers; the names stay at front and back.
        mirrored = measured(bent, change=lambda points: points * [-1, 1] + [SIZE, 0])
        for level in (*LEVELS, "C2-C7"):
            assert mirrored[level].angle == pytest.approx(found[level].angle, abs=1e-9)
            assert mirrored[level].lengths == pytest.approx(found[level].lengths, nan_ok=True)


def test_a_body_that_lies_before_the_next_has_a_step():
    points = np.full((23, 2), np.nan)
    corners = {
        "C4 bottom left": (6, 20),
        "C4 bottom right": (24, 20),
        "C5 top left": (11, 26),
        "C5 top right": (27, 26),
    }
    for name, place in corners.items():
        points[CSXA_NAMES.index(name)] = place
    (found,) = measure(SpinePoints(CSXA_NAMES, points), (0.5, 2.0))
    # 3 columns of 2 mm to the front, which is left; 6 rows of 0.5 mm between the endplates.
    assert found.lengths["step"] == pytest.approx(6) and found.lengths["width_below"] == pytest.approx(32)
    assert found.lengths["height_front"] == pytest.approx(math.hypot(10, 3))
    (pixels,) = measure(SpinePoints(CSXA_NAMES, points))
    assert pixels.unit == "px" and pixels.lengths["step"] == pytest.approx(3)
    (mirrored,) = measure(SpinePoints(CSXA_NAMES, points * [-1, 1]), (0.5, 2.0))
    assert mirrored.lengths["step"] == pytest.approx(6)


def test_a_missing_corner_leaves_out_what_needs_it_and_nothing_else(necks):
    def lose(name):
        def change(points):
            points = points.copy()
            points[PHANTOM_LANDMARKS.names.index(name)] = np.nan
            return points

        return measured(necks[0], change=change)

    whole, found = measured(necks[0]), lose("C5 top left")
    missing = {name for name, value in found["C4/5"].lengths.items() if math.isnan(value)}
    assert missing == {"height_front", "height_middle", "width_below", "step"} and math.isnan(found["C4/5"].angle)
    assert found["C4/5"].lengths["height_back"] == whole["C4/5"].lengths["height_back"]
    assert found["C5/6"] == whole["C5/6"] and found["C2-C7"] == whole["C2-C7"]
    assert "C2-C7" not in lose("C7 bottom right")
    nothing = measured(necks[0], change=lambda points: points * np.nan)
    assert not nothing


def test_a_row_has_millimetres_or_pixels_never_both(necks):
    assert set(LENGTHS) == set(measured(necks[0])["C5/6"].lengths)
    for spacing, full, empty in ((SPACING, "mm", "px"), (None, "px", "mm")):
        for level, one in measured(necks[0], spacing).items():
            row = one.row()
            assert tuple(row) == MEASURE_COLUMNS[2:] and row["level"] == level
            assert all(row[f"{name}_{empty}"] is None for name in LENGTHS)
            assert all((row[f"{name}_{full}"] is None) == math.isnan(one.lengths[name]) for name in LENGTHS)
    row = measured(necks[0], None)["C5/6"].row()
    assert row["width_above_px"] == pytest.approx(
        measured(necks[0])["C5/6"].lengths["width_above"] / SPACING[0], abs=0.01
    )

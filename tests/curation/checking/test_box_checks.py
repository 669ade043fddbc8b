"""Levels, scores and overlaps by hand."""

import numpy as np
import pytest

from meddet_d2.curation.checking.annotation_checks import BoxRecord, ImageRecord, Split
from meddet_d2.curation.checking.box_checks import check_boxes, millimetres, robust_z
from meddet_d2.layout.data_set import CDH_CLASSES
from meddet_d2.layout.levels import DISCS, level_index


def box(x=10.0, y=10.0, width=20.0, height=10.0, *, number=1, level=None):
    return BoxRecord(number, 0, "protrusion", (x, y), (width, height), level, False)


def record(*boxes, spacing=None):
    return ImageRecord("train", 1, "a.png", None, "p", (200, 300), spacing, len(boxes), list(boxes))


def found(*images, region=""):
    return [
        (f.name, f.image, f.annotation)
        for f in check_boxes([Split("train", None, None, list(images), region, CDH_CLASSES)])
    ]


def test_levels_in_every_spelling():
    names = ["C2/3", "C3/4", "C6/7", "C7/T1", "T1/2", "T11/12", "T12/L1", "L4/5", "L5/S1"]
    assert [DISCS[level_index(name)] for name in names] == names
    assert sorted(map(level_index, names)) == list(map(level_index, names))
    for name in ("c7-t1", " C7/Th1", "C7/D1", "C07 / TH01"):
        assert level_index(name) == level_index("C7/T1")
    for name in ("C2/4", "C7/8", "L5/6", "C4", "", "C4/3", "C5/T6", "S1/2", "<b>C2/3</b>", "C2/3 x", "X1/2"):
        assert level_index(name) is None


def test_robust_scores_do_not_feel_an_outlier_and_have_a_least_spread():
    assert robust_z(np.array([1.0, 2.0, 3.0, 4.0, 1000.0]))[:2] == pytest.approx([-2 / 1.4826, -1 / 1.4826])
    assert robust_z(np.array([1.0, 1.0, 1.0, 1.1])) == pytest.approx([0, 0, 0, 0.1 / 0.05])


@pytest.mark.parametrize(("x", "share"), [(10.0, "1.00"), (16.0, "0.54"), (17.0, None), (30.0, None)])
def test_overlap_by_hand(x, share):
    image = record(box(), box(x=x, number=2), box(y=100.0, number=3))
    texts = [one.text for one in check_boxes([Split("train", None, None, [image], "", CDH_CLASSES)])]
    expected = f"overlaps annotation 1 with an IoU of {share}; keep one box for a disc."
    assert texts == ([] if share is None else [expected])


def test_millimetres_take_rows_for_heights():
    assert millimetres(record(spacing=(0.5, 2.0)), box()) == (40.0, 5.0)


@pytest.mark.parametrize(("width", "height"), [(12, 4), (25, 12), (30, 8), (50, 20), (45, 35)])
def test_discs_of_neck_and_loin_are_tolerated(width, height):
    assert found(record(box(width=width, height=height), spacing=(1.0, 1.0))) == []


@pytest.mark.parametrize(("width", "height"), [(5, 4), (71, 20), (20, 1.5), (40, 51)])
def test_sizes_of_no_disc_are_named(width, height):
    assert found(record(box(width=width, height=height), spacing=(1.0, 1.0))) == [("unusual-mm", 1, 1)]


def test_nine_boxes_are_many_on_a_neck_and_eleven_on_a_loin():
    boxes = [box(y=25.0 * place + 1, number=place) for place in range(11)]
    assert found(record(*boxes[:8])) == [] and found(record(*boxes[:9])) == [("many-boxes", 1, None)]
    assert found(record(*boxes[:10]), region="lumbar") == []
    assert found(record(*boxes), region="lumbar") == [("many-boxes", 1, None)]


def test_an_image_upside_down_is_said_to_be_so():
    boxes = [box(y=20.0 * place + 1, number=place, level=f"C{5 - place}/{6 - place}") for place in range(4)]
    (finding,) = check_boxes([Split("train", None, None, [record(*boxes)], "", CDH_CLASSES)])
    assert finding.text == "C5/6 lies above C4/5; is the image upside down?"


def test_few_boxes_are_no_distribution():
    usual = [record(box()) for _ in range(18)]
    assert found(*usual, record(box(width=150.0, height=100.0))) == []
    assert found(*usual, record(box()), record(box(width=180.0, height=90.0))) == [("unusual-size", 1, 1)]

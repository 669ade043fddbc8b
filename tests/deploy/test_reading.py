"""A slice's reading: thresholds, order, millimetres, disc numbers, and the picture."""

from pathlib import Path

import numpy as np
import pytest

from meddet_d2.deploy import Detections, Finding, overlay, read_slice
from meddet_d2.deploy.reading import RESEARCH_USE, SMALLEST_PICTURE, disc_numbers
from meddet_d2.drawing import CAPTION, COLORS
from meddet_d2.formats import MRSlice

CLASSES = ("protrusion", "non-protrusion")


def a_slice(height=60, width=80, spacing=(0.5, 0.25), **changes) -> MRSlice:
    fields = {
        "pixels": np.full((height, width, 3), 90, np.uint8),
        "image_id": "i0123456789abcdef",
        "patient_id": "p0123456789abcdef",
        "spacing": spacing,
        "tags": {},
        "warnings": (),
        "source": Path("secret.png"),
    }
    return MRSlice(**{**fields, **changes})


class Fixed:
    """A detector that always finds the same: (x0, y0, x1, y1, score, class) each."""

    classes = CLASSES

    def __init__(self, *found):
        rows = np.array(found, np.float32).reshape(-1, 6)
        self.found = Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64))

    def __call__(self, image):
        return self.found


LOW = (10, 40, 30, 50, 0.9, 0)
HIGH = (12, 5, 28, 15, 0.5, 1)
WEAK = (12, 20, 28, 30, 0.35, 0)


def test_findings_from_top_to_bottom_with_millimetres():
    reading = read_slice(a_slice(), Fixed(LOW, HIGH, WEAK), threshold=0.4)
    assert reading.classes == CLASSES
    high, low = reading.findings
    assert (high.label, high.box, high.score) == ("non-protrusion", (12, 5, 28, 15), 0.5)
    # Width by the distance between columns, height by that between rows.
    assert low.size_mm == (20 * 0.25, 10 * 0.5)
    assert low.score == pytest.approx(0.9)


def test_no_millimetres_without_spacing():
    (finding,) = read_slice(a_slice(spacing=None), Fixed(LOW)).findings
    assert finding.size_mm is None


def test_thresholds_of_classes():
    detector = Fixed(LOW, HIGH, WEAK)
    assert len(read_slice(a_slice(), detector).findings) == 3
    assert len(read_slice(a_slice(), detector, threshold=0.5).findings) == 2, "a threshold is the least score"
    found = read_slice(a_slice(), detector, threshold=0.6, class_thresholds={"non-protrusion": 0.2}).findings
    assert [finding.label for finding in found] == ["non-protrusion", "protrusion"]
    for settings, message in (
        ({"threshold": 1.5}, "A threshold is 1.5"),
        ({"threshold": float("nan")}, "A threshold is nan"),
        ({"class_thresholds": {"protrusion": -0.1}}, "A threshold is -0.1"),
        (
            {"class_thresholds": {"hernia": 0.1}},
            "class 'hernia', but the detector's are protrusion, non-protrusion",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            read_slice(a_slice(), detector, **settings)


def test_two_classes_on_one_disc_share_its_number():
    def finding(y, label="protrusion", height=10):
        return Finding((10, y, 40, y + height), label, 0.5, None)

    assert disc_numbers([]) == []
    found = [finding(0), finding(2, "non-protrusion"), finding(20), finding(40), finding(41)]
    assert disc_numbers(found) == [1, 1, 2, 3, 3]
    # A third of the union is not enough.
    assert disc_numbers([finding(0), finding(5)]) == [1, 2]


@pytest.mark.parametrize("shape, panel", [((60, 80), (480, 640)), ((900, 700), (900, 700)), ((40, 1000), (40, 1000))])
def test_the_picture(shape, panel):
    reading = read_slice(a_slice(*shape), Fixed((10, 10, 30, 25, 0.9, 0)))
    picture = overlay(reading)
    assert picture.height == panel[0] + 2 * CAPTION and picture.width >= panel[1] and picture.info == {}
    assert max(panel) >= SMALLEST_PICTURE
    colour = tuple(int(COLORS[0][i : i + 2], 16) for i in (1, 3, 5))
    scale, left = panel[1] / shape[1], (picture.width - panel[1]) // 2
    pixels = np.asarray(picture)
    x, y = left + round(20 * scale), CAPTION + round(10 * scale)
    assert (np.abs(pixels[y - 2 : y + 3, x].astype(int) - colour).sum(axis=1) < 40).any(), "the box's upper line"
    assert (pixels[-CAPTION:] != pixels[-1, -1]).any(), f"the line {RESEARCH_USE!r}"
    assert overlay(reading, size=300).size != picture.size


def test_no_score_covers_another():
    """Two classes on one disc: taking the lower one away changes nothing where the upper one's score stands."""
    one, other = (30, 20, 60, 40, 0.9, 0), (31, 21, 61, 41, 0.8, 1)
    both, alone = (np.asarray(overlay(read_slice(a_slice(), Fixed(*found)))) for found in ((one, other), (one,)))
    left = (640 * 30 // 80) - 6
    score = np.s_[CAPTION + 158 : CAPTION + 182, left - 30 : left]
    black = (alone[score].astype(int).sum(axis=2) < 40).mean()
    assert black > 0.3, "the score's own background"
    np.testing.assert_array_equal(both[score], alone[score])
    # And the other one has its own.
    colour = tuple(int(COLORS[1][i : i + 2], 16) for i in (1, 3, 5))
    blue = (np.abs(both.astype(int) - colour).sum(axis=2) < 100)[:, : left - 4]
    assert blue[2 * CAPTION :].sum() > 20


def test_a_healthy_slice_has_a_picture():
    reading = read_slice(a_slice(), Fixed())
    assert reading.findings == () and overlay(reading).size == (640, 480 + 2 * CAPTION)

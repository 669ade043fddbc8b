"""Landmarks on a slice: pixels, millimetres and the patient; a low score is a missing landmark; and the picture."""

from pathlib import Path

import numpy as np
import pytest

from meddet_d2.deploy import Landmarks
from meddet_d2.deploy.point_reading import PointReading, point_overlay, point_reading_of
from meddet_d2.deploy.reading import thresholds_of
from meddet_d2.deploy.result_kinds import kind_of
from meddet_d2.drawing import CAPTION, FOUND_COLOR
from meddet_d2.formats import MRSlice
from meddet_d2.formats.records import Place

NAMES = ("C2 top left", "C2 top right", "C7/T1")
FOUND = Landmarks(np.array([[10, 40, 0.9], [30.5, 20.25, 0.5], [0, 0, 0.05]], np.float32))
PLACE = Place((5.0, -40.0, 60.0), (0.0, 0.25, 0.0), (0.0, 0.0, -0.5))


def a_slice(height=60, width=80, spacing=(0.5, 0.25), place=PLACE) -> MRSlice:
    pixels = np.full((height, width, 3), 90, np.uint8)
    return MRSlice(pixels, "i0123456789abcdef", "p0123456789abcdef", spacing, {}, (), Path("secret.png"), place=place)


def a_reading(threshold=0.1, **changes) -> PointReading:
    return point_reading_of(a_slice(**changes), FOUND, thresholds_of(NAMES, threshold))


def test_places_in_pixels_millimetres_and_the_patient():
    first, second, third = a_reading().findings
    assert (first.name, first.place, first.place_mm) == ("C2 top left", (10, 40), (2.5, 20.0))
    # 30 columns and 19.75 rows from the middle of the first pixel.
    assert second.patient_mm == pytest.approx((5.0, -40 + 30 * 0.25, 60 - 19.75 * 0.5))
    assert second.score == 0.5
    # What is not seen has no place, and no zeros.
    assert (third.place, third.place_mm, third.patient_mm) == (None, None, None) and third.score > 0
    assert a_reading().missing == ("C7/T1",) and a_reading(threshold=0.6).missing == NAMES[1:]


def test_nothing_is_made_up():
    first = a_reading(spacing=None, place=None).findings[0]
    assert first.place == (10, 40) and first.place_mm is None and first.patient_mm is None


def test_a_threshold_of_one_landmark():
    limits = thresholds_of(NAMES, 0.1, {"C2 top left": 0.95})
    assert point_reading_of(a_slice(), FOUND, limits).missing == (NAMES[0], NAMES[2])


def test_the_picture_shows_found_landmarks_alone():
    size, color = 640, tuple(bytes.fromhex(FOUND_COLOR[1:]))
    picture = np.asarray(point_overlay(a_reading(), size=size))
    left = (picture.shape[1] - size) // 2

    def colored(x, y):
        return (picture[round(CAPTION + y * 8), round(left + x * 8)] == color).all()

    assert colored(10, 40) and colored(30.5, 20.25) and not colored(0.2, 0.2)
    # In the legend one dot, none of what is true.
    assert (picture[:CAPTION] == color).all(axis=-1).any()
    fewer = np.asarray(point_overlay(a_reading(threshold=1), size=size))
    assert not (fewer[CAPTION:] == color).all(axis=-1).any()


def test_what_is_made_of_a_result_is_chosen_by_it():
    assert kind_of(object()).read is not kind_of(OfLandmarks()).read is point_reading_of


class OfLandmarks:
    result = "landmarks"

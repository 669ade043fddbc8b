"""What a test set of landmarks may hold: each mistake is one line that names it."""

import numpy as np
import pytest
from landmark_truths import NAMES, landmark_json, random_points

from meddet_d2.evaluation.landmarks import truth_of_json, truth_of_records

POINTS = random_points(np.random.default_rng(0))


def test_points_patients_and_spacing():
    visible = np.full((4, 4), 2)
    visible[1, 2], visible[2, 0] = 0, 1
    content = landmark_json(POINTS, spacing=(0.5, 0.4), patients=["b", "a", "b", "c"], visible=visible)
    content["images"].reverse()
    truth = truth_of_json(content)
    assert truth.names == NAMES and truth.image_ids == (1, 2, 3, 4) and truth.unit == "mm"
    assert truth.patient.tolist() == [0, 1, 0, 2] and truth.patients_known
    assert truth.spacing.tolist() == [[0.5, 0.4]] * 4 and truth.sizes == ((120, 90),) * 4
    expected = POINTS.copy()
    expected[1, 2] = np.nan
    np.testing.assert_array_equal(truth.points, expected)


def test_without_spacing_errors_are_in_pixels():
    truth = truth_of_json(landmark_json(POINTS, spacing=None))
    assert truth.spacing is None and truth.unit == "px"


def test_without_patients_each_image_counts_as_one():
    content = landmark_json(POINTS, patients=["a", "a", "a", "a"])
    del content["images"][2]["patient_id"]
    truth = truth_of_json(content)
    assert not truth.patients_known and truth.patient.tolist() == [0, 1, 2, 3]


def test_an_image_without_an_annotation_has_nothing_labelled():
    content = landmark_json(POINTS)
    del content["annotations"][1]
    assert np.isnan(truth_of_json(content).points[1]).all()


def set_landmarks(content, values):
    content["annotations"][0]["landmarks"][: len(values)] = values


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda one: one["images"][1].pop("spacing"), r"1 of 4 images have no spacing \(2\)"),
        (lambda one: one["images"][1].update(spacing=[0.5, 0]), "Image 2 has spacing"),
        (lambda one: one["images"][1].update(spacing=[0.5]), "Image 2 has spacing"),
        (lambda one: one["annotations"][0]["landmarks"].pop(), "Image 1 has 11 numbers"),
        (lambda one: set_landmarks(one, [float("nan")]), "Image 1 has landmarks that are no finite"),
        (lambda one: set_landmarks(one, [1, 1, 3]), "v 0, 1 or 2"),
        (lambda one: one["annotations"].append(one["annotations"][0]), "Image 1 has 2 annotations"),
        (lambda one: one["categories"][0].pop("keypoints"), "has no landmark names"),
    ],
)
def test_mistakes_are_one_line(change, text):
    content = landmark_json(POINTS)
    change(content)
    with pytest.raises(ValueError, match=text) as caught:
        truth_of_json(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "text"), [((), "a name that no other"), (("a", "a"), "a name that no other"), (("=a",), "'=a' begins")]
)
def test_names_must_be_different_and_fit_for_tables(names, text):
    with pytest.raises(ValueError, match=text):
        truth_of_records([], names)


def test_an_image_is_there_once():
    record = {"image_id": 1, "annotations": []}
    with pytest.raises(ValueError, match="one image_id"):
        truth_of_records([record, record], ["a"])

"""Predicted landmarks from records and files: put in order, and refused in one line."""

import json

import numpy as np
import pytest
from landmark_truths import landmark_json, random_points, results_of

from meddet_d2.evaluation.landmarks import truth_of_json
from meddet_d2.evaluation.landmarks.landmark_predictions import predicted_points, read_predictions

POINTS = random_points(np.random.default_rng(0))
TRUTH = truth_of_json(landmark_json(POINTS))


def test_predictions_stand_in_the_order_of_the_images():
    found = predicted_points(results_of(POINTS)[::-1], TRUTH)
    np.testing.assert_array_equal(found, POINTS)


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_what_is_not_finite_is_no_prediction(nothing):
    results = results_of(POINTS)[:3]
    results[1]["landmarks"][3] = nothing
    found = predicted_points(results, TRUTH)
    missing = np.isnan(found).any(axis=2)
    assert missing[1].tolist() == [False, True, False, False] and missing[3].all()
    assert np.isnan(found[1, 1]).all() and missing.sum() == 5


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda results: results[0].update(image_id=9), "image 9, which the test set does not list"),
        (lambda results: results[0].update(image_id=2), "Image 2 has two predictions"),
        (lambda results: results[0]["landmarks"].pop(), "Image 1 has 11 numbers"),
        (lambda results: results[0].pop("landmarks"), "not a list of predictions"),
        (lambda results: results.clear() or results.append(3), "not a list of predictions"),
    ],
)
def test_mistakes_are_one_line_that_names_the_file(tmp_path, change, text):
    results = results_of(POINTS)
    change(results)
    path = tmp_path / "found.json"
    path.write_text(json.dumps(results))
    with pytest.raises(ValueError, match=text) as caught:
        read_predictions(path, TRUTH, tmp_path / "test.json")
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_coco_json_must_be_of_these_images(tmp_path):
    path = tmp_path / "found.json"
    images = landmark_json(POINTS)["images"]
    path.write_text(json.dumps({"images": images, "annotations": results_of(POINTS)}))
    np.testing.assert_array_equal(read_predictions(path, TRUTH, tmp_path / "test.json"), POINTS)
    images[2]["file_name"] = "another.png"
    path.write_text(json.dumps({"images": images, "annotations": results_of(POINTS)}))
    with pytest.raises(ValueError, match="1 of its images have another name"):
        read_predictions(path, TRUTH, tmp_path / "test.json")


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_predictions(tmp_path / "none.json", TRUTH, tmp_path / "test.json")
    (tmp_path / "bad.json").write_text("[" * 50)
    with pytest.raises(ValueError, match="not a json file"):
        read_predictions(tmp_path / "bad.json", TRUTH, tmp_path / "test.json")

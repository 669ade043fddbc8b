"""Intervals by patient against plain resampling of the images, and the paired difference of two runs."""

import math

import numpy as np
import pytest
from landmark_truths import landmark_json, random_points

from meddet_d2.evaluation.clinical.bootstrap import draws
from meddet_d2.evaluation.landmarks import truth_of_json
from meddet_d2.evaluation.landmarks.landmark_intervals import (
    FIGURES,
    landmark_intervals,
    paired_difference,
    patient_figures,
)
from meddet_d2.evaluation.landmarks.landmark_metrics import pool_metrics
from meddet_d2.evaluation.landmarks.radial_errors import at_wrong_level, radial_errors

RNG = np.random.default_rng(5)
POINTS = random_points(RNG, images=12)
VISIBLE = RNG.choice([0, 1, 2, 2, 2], POINTS.shape[:2])
PATIENTS = [f"p{index}" for index in (0, 0, 1, 2, 2, 2, 3, 4, 4, 5, 6, 6)]
TRUTH = truth_of_json(landmark_json(POINTS, patients=PATIENTS, visible=VISIBLE))
FOUND = POINTS + RNG.normal(0, 5, POINTS.shape)
FOUND[1, 0] = POINTS[1, 1]


def pool(found, images):
    points = TRUTH.points, found, TRUTH.spacing
    errors, wrong = radial_errors(*points)[images], at_wrong_level(*points)[images]
    return pool_metrics(errors, wrong)


def test_a_resample_is_its_patients_images():
    points = TRUTH.points, FOUND, TRUTH.spacing
    figures = patient_figures(radial_errors(*points), at_wrong_level(*points), TRUTH.patient)
    for weights in [np.ones(7), *draws(7, 20, seed=1)]:
        images = np.repeat(np.arange(12), weights.astype(int)[TRUTH.patient])
        expected = pool(FOUND, images)
        assert figures(weights) == pytest.approx({name: expected[name] for name in FIGURES}, nan_ok=True)


def test_intervals_hold_their_value_and_are_those_of_the_seed():
    found = landmark_intervals(TRUTH, FOUND, resamples=200, seed=3)
    for name in FIGURES:
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]
        assert found[name]["value"] == pytest.approx(pool(FOUND, slice(None))[name])
    assert found["MRE"]["low"] < found["MRE"]["high"]
    assert landmark_intervals(TRUTH, FOUND, resamples=200, seed=3) == found
    assert landmark_intervals(TRUTH, FOUND, resamples=200, seed=4) != found


def test_a_paired_difference_is_narrower_than_the_runs():
    """A run whose errors are all a tenth smaller: hard patients are hard for both."""
    better = TRUTH.points + 0.9 * (FOUND - TRUTH.points)
    difference = paired_difference(TRUTH, FOUND, better, resamples=200, seed=0)["MRE"]
    alone = landmark_intervals(TRUTH, FOUND, resamples=200, seed=0)["MRE"]
    assert difference["value"] == pytest.approx(-0.1 * alone["value"])
    assert difference["low"] <= difference["value"] <= difference["high"] < 0
    assert difference["high"] - difference["low"] == pytest.approx(0.1 * (alone["high"] - alone["low"]))


def test_one_run_does_not_differ_from_itself():
    for figure in paired_difference(TRUTH, FOUND, FOUND, resamples=50, seed=0).values():
        assert (figure["value"], figure["low"], figure["high"]) == (0, 0, 0)


def test_a_missing_prediction_leaves_the_mean_undefined_where_its_patient_is_drawn():
    found = FOUND.copy()
    row = int(np.flatnonzero(VISIBLE[:, 2])[0])
    found[row, 2] = np.nan
    figures = landmark_intervals(TRUTH, found, resamples=100, seed=0)
    assert math.isnan(figures["MRE"]["value"]) and 0 < figures["MRE"]["undefined_resamples"] < 100
    assert figures["SDR4"]["undefined_resamples"] == 0 and figures["SDR4"]["value"] > 0


def test_one_patient_has_no_interval():
    truth = truth_of_json(landmark_json(POINTS, patients=["a"] * 12))
    figures = landmark_intervals(truth, FOUND, resamples=50, seed=0)
    assert math.isnan(figures["MRE"]["low"]) and figures["MRE"]["value"] > 0

"""The figures of a pool: inclusive radii, missing predictions, and what is not defined."""

import math

import numpy as np
import pytest

from meddet_d2.evaluation.landmarks.landmark_metrics import (
    image_means,
    landmark_metrics,
    overall_metrics,
    pool_metrics,
)

NAN, INF = np.nan, np.inf


def of(errors, wrong=None):
    errors = np.array(errors, float)
    return pool_metrics(errors, np.zeros(errors.shape, bool) if wrong is None else np.array(wrong))


def test_figures_by_hand():
    figures = of([1, 2, 2.5, 3, 4, 11.5, NAN], [0, 0, 0, 0, 0, 1, 1])
    assert figures["MRE"] == figures["MRE_found"] == pytest.approx(4.0)
    assert figures["SD"] == pytest.approx(math.sqrt((9 + 4 + 2.25 + 1 + 0 + 56.25) / 6))
    assert figures["median"] == pytest.approx(2.75)
    rates = [figures[name] for name in ("SDR2", "SDR2.5", "SDR3", "SDR4", "above4", "above10", "wrong_level")]
    assert rates == pytest.approx([100 * count / 6 for count in (2, 3, 4, 5, 1, 1, 1)])
    assert figures["missing_rate"] == 0


def test_rounding_does_not_decide_about_a_radius():
    assert of([np.linalg.norm([3 * 0.4, 4 * 0.4])])["SDR2"] == 100
    assert of([math.nextafter(2.0, 3)])["SDR2"] == 100 and of([2.001])["SDR2"] == 0


def test_a_missing_prediction_counts_against():
    figures = of([1, INF, 3, 5], [False, False, False, True])
    assert math.isnan(figures["MRE"]) and math.isnan(figures["SD"])
    assert figures["MRE_found"] == 3 and figures["median"] == 4 and figures["missing_rate"] == 25
    assert figures["SDR4"] == 50 and figures["above4"] == 50 and figures["above10"] == 25
    assert figures["wrong_level"] == pytest.approx(100 / 3)
    assert math.isnan(of([1, INF, INF])["median"])


def test_nothing_labelled_is_not_defined():
    assert all(math.isnan(value) for value in of([NAN, NAN]).values())


def test_the_images_means_count_each_image_once():
    errors = np.array([[1.0, NAN], [2.0, 6.0], [NAN, NAN]])
    figures = overall_metrics(errors, np.zeros(errors.shape, bool))
    assert (figures["MRE"], figures["IPE"], figures["IPE_SD"]) == pytest.approx((3.0, 2.5, 1.5))
    np.testing.assert_array_equal(image_means(np.array([[1.0, INF], [NAN, NAN]])), [INF, NAN])
    assert math.isnan(overall_metrics(np.array([[1.0, INF]]), np.zeros((1, 2), bool))["IPE"])


def test_each_landmark_by_itself():
    errors = np.array([[1.0, 5.0], [3.0, NAN]])
    figures = landmark_metrics(errors, errors > 4, ["a", "b"])
    assert (figures["a"]["MRE"], figures["b"]["MRE"], figures["b"]["wrong_level"]) == (2.0, 5.0, 100.0)

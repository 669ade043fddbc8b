"""Curves: FROC against a slow reference that matches anew at every threshold, against MONAI, and by hand."""

import numpy as np
import pytest
from clinical_sets import make_case, random_cases
from hypothesis import given, settings
from hypothesis import strategies as st

from meddet_d2.evaluation.clinical.curves import RATES, froc, sensitivity_at
from meddet_d2.evaluation.clinical.matching import match

A, B = (10, 10, 20, 10), (50, 10, 20, 10)
SEEDS = st.integers(0, 2**32 - 1)


def overlap(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def slow_counts(cases, threshold, label):
    """True and false boxes among the detections of at least this score, one image and one box at a time."""
    true = false = 0
    for case in cases:
        free = [list(box) for box, one in zip(case.boxes, case.labels, strict=True) if label in (None, one)]
        found = [
            (score, one, list(box))
            for score, one, box in zip(case.found_scores, case.found_labels, case.found_boxes, strict=True)
            if score >= threshold and label in (None, one)
        ]
        if label is None:
            free = [list(box) for one in range(2) for box in case.boxes[case.labels == one]]
        for _, _, box in sorted(found, key=lambda entry: (-entry[0], entry[1])):
            best = max(range(len(free)), key=lambda index: (overlap(box, free[index]), index), default=None)
            if best is not None and overlap(box, free[best]) >= 0.5:
                free.pop(best)
                true += 1
            else:
                false += 1
    return true, false


def slow_sensitivity(points, rate):
    """Linear along the curve, point by point, and level beyond its end."""
    left = max(point for point in points if point[0] <= rate)
    right = min((point for point in points if point[0] > rate), default=None)
    if right is None:
        return left[1]
    return left[1] + (right[1] - left[1]) * (rate - left[0]) / (right[0] - left[0])


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, label=st.sampled_from([0, 1, None]))
def test_every_point_is_the_slow_reference_at_its_threshold(seed, label):
    cases = random_cases(np.random.default_rng(seed), crowds=False)
    curve = froc(match(cases, 0.5, None if label is None else [label]))
    boxes = sum(len(case.labels) if label is None else int((case.labels == label).sum()) for case in cases)
    kept = [np.isin(case.found_labels, [0, 1] if label is None else [label]) for case in cases]
    scores = {score for case, of in zip(cases, kept, strict=True) for score in case.found_scores[of]}
    assert curve.threshold.tolist() == [np.inf, *sorted(scores, reverse=True)]
    for threshold, true, false, sensitivity, rate in zip(*curve, strict=True):
        assert (true, false) == slow_counts(cases, threshold, label)
        assert rate == false / len(cases)
        assert sensitivity == true / boxes if boxes else np.isnan(sensitivity)
    if boxes:
        points = list(zip(curve.rate, curve.sensitivity, strict=True))
        expected = [slow_sensitivity(points, rate) for rate in RATES]
        np.testing.assert_allclose(sensitivity_at(curve), expected, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS)
def test_monai_agrees_but_for_the_lowest_score_which_it_drops(seed):
    metrics = pytest.importorskip("monai.metrics")
    cases = random_cases(np.random.default_rng(seed))
    matches = match(cases, 0.5, [0])
    if not len(matches.truth_image) or not len(matches.score):
        return
    true, false = matches.score[matches.hit], matches.score[~matches.hit]
    rate, sensitivity = metrics.compute_froc_curve_data(false, true, len(matches.truth_image), len(cases))
    curve = froc(matches)
    np.testing.assert_allclose(curve.rate[:-1], rate[::-1])
    np.testing.assert_allclose(curve.sensitivity[:-1], sensitivity[::-1])
    # The score of both at the rates that the shorter curve reaches.
    rates = tuple(one for one in RATES if one <= rate.max()) or (0.0,)
    score = metrics.compute_froc_score(rate, sensitivity, rates)
    short = curve._replace(rate=curve.rate[:-1], sensitivity=curve.sensitivity[:-1])
    assert sensitivity_at(short, rates).mean() == pytest.approx(score)


def test_healthy_images_are_counted():
    ill = make_case(1, 1, [(*A, 0)], [(*A, 0, 0.5), (*B, 0, 0.9)])
    healthy = [make_case(number, number) for number in (2, 3, 4)]
    assert froc(match([ill], 0.5, [0])).rate[-1] == 1.0
    assert froc(match([ill, *healthy], 0.5, [0])).rate[-1] == 0.25
    more = [make_case(2, 2, found=[(*A, 0, 0.8)]), *healthy[1:]]
    assert froc(match([ill, *more], 0.5, [0])).rate[-1] == 0.5


def test_equal_scores_are_one_point():
    case = make_case(boxes=[(*A, 0), (*B, 0)], found=[(*A, 0, 0.5), (*B, 0, 0.5), (70, 70, 9, 9, 0, 0.5)])
    curve = froc(match([case], 0.5, [0]))
    assert curve.sensitivity.tolist() == [0.0, 1.0] and curve.rate.tolist() == [0.0, 1.0]
    np.testing.assert_allclose(sensitivity_at(curve), [1 / 8, 1 / 4, 1 / 2, 1, 1, 1, 1])


def test_without_detections_and_without_boxes():
    assert sensitivity_at(froc(match([make_case(boxes=[(*A, 0)])], 0.5, [0]))).tolist() == [0.0] * 7
    assert np.isnan(sensitivity_at(froc(match([make_case(found=[(*A, 0, 0.5)])], 0.5, [0])))).all()


def test_weights_are_copies_of_images():
    rng = np.random.default_rng(4)
    for _ in range(40):
        cases, weights = random_cases(rng), rng.integers(0, 4, 6)
        copies = [case for case, weight in zip(cases, weights, strict=True) for _ in range(weight)]
        if copies:
            ours, expected = froc(match(cases, 0.5), weights), froc(match(copies, 0.5))
            np.testing.assert_allclose(sensitivity_at(ours), sensitivity_at(expected), atol=1e-12)

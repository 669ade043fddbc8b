"""Curves over every score threshold, COCO's average precision, and FROC.

FROC (Bunch et al., 1977): sensitivity against false boxes per image, healthy images counted. A threshold separates
distinct scores only, so the curve has one point for each of them, and (0, 0). Between points it is straight, as in
LUNA16's evaluation, whose seven rates and their mean (the competition performance metric, CPM) are taken over.
"""

import math
from typing import NamedTuple

import numpy as np
from sklearn.metrics import precision_recall_curve

from .matching import Matches

# The recall levels of COCO's average precision.
RECALLS = np.linspace(0.0, 1.0, 101)
# LUNA16's false boxes per image.
RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)


class PrecisionRecall(NamedTuple):
    """One point for each distinct score, by falling threshold; all (K,)."""

    threshold: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


class Froc(NamedTuple):
    """By falling threshold; all (K + 1,), the first the point (0, 0) at the threshold infinity."""

    threshold: np.ndarray
    true: np.ndarray
    false: np.ndarray
    sensitivity: np.ndarray
    rate: np.ndarray


def precision_recall(matches: Matches) -> PrecisionRecall:
    """The curve of one class; empty where nothing is annotated or nothing is detected."""
    if not len(matches.truth_image) or not len(matches.score):
        return PrecisionRecall(*np.zeros((3, 0)))
    # A box that no detection found is a positive below every threshold: without them recall would be too good. The
    # negative down there changes nothing above, and makes sure that there is a last point to leave out.
    missed = len(matches.truth_image) - int(matches.hit.sum())
    hit = np.concatenate([matches.hit, np.ones(missed, bool), [False]])
    score = np.concatenate([matches.score, np.full(missed + 1, -1.0)])
    precision, recall, threshold = precision_recall_curve(hit, score)
    # By rising threshold: the first point is the one at -1, the last belongs to none.
    return PrecisionRecall(threshold[:0:-1], precision[-2:0:-1], recall[-2:0:-1])


def average_precision(matches: Matches, weights: np.ndarray | None = None) -> float:
    """COCO's average precision at the matches' IoU, in [0, 1]: precision at 101 recalls, each the best at no less.

    Args:
        matches: of one class.
        weights: (I,) how often each image is counted; once by default.

    Returns:
        NaN where nothing is annotated, 0 where nothing is found.
    """
    hits, false, positives, _ = matches.totals(weights)
    if positives == 0:
        return math.nan
    precision = hits / (hits + false + np.spacing(1))
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / positives, RECALLS, side="left")
    return float(np.append(best, 0.0)[at].mean())


def froc(matches: Matches, weights: np.ndarray | None = None) -> Froc:
    """The curve; its sensitivity is NaN where nothing is annotated.

    Args:
        matches: of the boxes in question.
        weights: (I,) how often each image is counted; once by default.
    """
    *totals, positives, images = matches.totals(weights)
    ends = matches.ends
    hits, false = (np.concatenate([[0.0], total[ends]]) for total in totals)
    threshold = np.concatenate([[np.inf], matches.score[ends]])
    return Froc(threshold, hits, false, hits / positives if positives else hits * math.nan, false / images)


def sensitivity_at(curve: Froc, rates: np.ndarray | tuple[float, ...] = RATES) -> np.ndarray:
    """Sensitivity at given false boxes per image; beyond the curve's end it stays as it is there."""
    # Of several points at one rate np.interp takes the last, which is the best.
    return np.interp(rates, curve.rate, curve.sensitivity)

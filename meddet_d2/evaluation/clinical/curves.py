"""Precision and recall at every score threshold, and COCO's average precision."""

import math
from typing import NamedTuple

import numpy as np
from sklearn.metrics import precision_recall_curve

from .matching import Matches

# The recall levels of COCO's average precision.
RECALLS = np.linspace(0.0, 1.0, 101)


class PrecisionRecall(NamedTuple):
    """One point for each distinct score, by falling threshold; all (K,)."""

    threshold: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def precision_recall(matches: Matches) -> PrecisionRecall:
    """The curve of one class; empty where nothing is annotated or nothing is detected."""
    if not len(matches.truth_image) or not len(matches.score):
        return PrecisionRecall(*(np.zeros(0) for _ in range(3)))
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
    positives = matches.positives(weights)
    if positives == 0:
        return math.nan
    hits, false = matches.totals(weights)
    precision = hits / (hits + false + np.spacing(1))
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / positives, RECALLS, side="left")
    return float(np.append(best, 0.0)[at].mean())

"""FROC (Bunch et al., 1977): sensitivity against false boxes per image, healthy images counted.

A threshold separates distinct scores only, so the curve has one point for each of them, and (0, 0). Between points it
is straight, as in LUNA16's evaluation, whose seven rates and their mean (the competition performance metric, CPM) are
taken over.
"""

import math
from typing import NamedTuple

import numpy as np

from .matching import Matches

RATES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)


class Froc(NamedTuple):
    """By falling threshold; all (K + 1,), the first the point (0, 0) at the threshold infinity."""

    threshold: np.ndarray
    true: np.ndarray
    false: np.ndarray
    sensitivity: np.ndarray
    rate: np.ndarray


def froc(matches: Matches, weights: np.ndarray | None = None) -> Froc:
    """The curve.

    Args:
        matches: of the boxes in question.
        weights: (I,) how often each image is counted; once by default.

    Returns:
        Sensitivity is NaN where nothing is annotated; ``rate`` is false boxes for one image of all.
    """
    ends = matches.ends
    hits, false = (np.concatenate([[0.0], total[ends]]) for total in matches.totals(weights))
    positives = matches.positives(weights)
    images = matches.images if weights is None else weights.sum()
    threshold = np.concatenate([[np.inf], matches.score[ends]])
    return Froc(threshold, hits, false, hits / positives if positives else hits * math.nan, false / images)


def sensitivity_at(curve: Froc, rates: np.ndarray | tuple[float, ...] = RATES) -> np.ndarray:
    """Sensitivity at given false boxes per image; beyond the curve's end it stays as it is there."""
    # Of several points at one rate np.interp takes the last, which is the best.
    return np.interp(rates, curve.rate, curve.sensitivity)

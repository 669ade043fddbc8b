"""Whether a score means what it says: of the detections scored about 0.7, are 70 % right?

Right is a detection that found a box of its class. Expected calibration error as in Guo et al. (2017): the mean
distance between score and share of right ones over bins of equal width, each weighted by its detections.
"""

import math
from collections.abc import Sequence

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from .matching import Matches

EDGES = np.linspace(0.0, 1.0, 11)
BINS = len(EDGES) - 1


def collect(matches: Sequence[Matches]) -> np.ndarray:
    """Sums for each image and bin, from which the figures of any resample follow.

    Returns:
        (4, I, BINS): detections of all classes, their scores, how many are right, and the squares of score - right.
    """
    images = matches[0].images
    score, right = _scores(matches)
    cell = np.concatenate([one.image for one in matches]) * BINS + _bin_of(score)
    values = np.ones(len(score)), score, right, (score - right) ** 2
    sums = [np.bincount(cell, weights=value, minlength=images * BINS) for value in values]
    return np.reshape(sums, (4, images, BINS))


def figures(sums: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Expected calibration error and Brier score, both in [0, 1]; NaN without detections.

    Args:
        sums: (4, I, BINS) of :func:`collect`.
        weights: (I,) how often each image is counted.
    """
    count, score, right, squares = (weights @ of_images for of_images in sums)
    if not count.sum():
        return math.nan, math.nan
    return float(np.abs(score - right).sum() / count.sum()), float(squares.sum() / count.sum())


def diagram(matches: Sequence[Matches]) -> tuple[list[dict], float]:
    """The reliability diagram's bins that hold detections, and the Brier score (NaN without any).

    Returns:
        [{"from", "to", "detections", "mean_score", "share_right"}] by rising score.
    """
    score, right = _scores(matches)
    if not len(score):
        return [], math.nan
    share, mean = calibration_curve(right, score, n_bins=BINS, strategy="uniform")
    counts = np.bincount(_bin_of(score), minlength=BINS)
    rows = np.stack([EDGES[:-1], EDGES[1:], counts], axis=1)[counts > 0].tolist()
    bins = [
        {"from": low, "to": high, "detections": int(count), "mean_score": at, "share_right": of_right}
        for (low, high, count), at, of_right in zip(rows, mean.tolist(), share.tolist(), strict=True)
    ]
    return bins, float(brier_score_loss(right, score, pos_label=True))


def _scores(matches: Sequence[Matches]) -> tuple[np.ndarray, np.ndarray]:
    """Score and rightness of the detections of all classes."""
    return np.concatenate([one.score for one in matches]), np.concatenate([one.hit for one in matches])


def _bin_of(score: np.ndarray) -> np.ndarray:
    """The bin of each score, with scikit-learn's edges."""
    return np.searchsorted(EDGES[1:-1], score)

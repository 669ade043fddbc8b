"""Whether a score means what it says: of the detections scored about 0.7, are 70 % right?

Right is a detection that found a box of its class. Expected calibration error as in Guo et al. (2017): the mean
distance between score and share of right ones over bins of equal width, each weighted by its detections.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from .matching import Matches

BINS = 10


@dataclass(frozen=True, eq=False)
class Calibration:
    """Sums for each image and bin, from which the figures of any resample follow; all (I, BINS).

    Attributes:
        count: detections.
        score: sum of their scores.
        right: how many are right.
        squares: sum of (score - right)^2.
    """

    count: np.ndarray
    score: np.ndarray
    right: np.ndarray
    squares: np.ndarray

    def error(self, weights: np.ndarray) -> float:
        """Expected calibration error in [0, 1], each image counted ``weights`` (I,) times; NaN without detections."""
        count = weights @ self.count
        distance = np.abs(weights @ self.score - weights @ self.right)
        return float(distance.sum() / count.sum()) if count.sum() else math.nan

    def brier(self, weights: np.ndarray) -> float:
        """Mean squared distance between score and outcome, in [0, 1]; NaN without detections."""
        count = (weights @ self.count).sum()
        return float((weights @ self.squares).sum() / count) if count else math.nan


def collect(matches: Sequence[Matches]) -> Calibration:
    """The sums of all classes' detections."""
    images = matches[0].images
    score, right = (np.concatenate(parts) for parts in zip(*((one.score, one.hit) for one in matches), strict=True))
    cell = np.concatenate([one.image for one in matches]) * BINS + bin_of(score)
    sums = [
        np.bincount(cell, weights=values, minlength=images * BINS).reshape(images, BINS)
        for values in (np.ones(len(score)), score, right, (score - right) ** 2)
    ]
    return Calibration(*sums)


def diagram(matches: Sequence[Matches]) -> tuple[list[dict], float]:
    """The reliability diagram's bins that hold detections, and the Brier score (NaN without any).

    Returns:
        [{"from", "to", "detections", "mean_score", "share_right"}] by rising score.
    """
    score, right = (np.concatenate(parts) for parts in zip(*((one.score, one.hit) for one in matches), strict=True))
    if not len(score):
        return [], math.nan
    share, mean = calibration_curve(right, score, n_bins=BINS, strategy="uniform")
    counts = np.bincount(bin_of(score), minlength=BINS)
    edges = np.linspace(0.0, 1.0, BINS + 1)
    bins = [
        {
            "from": float(edges[index]),
            "to": float(edges[index + 1]),
            "detections": int(counts[index]),
            "mean_score": float(mean[row]),
            "share_right": float(share[row]),
        }
        for row, index in enumerate(np.flatnonzero(counts))
    ]
    return bins, float(brier_score_loss(right, score, pos_label=True))


def bin_of(score: np.ndarray) -> np.ndarray:
    """The bin of each score, with scikit-learn's edges."""
    return np.searchsorted(np.linspace(0.0, 1.0, BINS + 1)[1:-1], score)

"""Patients and images read as a whole: has this one a finding, yes or no.

One is positive if a box of a finding's class is annotated, and its score is the highest of its detected findings,
wherever they lie: 0 without any.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sklearn
from sklearn.metrics import roc_auc_score, roc_curve

from .cases import Case


@dataclass(frozen=True, eq=False)
class Readings:
    """N patients, or N images.

    Attributes:
        positive: (N,) bool, annotated.
        score: (N,) in [0, 1].
    """

    positive: np.ndarray
    score: np.ndarray

    def right(self, threshold: float) -> np.ndarray:
        """(N,) bool: called what it is at this operating point."""
        return (self.score >= threshold) == self.positive

    def share(self, positive: bool, threshold: float, weights: np.ndarray) -> float:
        """Sensitivity (of the positive) or specificity (of the others); NaN where there is none of them.

        Args:
            positive: which of the two.
            threshold: the operating point.
            weights: (N,) how often each is counted.
        """
        among = weights * (self.positive == positive)
        return float((among * self.right(threshold)).sum() / among.sum()) if among.sum() else math.nan

    def auc(self, weights: np.ndarray) -> float:
        """Area under the ROC curve, each counted ``weights`` (N,) times; NaN where all are positive or none is."""
        if not weights[self.positive].sum() or not weights[~self.positive].sum():
            return math.nan
        # Called for each resample: the checks would take longer than the work.
        with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):
            return float(roc_auc_score(self.positive, self.score, sample_weight=weights))

    def roc(self) -> list[dict[str, float]]:
        """The curve's points from the highest threshold down; none where all are positive or none is."""
        if self.positive.all() or not self.positive.any():
            return []
        columns = (column.tolist() for column in roc_curve(self.positive, self.score, drop_intermediate=False))
        keys = ("false_positive_rate", "sensitivity", "threshold")
        return [dict(zip(keys, point, strict=True)) for point in zip(*columns, strict=True)]


def limit_where_all_alike(right: int, of: int) -> float | None:
    """The exact one-sided 95 % limit of a share of which resampling shows no spread; None for any other share.

    Of independent ones: the least true share that ``of`` right ones of ``of`` leave possible, or the greatest that no
    right one does. It is about 3 / of from the end, the "rule of three".
    """
    if of == 0 or right not in (0, of):
        return None
    least = 0.05 ** (1 / of)
    return least if right else 1 - least


def readings_of(cases: Sequence[Case], labels: Sequence[int], owner: np.ndarray) -> Readings:
    """One for each patient, from all of the patient's images, or one for each image.

    Args:
        cases: the images.
        labels: the classes that make one positive.
        owner: (I,) index of each image's patient, or of the image.
    """
    positive, score = np.zeros(owner.max() + 1, dtype=bool), np.zeros(owner.max() + 1)
    for index, case in zip(owner, cases, strict=True):
        positive[index] |= (np.isin(case.labels, labels) & ~case.crowd).any()
        score[index] = case.found_scores[np.isin(case.found_labels, labels)].max(initial=score[index])
    return Readings(positive, score)

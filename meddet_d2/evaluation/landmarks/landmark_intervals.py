"""95 % intervals of landmark figures, and of the difference between two runs, by resampling patients."""

import math
from collections.abc import Callable

import numpy as np

from ..clinical.bootstrap import with_intervals
from .landmark_metrics import RADII, within
from .landmark_truth import LandmarkTruth
from .radial_errors import at_wrong_level, radial_errors

# The figures that have an interval.
FIGURES = ("MRE", "SDR2", "SDR4", "wrong_level")
Figures = Callable[[np.ndarray], dict[str, float]]


def patient_figures(errors: np.ndarray, wrong: np.ndarray, patient: np.ndarray) -> Figures:
    """FIGURES of a test set in which each patient counts so many times.

    Args:
        errors, wrong: (I, K), see :mod:`radial_errors`.
        patient: (I,) index 0..P-1 of each image's patient.

    Returns:
        A function of (P,) weights. With weights of 1 its figures are :func:`landmark_metrics.pool_metrics`'s.
    """
    found = np.isfinite(errors)
    columns = [~np.isnan(errors), found, np.where(found, errors, 0.0), within(errors, RADII["SDR2"])]
    columns += [within(errors, RADII["SDR4"]), wrong & found]
    sums = np.zeros((len(columns), patient.max(initial=-1) + 1))
    for row, values in zip(sums, columns, strict=True):
        np.add.at(row, patient, values.sum(axis=1))

    def figures(weights: np.ndarray) -> dict[str, float]:
        labelled, predicted, total, two, four, other = (sums @ weights).tolist()
        return {
            "MRE": total / labelled if labelled and predicted == labelled else math.nan,
            "SDR2": 100 * two / labelled if labelled else math.nan,
            "SDR4": 100 * four / labelled if labelled else math.nan,
            "wrong_level": 100 * other / predicted if predicted else math.nan,
        }

    return figures


def landmark_intervals(
    truth: LandmarkTruth, found: np.ndarray, *, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """FIGURES with their intervals.

    Args:
        truth: the test set.
        found: (I, K, 2), see :func:`landmark_predictions.predicted_points`.
        resamples: of the patients; 0 for no intervals.
        seed: of the draws.

    Returns:
        As :func:`bootstrap.with_intervals`: errors in the set's unit, rates in percent.
    """
    return with_intervals(_figures_of(truth, found), int(truth.patient.max(initial=-1)) + 1, resamples, seed)


def paired_difference(
    truth: LandmarkTruth, first: np.ndarray, second: np.ndarray, *, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """The second run's FIGURES minus the first's, with intervals: each resample is of the same patients for both.

    Args:
        truth: the test set of both.
        first, second: (I, K, 2), predictions on the same images.
        resamples, seed: as in :func:`landmark_intervals`.
    """
    of_first, of_second = _figures_of(truth, first), _figures_of(truth, second)

    def figures(weights: np.ndarray) -> dict[str, float]:
        before, after = of_first(weights), of_second(weights)
        return {name: after[name] - before[name] for name in FIGURES}

    return with_intervals(figures, int(truth.patient.max(initial=-1)) + 1, resamples, seed)


def _figures_of(truth: LandmarkTruth, found: np.ndarray) -> Figures:
    points = truth.points, found, truth.spacing
    return patient_figures(radial_errors(*points), at_wrong_level(*points), truth.patient)

"""The field's figures of radial errors: over all landmarks of all images, and of each landmark by itself.

A landmark that is labelled and has no finite prediction has an infinite error. So it is no success at any radius, and
an outlier above each. The mean is then not defined (NaN): ``MRE_found`` is that of the others.
"""

import math
from collections.abc import Sequence

import numpy as np

# Success detection rates and outliers by their radius, in mm, or in pixels where a set has no spacing.
RADII = {"SDR2": 2.0, "SDR2.5": 2.5, "SDR3": 3.0, "SDR4": 4.0}
OUTLIERS = {"above4": 4.0, "above10": 10.0}
# Rounding may not decide about an error of exactly a radius.
TOLERANCE = 1e-9
# Of these the better is smaller; of the others, the SDRs, it is larger.
SMALLER_IS_BETTER = ("MRE", "MRE_found", "SD", "median", *OUTLIERS, "wrong_level", "IPE", "IPE_SD", "missing_rate")


def pool_metrics(errors: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """The figures of one pool of landmarks.

    Args:
        errors: any shape, as :func:`radial_errors` gives them.
        wrong: of the same shape, as :func:`at_wrong_level` gives it.

    Returns:
        "MRE", "SD" (of the same pool, divided by its size), "median" and "MRE_found" in the errors' unit. Others are
        percentages in [0, 100]: each of RADII, errors up to and with the radius; each of OUTLIERS, errors above it;
        "wrong_level", of the predicted; "missing_rate", of the labelled. NaN where a figure is not defined.
    """
    labelled = ~np.isnan(errors)
    pool, wrong = errors[labelled], wrong[labelled]
    found = pool[np.isfinite(pool)]
    whole = len(found) == len(pool)
    return {
        "MRE": _mean(pool) if whole else math.nan,
        "SD": float(np.std(pool)) if whole and len(pool) else math.nan,
        "median": _finite_median(pool),
        **{name: 100 * _mean(within(pool, radius)) for name, radius in RADII.items()},
        **{name: 100 * _mean(~within(pool, radius)) for name, radius in OUTLIERS.items()},
        "wrong_level": 100 * _mean(wrong[np.isfinite(pool)]),
        "missing_rate": 100 * _mean(~np.isfinite(pool)),
        "MRE_found": _mean(found),
    }


def overall_metrics(errors: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """:func:`pool_metrics` of everything, and "IPE" with "IPE_SD": mean and deviation of the images' mean errors.

    An image without a labelled landmark has no mean, and does not count there.

    Args:
        errors: (I, K).
        wrong: (I, K).
    """
    means = image_means(errors)
    means = means[~np.isnan(means)]
    defined = len(means) > 0 and bool(np.isfinite(means).all())
    figures = pool_metrics(errors, wrong)
    figures["IPE"], figures["IPE_SD"] = (float(means.mean()), float(means.std())) if defined else (math.nan, math.nan)
    return figures


def landmark_metrics(errors: np.ndarray, wrong: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """:func:`pool_metrics` of each landmark by its name; ``errors`` and ``wrong`` are (I, K)."""
    return {name: pool_metrics(errors[:, index], wrong[:, index]) for index, name in enumerate(names)}


def image_means(errors: np.ndarray) -> np.ndarray:
    """(I, K) to (I,): the mean error of each image; infinite with a missing prediction, NaN with nothing labelled."""
    labelled = ~np.isnan(errors)
    count = labelled.sum(axis=1)
    return np.where(count > 0, np.where(labelled, errors, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def within(errors: np.ndarray, radius: float) -> np.ndarray:
    """Whether errors are successes at a radius: it is inclusive (<=)."""
    return errors <= radius + TOLERANCE


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else math.nan


def _finite_median(pool: np.ndarray) -> float:
    """NaN where half of the pool or more is missing."""
    ordered = np.sort(pool)
    middle = ordered[(len(pool) - 1) // 2 : len(pool) // 2 + 1]
    return float(middle.mean()) if len(middle) and np.isfinite(middle).all() else math.nan

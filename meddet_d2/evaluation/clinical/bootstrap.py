"""Intervals by resampling patients: with all their images, since those of one patient resemble each other.

Nothing is matched again: a resample is how often each patient is drawn, and every figure takes such weights. So
scipy.stats.bootstrap, which resamples the values of one statistic, does not serve.
"""

from collections.abc import Callable, Mapping

import numpy as np
from tqdm import tqdm

# The percentiles of a 95 % interval.
PERCENTILES = (2.5, 97.5)


def draws(patients: int, resamples: int, seed: int) -> np.ndarray:
    """(R, P) int64: how often each patient is drawn, P draws with replacement for each resample."""
    return np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=resamples)


def with_intervals(
    figures: Callable[[np.ndarray], Mapping[str, float]], patients: int, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Figures with their percentile intervals.

    Args:
        figures: from (P,) weights to numbers, NaN where one is not defined (a resample without any healthy patient
            has no specificity).
        patients: P. Fewer than two cannot be resampled: every resample is undefined.
        resamples: R, 0 for none.
        seed: of the draws.

    Returns:
        For each figure {"value", "low", "high", "undefined_resamples"}: its value on all patients, the percentiles of
        the resamples that define it, or NaN, and how many do not define it.
    """
    whole = figures(np.ones(patients))
    weights = draws(patients, resamples if patients > 1 else 0, seed)
    rows = [list(figures(row).values()) for row in tqdm(weights, "resampling patients", leave=False, unit="resample")]
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(whole)).T
    found = {}
    for (name, value), column in zip(whole.items(), columns, strict=True):
        defined = column[np.isfinite(column)]
        low, high = np.percentile(defined, PERCENTILES).tolist() if len(defined) else (np.nan, np.nan)
        found[name] = {"value": value, "low": low, "high": high, "undefined_resamples": resamples - len(defined)}
    return found

"""Intervals by resampling patients: with all their images, since those of one patient resemble each other.

Nothing is matched again: a resample is how often each patient is drawn, and every figure takes such weights.
"""

from collections.abc import Callable, Mapping

import numpy as np
from tqdm import tqdm

# The percentiles of a 95 % interval.
PERCENTILES = (2.5, 97.5)


def draws(patients: int, resamples: int, seed: int) -> np.ndarray:
    """(R, P) int64: how often each patient is drawn, P draws with replacement for each resample."""
    return np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=resamples)


def intervals(
    figures: Callable[[np.ndarray], Mapping[str, float | np.ndarray]], patients: int, resamples: int, seed: int
) -> dict[str, dict]:
    """Percentile intervals of figures.

    Args:
        figures: from (P,) weights to numbers or arrays, NaN where one is not defined (a resample without any healthy
            patient has no specificity).
        patients: P. Fewer than two cannot be resampled.
        resamples: R, 0 for none.
        seed: of the draws.

    Returns:
        For each figure {"low", "high", "undefined"}: NaN or the percentiles of the resamples that define it, and how
        many do not. With fewer than two patients every resample is undefined.
    """
    whole = figures(np.ones(patients))
    if patients < 2 or resamples == 0:
        return {name: _nothing(value, resamples) for name, value in whole.items()}
    weights = draws(patients, resamples, seed)
    rows = [figures(row) for row in tqdm(weights, desc="resampling patients", unit="resample", leave=False)]
    return {name: _interval(np.array([row[name] for row in rows], dtype=np.float64)) for name in whole}


def _interval(values: np.ndarray) -> dict:
    """Of (R,) or (R, ...) values; an array's resample is defined if all of it is."""
    defined = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if not defined.any():
        return _nothing(values[0], len(values))
    low, high = np.percentile(values[defined], PERCENTILES, axis=0)
    return {"low": low, "high": high, "undefined": int((~defined).sum())}


def _nothing(value: float | np.ndarray, undefined: int) -> dict:
    nothing = np.full(np.shape(value), np.nan)[()]
    return {"low": nothing, "high": nothing, "undefined": undefined}

"""How far predicted landmarks lie from the true ones, in the original image, and nearer to which of them.

Shape legend of this folder
    I images, K landmarks, P patients
Points are (x, y) in continuous pixels of the stored image: the middle of the first pixel is (0.5, 0.5). Spacing is
[row, column] in mm, so y is scaled by the first and x by the second.
"""

import numpy as np


def radial_errors(truth: np.ndarray, found: np.ndarray, spacing: np.ndarray | None = None) -> np.ndarray:
    """Euclidean distances between true and predicted points: the radial error of Payer et al. (2019), section 4.2.

    Args:
        truth: (I, K, 2), NaN where a landmark is not labelled.
        found: (I, K, 2), NaN or infinite where there is no prediction.
        spacing: (I, 2) in mm; None: the errors are in pixels.

    Returns:
        (I, K) float64 in mm or pixels: NaN where nothing is labelled, infinite where a labelled one has no prediction.
    """
    labelled, predicted = is_point(truth), is_point(found)
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.linalg.norm(_scaled(found, spacing) - _scaled(truth, spacing), axis=-1)
    return np.where(labelled, np.where(predicted, errors, np.inf), np.nan)


def at_wrong_level(truth: np.ndarray, found: np.ndarray, spacing: np.ndarray | None = None) -> np.ndarray:
    """Whether the true landmark nearest to a prediction is another one of its image; a tie counts for its own.

    Args:
        truth, found, spacing: as in :func:`radial_errors`.

    Returns:
        (I, K) bool, False where a landmark is not labelled or not predicted.
    """
    ours, theirs = _scaled(found, spacing)[:, :, None], _scaled(truth, spacing)[:, None]
    with np.errstate(invalid="ignore", over="ignore"):
        distances = np.linalg.norm(ours - theirs, axis=-1)
    distances = np.where(is_point(truth)[:, None], distances, np.inf)
    own = np.diagonal(distances, axis1=1, axis2=2)
    return is_point(truth) & is_point(found) & (distances.min(axis=2, initial=np.inf) < own)


def is_point(points: np.ndarray) -> np.ndarray:
    """(..., 2) to (...): whether both coordinates are finite."""
    return np.isfinite(points).all(axis=-1)


def _scaled(points: np.ndarray, spacing: np.ndarray | None) -> np.ndarray:
    """In mm, or unchanged without spacing."""
    return points if spacing is None else points * spacing[:, None, ::-1]

"""What was taken for what: the classes, missed discs and false boxes in one table."""

import numpy as np
from sklearn.metrics import confusion_matrix

from .matching import Matches


def confusion(matches: Matches, threshold: float, classes: int) -> np.ndarray:
    """(K + 1, K + 1) int64: rows are annotated classes and "nothing there", columns detected ones and "missed".

    The last cell would be the discs that are neither there nor detected; it is always 0.

    Args:
        matches: of all classes at once, so that a disc is found even if its class is wrong. A second box on a disc
            that is found already counts as "nothing there".
        threshold: detections with at least this score.
        classes: K.
    """
    kept = matches.score >= threshold
    truth = matches.truth[kept]
    annotated = np.append(matches.truth_label, classes)[truth]
    missed = matches.truth_label[~matches.found(threshold)]
    taken = np.concatenate([matches.label[kept], np.full(len(missed), classes)])
    if not len(taken):
        return np.zeros((classes + 1, classes + 1), dtype=np.int64)
    return confusion_matrix(np.concatenate([annotated, missed]), taken, labels=range(classes + 1))

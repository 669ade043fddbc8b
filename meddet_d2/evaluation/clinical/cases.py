"""What the clinical figures are made from: images with annotated and detected boxes, as plain arrays.

Shape legend of this folder
    I images, P patients, G annotated boxes, D detections, R resamples

Boxes are COCO's (x, y, width, height) in pixels. Images and patients have running numbers and nothing else: neither a
file's name nor a patient's id gets as far as a figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """One image.

    Attributes:
        number: 1..I, in the order of the images' ids.
        patient: 1..P, in the order of their first images.
        boxes: (G, 4) float64, annotated.
        labels: (G,) int64, numbers of the classes.
        crowd: (G,) bool, COCO's iscrowd: what is detected there counts neither for nor against.
        levels: of the discs, as annotated; None where it is not named.
        found_boxes: (D, 4) float64, detected.
        found_labels: (D,) int64.
        found_scores: (D,) float64, in [0, 1].
    """

    number: int
    patient: int
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    levels: tuple[str | None, ...]
    found_boxes: np.ndarray
    found_labels: np.ndarray
    found_scores: np.ndarray

    def has(self, label: int) -> bool:
        """Whether a box of a class is annotated."""
        return bool(((self.labels == label) & ~self.crowd).any())

    def best_score(self, label: int) -> float:
        """The highest score of a class's detections, 0 without any."""
        return float(self.found_scores[self.found_labels == label].max(initial=0.0))


def patients_of(cases: Sequence[Case]) -> np.ndarray:
    """(I,) index 0..P-1 of each image's patient."""
    return np.array([case.patient - 1 for case in cases], dtype=np.int64)

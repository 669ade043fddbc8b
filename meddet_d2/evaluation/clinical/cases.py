"""What the clinical figures are made from: images with annotated and detected boxes, as plain arrays.

Shape legend of this folder
    I images, P patients, G annotated boxes, D detections, R resamples

Boxes are COCO's (x, y, width, height) in pixels. Images and patients have running numbers and nothing else: neither a
file's name nor a patient's id gets as far as a figure.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a test set is about.

    Attributes:
        classes: names, in the order of their numbers.
        findings: those that make an image or a patient positive; at least one.
        declared: whether the findings were chosen or are the data set's own; otherwise every class is one.
        thing: what a box is around, in one word.
        unit: "patient", or "image" where patients are not known: then each image counts as one.
    """

    classes: tuple[str, ...]
    findings: tuple[str, ...]
    declared: bool = True
    thing: str = "object"
    unit: str = "patient"

    @property
    def finding(self) -> str:
        """The findings as the subject of a sentence."""
        return " or ".join(self.findings) if len(self.findings) <= 3 else "a finding"

    @property
    def any_thing(self) -> str:
        """What stands for all classes at once."""
        return f"any {self.thing}"

    @property
    def labels(self) -> tuple[int, ...]:
        """The numbers of the findings' classes."""
        return tuple(self.classes.index(name) for name in self.findings)


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

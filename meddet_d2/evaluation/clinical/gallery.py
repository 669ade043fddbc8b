"""The worst and the best cases, chosen by a rule and drawn: what is annotated beside what is detected."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from meddet_d2.drawing import Box, draw_panel
from meddet_d2.formats import read_image

from .measure import Measurement
from .study import Picture

SHOWN = 4
# Pixels of a panel's longer side: about as large as the page shows it, so that scores can be read.
PANEL = 352
RULE = (
    "An image's mistakes at the operating point are its missed boxes and its false boxes, each class by itself. Worst"
    " are those with the most mistakes about findings, then with the most mistakes at all; best are those without a"
    " mistake and with the most annotated findings. Ties go to the lower case number, each patient appears once,"
    f" and at most {SHOWN} of each are shown. Nobody has picked them by hand."
)


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """What went wrong on one image at the operating point.

    Attributes:
        case: index of the image.
        lesions: annotated.
        missed_lesions, false_lesions: of the findings' classes.
        missed_others, false_others: of the other classes.
    """

    case: int
    lesions: int
    missed_lesions: int
    false_lesions: int
    missed_others: int
    false_others: int

    @property
    def of_lesions(self) -> int:
        """Mistakes about findings."""
        return self.missed_lesions + self.false_lesions

    @property
    def all(self) -> int:
        """Mistakes."""
        return self.of_lesions + self.missed_others + self.false_others


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A case for the page; ``truth`` and ``found`` are None where its image cannot be shown, ``problem`` says why."""

    number: int
    mistakes: Mistakes
    annotated: int
    detected: int
    truth: Image.Image | None
    found: Image.Image | None
    problem: str = ""


def mistakes(measurement: Measurement) -> list[Mistakes]:
    """Of every image, in the order of the cases."""
    threshold = measurement.settings.threshold
    labels, images = measurement.subject.labels, len(measurement.cases)
    missed, false = np.zeros((2, images), int), np.zeros((2, images), int)
    for label, matches in enumerate(measurement.of_class):
        other = int(label not in labels)
        missed[other] += np.bincount(matches.truth_image[~matches.found(threshold)], minlength=images)
        false[other] += np.bincount(matches.image[~matches.hit & (matches.score >= threshold)], minlength=images)
    return [
        Mistakes(
            case=index,
            lesions=int((np.isin(case.labels, labels) & ~case.crowd).sum()),
            missed_lesions=int(missed[0, index]),
            false_lesions=int(false[0, index]),
            missed_others=int(missed[1, index]),
            false_others=int(false[1, index]),
        )
        for index, case in enumerate(measurement.cases)
    ]


def choose(measurement: Measurement) -> tuple[list[Mistakes], list[Mistakes]]:
    """The worst and the best cases by RULE; fewer than SHOWN, or none, where there are no more."""
    every = mistakes(measurement)
    worst = sorted((one for one in every if one.all), key=lambda one: (-one.of_lesions, -one.all, one.case))
    best = sorted((one for one in every if not one.all), key=lambda one: (-one.lesions, one.case))
    return _one_a_patient(worst, measurement), _one_a_patient(best, measurement)


def draw(one: Mistakes, measurement: Measurement, pictures: Sequence[Picture]) -> Shown:
    """A case with its two panels. An image that cannot be read, or is of another size, costs its panels only."""
    case, picture = measurement.cases[one.case], pictures[one.case]
    kept = case.found_scores >= measurement.settings.threshold
    shown: dict[str, Any] = {"number": case.number, "mistakes": one}
    shown |= {"annotated": int((~case.crowd).sum()), "detected": int(kept.sum())}
    try:
        pixels = read_image(picture.path)
    except (ValueError, OSError):
        return Shown(**shown, truth=None, found=None, problem="its image cannot be read")
    if pixels.shape[:2] != (picture.height, picture.width):
        problem = f"its image is {pixels.shape[1]} x {pixels.shape[0]}, not {picture.width} x {picture.height}"
        return Shown(**shown, truth=None, found=None, problem=problem)
    truth = [
        Box(_corners(box), int(label))
        for box, label, crowd in zip(case.boxes, case.labels, case.crowd, strict=True)
        if not crowd
    ]
    found = [
        Box(_corners(box), int(label), float(score))
        for box, label, score in zip(
            case.found_boxes[kept], case.found_labels[kept], case.found_scores[kept], strict=True
        )
    ]
    return Shown(**shown, truth=draw_panel(pixels, truth, PANEL), found=draw_panel(pixels, found, PANEL))


def _one_a_patient(chosen: Sequence[Mistakes], measurement: Measurement) -> list[Mistakes]:
    seen: set[int] = set()
    kept: list[Mistakes] = []
    for one in chosen:
        patient = measurement.cases[one.case].patient
        if patient not in seen and len(kept) < SHOWN:
            seen.add(patient)
            kept.append(one)
    return kept


def _corners(box) -> tuple[float, float, float, float]:
    x, y, width, height = (float(value) for value in box)
    return x, y, x + width, y + height

"""The worst and the best cases, chosen by a rule and drawn: what is annotated beside what is detected."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from meddet_d2.drawing import Box, draw_panel
from meddet_d2.formats import read_image
from meddet_d2.pages import picture

from .measure import Measurement
from .study import Picture

SHOWN = 4
# Pixels of a panel's longer side: about as large as the page shows it, so that scores can be read.
PANEL = 352
JPEG_QUALITY = 85
RULE = (
    "An image's mistakes at the operating point are its missed boxes and its false boxes, each class by itself. Worst"
    " are those with the most mistakes about findings, then with the most mistakes at all; best are those without a"
    " mistake and with the most annotated findings. Ties go to the lower case number, each patient appears once,"
    f" and at most {SHOWN} of each are shown. Nobody has picked them by hand."
)


class Mistakes(NamedTuple):
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


def mistakes(measurement: Measurement) -> list[Mistakes]:
    """Of every image, in the order of the cases."""
    threshold = measurement.settings.threshold
    labels, images = measurement.subject.labels, len(measurement.cases)
    # Of the findings' classes and of the others; in each missed and false.
    wrong = np.zeros((2, 2, images), dtype=int)
    for label, matches in enumerate(measurement.of_class):
        missed = matches.truth_image[~matches.found(threshold)]
        false = matches.image[~matches.hit & (matches.score >= threshold)]
        wrong[int(label not in labels)] += [np.bincount(of, minlength=images) for of in (missed, false)]
    lesions = np.bincount(measurement.findings.truth_image, minlength=images)
    columns = np.stack([np.arange(images), lesions, *wrong.reshape(4, images)], axis=1)
    return [Mistakes(*row) for row in columns.tolist()]


def choose(measurement: Measurement) -> tuple[list[Mistakes], list[Mistakes]]:
    """The worst and the best cases by RULE; fewer than SHOWN, or none, where there are no more."""

    def one_a_patient(chosen: Iterable[Mistakes]) -> list[Mistakes]:
        first: dict[int, Mistakes] = {}
        for one in chosen:
            first.setdefault(measurement.cases[one.case].patient, one)
        return list(first.values())[:SHOWN]

    every = mistakes(measurement)
    worst = sorted((one for one in every if one.all), key=lambda one: (-one.of_lesions, -one.all, one.case))
    best = sorted((one for one in every if not one.all), key=lambda one: (-one.lesions, one.case))
    return one_a_patient(worst), one_a_patient(best)


def shown(one: Mistakes, measurement: Measurement, pictures: Sequence[Picture]) -> dict[str, Any]:
    """A case for the page: its two panels, or why there are none, where its image cannot be read or is of another size.

    Returns:
        {"number", "text", "annotated", "detected", "panels", "problem"}.
    """
    case, source = measurement.cases[one.case], pictures[one.case]
    kept = case.found_scores >= measurement.settings.threshold
    truth = _boxes(case.boxes[~case.crowd], case.labels[~case.crowd])
    found = _boxes(case.found_boxes[kept], case.found_labels[kept], case.found_scores[kept])
    panels, problem = None, ""
    try:
        pixels = read_image(source.path)
    except (ValueError, OSError):
        problem = "its image cannot be read"
    else:
        if pixels.shape[:2] == (source.height, source.width):
            panels = [picture(draw_panel(pixels, boxes, PANEL), quality=JPEG_QUALITY) for boxes in (truth, found)]
        else:
            problem = f"its image is {pixels.shape[1]} x {pixels.shape[0]}, not {source.width} x {source.height}"
    counts = {
        "missed finding": one.missed_lesions,
        "false finding": one.false_lesions,
        "other missed box": one.missed_others,
        "other false box": one.false_others,
    }
    wrong = ", ".join(many(count, what) for what, count in counts.items() if count)
    return {
        "number": case.number,
        "text": wrong or f"{many(one.lesions, 'finding')}, no mistake",
        "annotated": many(len(truth), "box"),
        "detected": many(len(found), "box"),
        "panels": panels,
        "problem": problem,
    }


def many(count: int, what: str) -> str:
    """A number of things, in the singular or the plural."""
    ending = "es" if what.endswith("x") else "s"
    return f"{count} {what}" if count == 1 else f"{count} {what}{ending}"


def _boxes(boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray | None = None) -> list[Box]:
    """(N, 4) x, y, width, height as what is drawn."""
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).tolist()
    values = [None] * len(corners) if scores is None else scores.tolist()
    return [Box(tuple(one), label, score) for one, label, score in zip(corners, labels.tolist(), values, strict=True)]

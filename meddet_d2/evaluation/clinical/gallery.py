"""The worst and the best cases, chosen by a rule and drawn: what is annotated beside what is detected."""

from collections.abc import Sequence
from typing import Any

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
# Of the findings' classes, then of the others.
MISTAKES = ("missed finding", "false finding", "other missed box", "other false box")
RULE = (
    "An image's mistakes at the operating point are its missed boxes and its false boxes, each class by itself. Worst"
    " are those with the most mistakes about findings, then with the most mistakes at all; best are those without a"
    " mistake and with the most annotated findings. Ties go to the lower case number, each patient appears once,"
    f" and at most {SHOWN} of each are shown. Nobody has picked them by hand."
)


def mistakes(measurement: Measurement) -> np.ndarray:
    """(I, 4) int64: how often each of MISTAKES was made on each image at the operating point."""
    threshold = measurement.settings.threshold
    labels, images = measurement.subject.labels, len(measurement.cases)
    wrong = np.zeros((4, images), dtype=np.int64)
    for label, matches in enumerate(measurement.of_class):
        missed = matches.truth_image[~matches.found(threshold)]
        false = matches.image[~matches.hit & (matches.score >= threshold)]
        first = 0 if label in labels else 2
        wrong[first : first + 2] += [np.bincount(of, minlength=images) for of in (missed, false)]
    return wrong.T


def choose(measurement: Measurement) -> tuple[list[int], list[int]]:
    """The indices of the worst and the best cases by RULE; fewer than SHOWN, or none, where there are no more."""
    wrong = mistakes(measurement)
    about_findings, all_ = wrong[:, :2].sum(axis=1), wrong.sum(axis=1)
    findings = np.bincount(measurement.findings.truth_image, minlength=len(wrong))

    def one_a_patient(chosen: np.ndarray) -> list[int]:
        first: dict[int, int] = {}
        for index in chosen.tolist():
            first.setdefault(measurement.cases[index].patient, index)
        return list(first.values())[:SHOWN]

    worst, best = np.lexsort((-all_, -about_findings)), np.argsort(-findings, kind="stable")
    return one_a_patient(worst[all_[worst] > 0]), one_a_patient(best[all_[best] == 0])


def shown(index: int, measurement: Measurement, pictures: Sequence[Picture]) -> dict[str, Any]:
    """A case for the page: its two panels, or why there are none, where its image cannot be read or is of another size.

    Args:
        index: of the case.
        measurement: its test set.
        pictures: the images of all cases.

    Returns:
        {"number", "text", "annotated", "detected", "panels", "problem"}.
    """
    case, source = measurement.cases[index], pictures[index]
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
    counts = zip(MISTAKES, mistakes(measurement)[index], strict=True)
    wrong = ", ".join(many(count, what) for what, count in counts if count)
    findings = int(np.isin(case.labels[~case.crowd], measurement.subject.labels).sum())
    return {
        "number": case.number,
        "text": wrong or f"{many(findings, 'finding')}, no mistake",
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

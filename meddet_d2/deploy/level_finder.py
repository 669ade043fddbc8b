"""Levels of a reading's discs, and measures of its spine, by a landmark network beside the detector. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..formats import MRSlice
from ..layout.disc_levels import levels_of
from ..layout.spine_measures import measure
from ..layout.spine_points import SpinePoints, levels_in, without_weak
from .found import Landmarks
from .opened_detector import OpenedDetector
from .reading import Reading, disc_numbers

# A heat map's peak is near 1 where the network is sure, and near 0 where it sees no such landmark.
LEAST_SCORE = 0.2


@dataclass(frozen=True)
class LevelFinder:
    """A landmark network that names discs.

    Attributes:
        opened: the network; its classes are the landmarks' names.
        least_score: landmarks below it count as not found; in [0, 1].

    Raises:
        ValueError: the network gives no landmarks, or none of a disc; or the score is out of its range. One line.
    """

    opened: OpenedDetector
    least_score: float = LEAST_SCORE

    def __post_init__(self) -> None:
        names, result = self.opened.detector.classes, getattr(self.opened.detector, "result", None)
        if result != Landmarks.RESULT:
            raise ValueError(f"--levels: {self.opened.file} finds {result}; give a network of landmarks.")
        if not levels_in(names):
            raise ValueError(
                f"--levels: {self.opened.file} knows no disc's centre (its names are {', '.join(names[:3])} and so on);"
                ' give a landmark network with names such as "C5/6 disc", or with the corners of vertebrae.'
            )
        if not 0.0 <= self.least_score <= 1.0:
            raise ValueError(f"--levels-threshold {self.least_score}: it must be in 0..1, as scores are.")

    def info(self) -> dict[str, Any]:
        """What the json says of it."""
        opened = self.opened
        return {
            "model": {"name": opened.card.name, "file": opened.file, "sha256": opened.sha256},
            "threshold": self.least_score,
            "levels": list(levels_in(opened.detector.classes)),
        }

    def read(self, reading: Reading) -> tuple[Reading, list[dict[str, Any]]]:
        """The reading with the levels of its discs, and a row of MEASURE_COLUMNS for each thing that was measured.

        Boxes on one disc have one level. Where the network refuses the image, no disc has a level; a remark says so.
        """
        mr_slice = reading.slice
        try:
            found: Any = self.opened.detector(mr_slice.pixels)
        except (ValueError, FloatingPointError) as error:
            text = " ".join(str(error).split())
            return replace(reading, remarks=(*reading.remarks, f"no disc has a level: {text}")), []
        points = without_weak(found.points, self.least_score)
        names = self.opened.detector.classes
        return with_levels(reading, names, points), measure_rows(mr_slice, names, points)


def with_levels(reading: Reading, names: Sequence[str], points: np.ndarray) -> Reading:
    """The reading with the levels that landmarks (K, 2) give it, in pixels of its slice; NaN for one not found."""
    numbers = np.array(disc_numbers(reading.findings), np.int64)
    boxes = np.array([finding.box for finding in reading.findings], np.float64).reshape(-1, 4)
    middles = 0.5 * (boxes[:, :2] + boxes[:, 2:])
    discs = [middles[numbers == number].mean(axis=0) for number in range(1, numbers.max(initial=0) + 1)]
    spine = SpinePoints(names, points)
    found = levels_of(np.array(discs), spine.disc_centres(), reading.slice.spacing)
    findings = tuple(
        replace(finding, level=found.names[number - 1])
        for finding, number in zip(reading.findings, numbers.tolist(), strict=True)
    )
    return replace(reading, findings=findings, remarks=(*reading.remarks, *found.remarks))


def measure_rows(mr_slice: MRSlice, names: Sequence[str], points: np.ndarray) -> list[dict[str, Any]]:
    """A row of MEASURE_COLUMNS for each disc and curve that landmarks (K, 2) of a slice give; NaN for one not found."""
    owner = {"image_id": mr_slice.image_id, "patient_id": mr_slice.patient_id}
    return [owner | one.row() for one in measure(SpinePoints(names, points), mr_slice.spacing)]

"""What a landmark network says of one MR slice: points in pixels, millimetres and the patient, and a picture.

No torch and no Detectron2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image

from ..drawing import Landmark, draw_landmark_legend, draw_landmarks, short_names
from ..formats import MRSlice
from .found import Landmarks
from .reading import SMALLEST_PICTURE, framed


@dataclass(frozen=True)
class Point:
    """One landmark. A missing one, whose score is too low, has no place.

    Attributes:
        name: the landmark's.
        score: its heat map's value at the peak. Not a probability.
        place: x, y in pixels of the slice, in which the middle of the first is (0.5, 0.5); None: missing.
        place_mm: the same in millimetres from the slice's corner; None also where the pixels' size is not known.
        patient_mm: in the patient, to the left, the back and the head; None where the slice's place is not known.
    """

    name: str
    score: float
    place: tuple[float, float] | None = None
    place_mm: tuple[float, float] | None = None
    patient_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class PointReading:
    """A slice and its landmarks.

    Attributes:
        slice: as it was read.
        findings: every landmark, in the order of the network's.
        classes: their names.
        remarks: lines on this reading, as those in the slice's warnings.
    """

    slice: MRSlice
    findings: tuple[Point, ...]
    classes: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of those without a place."""
        return tuple(point.name for point in self.findings if point.place is None)


def point_reading_of(mr_slice: MRSlice, found: Landmarks, limits: Mapping[str, float]) -> PointReading:
    """What was found on a slice as a reading; ``limits`` are the least score of each landmark, by name."""
    points = []
    for name, (x, y, score) in zip(limits, found.points.tolist(), strict=True):
        if score < limits[name]:
            points.append(Point(name, score))
            continue
        in_mm = None
        if mr_slice.spacing is not None:
            between_rows, between_columns = mr_slice.spacing
            in_mm = x * between_columns, y * between_rows
        in_patient = None if mr_slice.place is None else mr_slice.place.of(x, y)
        points.append(Point(name, score, (x, y), in_mm, in_patient))
    return PointReading(mr_slice, tuple(points), tuple(limits))


def point_overlay(reading: PointReading, *, size: int | None = None) -> Image.Image:
    """The slice with its landmarks and their short names, a legend above, and a line below that it is for research.

    Args:
        reading: of a slice.
        size: pixels of the slice's longer side in the picture; its own, and at least SMALLEST_PICTURE, if None.
    """
    pixels = reading.slice.pixels
    if size is None:
        size = max(*pixels.shape[:2], SMALLEST_PICTURE)
    names = short_names(reading.classes)
    marks = [Landmark(name, found=point.place) for name, point in zip(names, reading.findings, strict=True)]
    missing, most = len(reading.missing), len(marks)
    told = f"{missing} of {most} landmarks are missing: their scores are too low" if missing else f"{most} landmarks"
    return framed(draw_landmarks(pixels, marks, size), draw_landmark_legend(told, kinds=("predicted",)))

"""Readings of landmarks as files: a table with a line for each landmark of each image, and COCO key points."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from ..layout.spine_points import SpinePoints
from .level_finder import measure_rows
from .point_reading import Point, PointReading
from .results import POINTS, Results, spacing_columns

POINT_COLUMNS = (
    *("image_id", "patient_id", "landmark", "found", "score", "x_px", "y_px", "x_mm", "y_mm"),
    *("left_mm", "back_mm", "head_mm", "row_spacing_mm", "column_spacing_mm"),
)
# COCO counts from the middle of the first pixel.
COCO_MIDDLE = 0.5


class PointResults(Results):
    """See `Results`. A missing landmark has a line, too, with its score and without coordinates."""

    TABLE, COLUMNS = POINTS, POINT_COLUMNS

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(classes)
        # Where there are corners of vertebrae, there is something to measure.
        if SpinePoints(self.classes, np.zeros((len(self.classes), 2))).vertebrae:
            self.measures = []

    def _take(self, reading: PointReading, number: int) -> dict[str, Any]:
        points, mr_slice = reading.findings, reading.slice
        about = {
            "image_id": mr_slice.image_id,
            "patient_id": mr_slice.patient_id,
            **spacing_columns(mr_slice.spacing),
        }
        self.findings += [{**about, **_columns(point)} for point in points]
        places = [point.place for point in points if point.place is not None]
        score = sum(point.score for point in points) / len(points)
        annotation: dict[str, Any] = {
            "id": len(self._annotations) + 1,
            "image_id": number,
            "category_id": 1,
            "score": score,
            # x, y (null: missing) and score, as `meddet evaluate-landmarks` reads them, in this project's pixels.
            "landmarks": [value for point in points for value in (*(point.place or (None, None)), point.score)],
            # COCO's own, in its pixels; v = 0 says that there is no point, and x and y are 0 then by its rule.
            "keypoints": [value for point in points for value in _coco(point)],
            "num_keypoints": len(places),
            "patient_mm": [point.patient_mm for point in points],
            "iscrowd": 0,
        }
        if places:
            xs, ys = zip(*places, strict=True)
            sides = max(xs) - min(xs), max(ys) - min(ys)
            annotation |= {"bbox": [min(xs), min(ys), *sides], "area": sides[0] * sides[1]}
        self._annotations.append(annotation)
        if self.measures is not None:
            found = np.array([point.place or (np.nan, np.nan) for point in points])
            self.measures += measure_rows(mr_slice, self.classes, found)
        missing = reading.missing
        return {"findings": len(places), "missing": len(missing), "missing_landmarks": "; ".join(missing)}

    def categories(self) -> list[dict[str, Any]]:
        return [{"id": 1, "name": "landmarks", "keypoints": list(self.classes)}]

    def account(self, thresholds: Mapping[str, float]) -> tuple[tuple[str, ...], list[tuple]]:
        lines = []
        for name in self.classes:
            of_name = [line for line in self.findings if line["landmark"] == name]
            found = sum(line["found"] for line in of_name)
            scores = [line["score"] for line in of_name]
            lines.append((name, f"{thresholds[name]:g}", found, len(scores) - found, f"{median(scores):.2f}"))
        return ("landmark", "threshold", "found", "missing", "median score"), lines


def _columns(point: Point) -> dict[str, Any]:
    line = {"landmark": point.name, "found": int(point.place is not None), "score": round(point.score, 4)}
    places = ((("x_px", "y_px"), point.place), (("x_mm", "y_mm"), point.place_mm))
    for names, place in (*places, (("left_mm", "back_mm", "head_mm"), point.patient_mm)):
        if place is not None:
            line |= {name: round(value, 2) for name, value in zip(names, place, strict=True)}
    return line


def _coco(point: Point) -> tuple[float, float, int]:
    if point.place is None:
        return 0, 0, 0
    x, y = point.place
    return x - COCO_MIDDLE, y - COCO_MIDDLE, 2

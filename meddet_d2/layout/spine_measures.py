"""Distances and angles of a spine from the corners of its vertebrae: a row for each disc, and one for a curve.

The canal's back border is no landmark of the 23 (layout/csxa_names.py), so the canal's width cannot be had from them.
What stands in for it is the step between the bodies' back corners.

Shapes and units in this module
    x, y: pixels of the stored image, continuous
    spacing: [row, column], millimetres of a pixel
    lengths: mm where the image has a spacing, otherwise pixels; angles: degrees, for square pixels without a spacing
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .spine_points import NEIGHBOURS, SpinePoints, in_millimetres

LENGTHS = ("height_front", "height_middle", "height_back", "width_above", "width_below", "step")
# From an endplate to another, as the literature measures lordosis (Cobb).
CURVES = {"C2-C7": (("C2", "bottom"), ("C7", "bottom")), "L1-S1": (("L1", "top"), ("S1", "top"))}
MEASURE_COLUMNS = (
    *("image_id", "patient_id", "level"),
    *(f"{name}_{unit}" for unit in ("mm", "px") for name in LENGTHS),
    "angle_deg",
)
DIGITS = 2


@dataclass(frozen=True)
class LevelMeasures:
    """What is measured at a disc, or of a curve.

    Attributes:
        level: one of DISCS, or one of CURVES.
        unit: of the lengths, "mm" or "px".
        lengths: by LENGTHS; NaN where a corner is missing, and for a curve.
            height_front, height_back: from the lower corner of the body above to the upper corner of the body below.
            height_middle: between the middles of the two endplates, each taken as the middle of its corners.
            width_above, width_below: from front to back corner, of the lower endplate of the body above and of the
            upper endplate of the body below.
            step: how far the back corner of the body above lies before that of the body below, along the endplate of
            the body below; negative where it lies behind (retrolisthesis).
        angle: between the two endplates, positive where they open to the front (lordosis); NaN where one is missing.
    """

    level: str
    unit: str
    lengths: dict[str, float]
    angle: float

    def row(self) -> dict[str, Any]:
        """The measures under MEASURE_COLUMNS, rounded; None where there is none. Never both of mm and px."""
        cells: dict[str, Any] = dict.fromkeys(MEASURE_COLUMNS[3:])
        cells |= {f"{name}_{self.unit}": _cell(value) for name, value in self.lengths.items()}
        return {"level": self.level, **cells, "angle_deg": _cell(self.angle)}


def measure(spine: SpinePoints, spacing: Sequence[float] | None = None) -> list[LevelMeasures]:
    """Measure every disc of which a corner is known, from the head down, and the curves that can be had.

    Args:
        spine: the points of an image.
        spacing: of the image; None where it is not known.
    """
    unit = "px" if spacing is None else "mm"
    found = []
    for level, (upper, lower) in NEIGHBOURS.items():
        ends = (in_millimetres(spine.endplate(*end), spacing) for end in ((upper, "bottom"), (lower, "top")))
        above, below = ends
        if not np.isfinite(np.concatenate([above, below])).any():
            continue
        lengths = {
            "height_front": _distance(above[0], below[0]),
            "height_middle": _distance(above.mean(axis=0), below.mean(axis=0)),
            "height_back": _distance(above[1], below[1]),
            "width_above": _distance(*above),
            "width_below": _distance(*below),
            "step": _step(above, below),
        }
        found.append(LevelMeasures(level, unit, lengths, _angle(above, below)))
    for curve, pair in CURVES.items():
        upper_end, lower_end = (in_millimetres(spine.endplate(*end), spacing) for end in pair)
        angle = _angle(upper_end, lower_end)
        if not math.isnan(angle):
            found.append(LevelMeasures(curve, unit, dict.fromkeys(LENGTHS, math.nan), angle))
    return found


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other))


def _step(above: np.ndarray, below: np.ndarray) -> float:
    forward = below[0] - below[1]
    length = float(np.linalg.norm(forward))
    return float((above[1] - below[1]) @ forward) / length if length > 0 else math.nan


def _angle(above: np.ndarray, below: np.ndarray) -> float:
    """Degrees from the upper to the lower endplate, each (front, back); positive where they open to the front."""
    one, other = above[0] - above[1], below[0] - below[1]
    down = below.mean(axis=0) - above.mean(axis=0)
    if not np.isfinite([*one, *other, *down]).all() or not one.any() or not other.any():
        return math.nan
    # The sign says to which side the patient faces.
    facing = math.copysign(1.0, _cross(one, down))
    return facing * math.degrees(math.atan2(_cross(one, other), float(one @ other)))


def _cross(one: np.ndarray, other: np.ndarray) -> float:
    return float(one[0] * other[1] - one[1] * other[0])


def _cell(value: float) -> float | None:
    return None if math.isnan(value) else round(value, DIGITS)

"""What every annotation format is read into: shapes of one image, as the labelling tool wrote them."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from ...layout.levels import find_level

# left, top, right, bottom; the first pixel covers [0, 1).
Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class LabelledPoint:
    """A landmark as the labelling tool has it: continuous pixels, the middle of the first being (0.5, 0.5).

    Attributes:
        label: the tool's text.
        x, y: finite.
        v: 2 visible, 1 labelled but hidden.
        z: None; or x, y and z are millimetres in the patient (LPS), see slicer.py.
    """

    label: str
    x: float
    y: float
    v: int = 2
    z: float | None = None


@dataclass(frozen=True)
class Shape:
    """One labelled disc, or what marks landmarks.

    Attributes:
        label: the text of the labelling tool, not yet a class; "" where it has none.
        box: it may leave the image; None where there is a problem.
        level: "C5/6" where the label or an attribute says it.
        problem: why there is no box, for example that it is rotated. It counts unless the label is one to ignore.
        points: the landmarks that it marks; a data set of boxes has no use for them.
        points_problem: why it marks no landmarks; for a landmark set as ``problem`` for one of boxes.
    """

    label: str
    box: Corners | None = None
    level: str | None = None
    problem: str | None = None
    points: tuple[LabelledPoint, ...] = ()
    points_problem: str | None = "a shape is no point; mark each landmark by one"


@dataclass(frozen=True)
class ImageAnnotation:
    """All shapes of one image.

    Attributes:
        image: the image's name or path as the annotation gives it; only matched, never opened.
        shapes: empty for a healthy patient.
        size: (width, height) of the image in the annotation, None where it says nothing.
        normalized: the boxes are fractions of width and height instead of pixels.
        problem: why the image cannot be used; None if it can.
        unreadable: the whole file could not be read, and ``image`` is a guess from its name.
        folder: where the annotation file lies below the folder of annotations; tells images of one name apart.
        where: the annotation file, and the image in it where it holds several; for the terminal.
    """

    image: str
    shapes: tuple[Shape, ...] = ()
    size: tuple[int, int] | None = None
    normalized: bool = False
    problem: str | None = None
    unreadable: bool = False
    folder: PurePosixPath = field(default_factory=PurePosixPath)
    where: str = ""


def make_shape(label: Any, corners: Callable[[], Corners], said: Iterable[Any] = (), *, rotation: Any = None) -> Shape:
    """A shape with its level, from the label or else from the whole of one of the values that are ``said`` of it.

    Args:
        label: as the file has it.
        corners: reads the box; its ValueError becomes the shape's problem.
        said: values that may name a level.
        rotation: of the box, in degrees; refused unless it is none or 0.
    """
    text = label.strip() if isinstance(label, str) else ""
    if not text:
        return Shape("", problem="a shape has no label")
    levels = [find_level(text), *(find_level(value, whole=True) for value in said if isinstance(value, str))]
    level = next(filter(None, levels), None)
    try:
        if rotation not in (None, "") and number(rotation) != 0:
            raise ValueError("a box is rotated; draw upright boxes")
        box = corners()
        if not (box[0] < box[2] and box[1] < box[3]):
            raise ValueError(f"the box of a '{text}' has no area")
    except ValueError as error:
        return Shape(text, problem=str(error), level=level)
    return Shape(text, box, level)


def with_points(shape: Shape, points: Callable[[], Iterable[LabelledPoint]]) -> Shape:
    """The shape with the landmarks that ``points`` reads; its ValueError becomes the shape's problem with them."""
    try:
        found = tuple(points())
        if any(not point.label for point in found):
            raise ValueError("a landmark has no label")
    except ValueError as error:
        return replace(shape, points_problem=str(error))
    return replace(shape, points=found, points_problem=None)


def one_point(label: str, points: Any, v: int = 2) -> tuple[LabelledPoint]:
    """The landmark of [[x, y]].

    Raises:
        ValueError: another number of points, or something that is not a finite number.
    """
    if not isinstance(points, Sequence) or len(points) != 1:
        raise ValueError(f"a shape of {label!r} has several points or none; mark each landmark by one")
    if not isinstance(points[0], Sequence) or len(points[0]) != 2:
        raise ValueError("a shape has a point that is not [x, y]")
    return (LabelledPoint(label, number(points[0][0]), number(points[0][1]), v),)


def bounding_box(points: Any) -> Corners:
    """Around points [[x, y], ...].

    Raises:
        ValueError: fewer than two points, or something that is not a finite number.
    """
    if not isinstance(points, Sequence) or len(points) < 2:
        raise ValueError("a shape has fewer than two points")
    if not all(isinstance(point, Sequence) and len(point) == 2 for point in points):
        raise ValueError("a shape has a point that is not [x, y]")
    xs, ys = zip(*((number(x), number(y)) for x, y in points), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def upright_box(points: Any, tolerance: float) -> Corners:
    """Around four points, if they are the corners of an upright rectangle.

    Args:
        points: [[x, y], ...] in order around the rectangle.
        tolerance: by how much a corner may miss the rectangle's; in the points' unit.

    Raises:
        ValueError: they are not; or as `bounding_box`.
    """
    left, top, right, bottom = bounding_box(points)
    corners = {(x, y) for x in (left, right) for y in (top, bottom)}
    for x, y in points:
        corners -= {(a, b) for a, b in corners if max(abs(a - number(x)), abs(b - number(y))) <= tolerance}
    if len(points) != 4 or corners:
        raise ValueError("a box is rotated (OBB); draw upright boxes")
    return left, top, right, bottom


def is_parallelogram(points: Sequence[tuple[float, float]], tolerance: float) -> bool:
    """Whether the diagonals of four points halve each other."""
    (a, b), (c, d), (e, f), (g, h) = points
    return max(abs(a + e - c - g), abs(b + f - d - h)) <= 2 * tolerance


def edges(values: Iterable[Any]) -> Corners:
    """Left, top, right and bottom, as `number`."""
    left, top, right, bottom = map(number, values)
    return left, top, right, bottom


def sized(values: Iterable[Any]) -> Corners:
    """The corners of left, top, width and height, as `number`."""
    left, top, width, height = edges(values)
    return left, top, left + width, top + height


def number(value: Any) -> float:
    """A finite number, also from text.

    Raises:
        ValueError: it is none.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError("a coordinate is not a finite number")
    return found


def image_size(width: Any, height: Any) -> tuple[int, int] | None:
    """The size an annotation states; None where a tool wrote nothing or zeros."""
    try:
        size = int(number(width)), int(number(height))
    except ValueError:
        return None
    return size if min(size) > 0 else None


def table_of(value: Any) -> dict[str, Any]:
    """A json's object; an empty one where something else stands."""
    return value if isinstance(value, dict) else {}

"""What every annotation format is read into: shapes of one image, as the labelling tool wrote them."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ...layout.levels import find_level


@dataclass(frozen=True)
class Shape:
    """One labelled disc.

    Attributes:
        label: the text of the labelling tool, not yet a class.
        box: (left, top, right, bottom), the first pixel covering [0, 1); it may leave the image.
        level: "C5/6" where the label or an attribute says it.
    """

    label: str
    box: tuple[float, float, float, float]
    level: str | None = None


@dataclass(frozen=True)
class ImageAnnotation:
    """All shapes of one image.

    Attributes:
        image: the image's name or path as the annotation gives it; only matched, never opened.
        folder: where the annotation file lies below the folder of annotations; tells images of one name apart.
        where: the annotation file, and the image in it where it holds several; for the terminal.
        shapes: empty for a healthy patient.
        size: (width, height) of the image in the annotation, None where it says nothing.
        normalized: the boxes are fractions of width and height instead of pixels.
        problem: why the image cannot be used, for example a rotated box; None if it can.
        unreadable: the whole file could not be read, and ``image`` is a guess from its name.
    """

    image: str
    folder: PurePosixPath
    where: str
    shapes: tuple[Shape, ...] = ()
    size: tuple[int, int] | None = None
    normalized: bool = False
    problem: str | None = None
    unreadable: bool = False


def make_shape(label: Any, box: tuple[float, float, float, float], attributes: Iterable[Any] = ()) -> Shape:
    """A shape with its level, from the label or else from an attribute's whole value.

    Raises:
        ValueError: the label is no text or empty.
    """
    if not isinstance(label, str) or not label.strip():
        raise ValueError("a shape has no label")
    level = find_level(label)
    for value in attributes:
        if level is None and isinstance(value, str):
            level = find_level(value, whole=True)
    return Shape(label.strip(), box, level)


def bounding_box(points: Any) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) around points [[x, y], ...].

    Raises:
        ValueError: fewer than two points, or something that is not a finite number.
    """
    if not isinstance(points, Sequence) or len(points) < 2:
        raise ValueError("a shape has fewer than two points")
    if not all(isinstance(point, Sequence) and len(point) == 2 for point in points):
        raise ValueError("a shape has a point that is not [x, y]")
    xs, ys = zip(*((number(x), number(y)) for x, y in points), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


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


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without byte order mark.

    Raises:
        ValueError: it is in another encoding.
        OSError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8 text; save it as UTF-8") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """A json file that holds one object.

    Raises:
        ValueError: it does not.
        OSError: it cannot be read.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no json ({error})") from error
    if not isinstance(content, dict):
        raise ValueError("is json, but not an object")
    return content

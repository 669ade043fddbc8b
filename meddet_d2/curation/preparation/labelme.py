"""LabelMe: one json for each image."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...files import read_json_object
from .annotation import (
    Corners,
    ImageAnnotation,
    Shape,
    bounding_box,
    image_size,
    make_shape,
    one_point,
    table_of,
    upright_box,
    with_points,
)

# Pixels by which a corner of a rectangle may be off.
TOLERANCE = 0.5


def read_labelme(path: Path) -> Iterator[ImageAnnotation]:
    """Rectangles, polygons, circles and masks, as the box around each; and points, as landmarks.

    The image is ``imagePath``, or the json's own name where that is missing.

    Raises:
        ValueError: it is not LabelMe's.
        OSError: it cannot be read.
    """
    content = read_json_object(path)
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise ValueError("has no 'shapes', so it is not LabelMe's")
    image = content.get("imagePath")
    yield ImageAnnotation(
        image if isinstance(image, str) and image else path.stem,
        tuple(map(_shape, shapes)),
        image_size(content.get("imageWidth"), content.get("imageHeight")),
    )


def _shape(shape: Any) -> Shape:
    if not isinstance(shape, dict):
        return Shape("", problem="a shape is not an object")
    flags, attributes = table_of(shape.get("flags")), table_of(shape.get("attributes"))
    said = [*(name for name, value in flags.items() if value is True), *attributes.values(), shape.get("description")]
    found = make_shape(shape.get("label"), lambda: _corners(shape), said)
    if shape.get("shape_type") != "point":
        return found
    return with_points(found, lambda: one_point(found.label, shape.get("points")))


def _corners(shape: dict[str, Any]) -> Corners:
    kind = shape.get("shape_type", "polygon")
    points: Any = shape.get("points")
    if kind in ("rotation", "oriented_rectangle"):
        return upright_box(points, TOLERANCE)
    # A mask's two points are the corners of its box.
    if kind not in ("rectangle", "polygon", "mask", "circle"):
        raise ValueError(f"a shape is a '{kind}'; draw rectangles or polygons")
    box = bounding_box(points)
    if kind != "circle":
        return box
    if len(points) != 2:
        raise ValueError("a circle does not have two points")
    # The centre and a point of the border.
    x, y = map(float, points[0])
    radius = math.hypot(box[2] - box[0], box[3] - box[1])
    return x - radius, y - radius, x + radius, y + radius

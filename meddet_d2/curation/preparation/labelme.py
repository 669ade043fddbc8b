"""LabelMe: one json for each image."""

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from .annotation import ImageAnnotation, Shape, bounding_box, image_size, make_shape, number, read_json_object


def read_labelme(path: Path, folder: PurePosixPath, where: str) -> Iterator[ImageAnnotation]:
    """Rectangles, polygons, circles and masks, as the box around each.

    The image is ``imagePath``, or the json's own name where that is missing.

    Args:
        path: the json.
        folder, where: as in ImageAnnotation.

    Raises:
        ValueError: it is not LabelMe's.
    """
    content = read_json_object(path)
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise ValueError("has no 'shapes', so it is not LabelMe's")
    image = content.get("imagePath")
    annotation = {
        "image": image if isinstance(image, str) and image else path.stem,
        "folder": folder,
        "where": where,
        "size": image_size(content.get("imageWidth"), content.get("imageHeight")),
    }
    try:
        yield ImageAnnotation(**annotation, shapes=tuple(map(_shape, shapes)))
    except ValueError as error:
        yield ImageAnnotation(**annotation, problem=str(error))


def _shape(shape: Any) -> Shape:
    if not isinstance(shape, dict):
        raise ValueError("a shape is not an object")
    kind, points = shape.get("shape_type", "polygon"), shape.get("points")
    if kind == "circle":
        box = _circle(points)
    # A mask's two points are the corners of its box.
    elif kind in ("rectangle", "polygon", "mask"):
        box = bounding_box(points)
    else:
        raise ValueError(f"a shape is a '{kind}'; draw rectangles or polygons")
    flags = shape.get("flags") if isinstance(shape.get("flags"), dict) else {}
    attributes = shape.get("attributes") if isinstance(shape.get("attributes"), dict) else {}
    said = [*(name for name, value in flags.items() if value is True), *attributes.values(), shape.get("description")]
    return make_shape(shape.get("label"), box, said)


def _circle(points: Any) -> tuple[float, float, float, float]:
    """Around a circle of which the centre and a point of the border are given."""
    bounding_box(points)
    if len(points) != 2:
        raise ValueError("a circle does not have two points")
    (x, y), (border_x, border_y) = [[number(value) for value in point] for point in points]
    radius = math.hypot(border_x - x, border_y - y)
    return x - radius, y - radius, x + radius, y + radius

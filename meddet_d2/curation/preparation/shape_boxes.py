"""From the shapes of an annotation to the boxes of the layout."""

from .annotation import ImageAnnotation, Shape
from .classes import ClassMap
from .omissions import Findings
from .writing import Box

# Boxes that are narrower or lower than this, in pixels, are slips of the hand.
LEAST_SIDE = 1.0


def make_boxes(
    annotation: ImageAnnotation, size: tuple[int, int], classes: ClassMap, findings: Findings, where: str
) -> tuple[Box, ...]:
    """The boxes of one image, in pixels to two decimals, cut at its border.

    Args:
        annotation: of the image; every label has a class or is ignored.
        size: (width, height) of the image.
        classes: labels to classes.
        findings: gets boxes that are cut or left out.
        where: names the image in them.
    """
    found = []
    for shape in annotation.shapes:
        if classes.is_ignored(shape.label):
            findings.add("ignored_labels", f"{where}: {shape.label!r}")
            continue
        category = classes.category(shape.label)
        box = _inside(shape, size, normalized=annotation.normalized)
        if min(box[2:]) < LEAST_SIDE:
            findings.add("degenerate_boxes", f"{where}: {shape.label!r} at {_shown(shape)}")
            continue
        if not _fits(shape, size, normalized=annotation.normalized):
            findings.add("clipped_boxes", f"{where}: {shape.label!r} at {_shown(shape)}")
        found.append(Box(category, box, shape.level))
    return tuple(found)


def _pixels(shape: Shape, size: tuple[int, int], normalized: bool) -> list[float]:
    # Hundredths of a pixel: rounded first, so that the json's box is exactly the one that is checked.
    return [round(value * (size[axis % 2] if normalized else 1), 2) for axis, value in enumerate(shape.box)]


def _inside(shape: Shape, size: tuple[int, int], normalized: bool) -> tuple[float, float, float, float]:
    """(x, y, width, height) of what lies in the image."""
    width, height = size
    left, top, right, bottom = _pixels(shape, size, normalized)
    left, right = (min(max(value, 0.0), float(width)) for value in (left, right))
    top, bottom = (min(max(value, 0.0), float(height)) for value in (top, bottom))
    return left, top, round(right - left, 2), round(bottom - top, 2)


def _fits(shape: Shape, size: tuple[int, int], normalized: bool) -> bool:
    left, top, right, bottom = _pixels(shape, size, normalized)
    return min(left, top) >= 0 and right <= size[0] and bottom <= size[1]


def _shown(shape: Shape) -> str:
    return "({:g}, {:g}) to ({:g}, {:g})".format(*shape.box)

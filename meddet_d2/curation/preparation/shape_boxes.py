"""From the shapes of an annotation to the boxes, or the landmarks, of the layout."""

from dataclasses import replace

from ...layout.data_set_writer import Box, landmark_box
from ...layout.landmarks import DIGITS, NOT_LABELLED, Point, is_inside
from .annotation import ImageAnnotation
from .classes import ClassMap
from .omissions import Findings

# Boxes that are narrower or lower than this, in pixels, are slips of the hand.
LEAST_SIDE = 1.0


def without_ignored(annotation: ImageAnnotation, classes: ClassMap, findings: Findings) -> ImageAnnotation:
    """The annotation without the shapes of labels to ignore; the first problem of the others is its problem."""
    kept = []
    for shape in annotation.shapes:
        if classes.is_ignored(shape.label):
            findings.add("ignored_labels", f"{annotation.where}: {shape.label!r}")
        else:
            kept.append(shape)
    problems = [annotation.problem, *(shape.problem for shape in kept)]
    return replace(annotation, shapes=tuple(kept), problem=next(filter(None, problems), None))


def with_landmarks_alone(annotation: ImageAnnotation, landmarks: ClassMap, findings: Findings) -> ImageAnnotation:
    """As `without_ignored` for a landmark set: a shape that is no point is a problem, and boxes are not looked at."""
    kept = []
    for shape in annotation.shapes:
        points = tuple(point for point in shape.points if not landmarks.is_ignored(point.label))
        if landmarks.is_ignored(shape.label) or len(points) < len(shape.points):
            findings.add("ignored_labels", f"{annotation.where}: {shape.label!r}")
        if not landmarks.is_ignored(shape.label):
            kept.append(replace(shape, points=points))
    problems = [annotation.problem, *(shape.points_problem for shape in kept)]
    return replace(annotation, shapes=tuple(kept), problem=next(filter(None, problems), None))


def make_landmarks(
    annotation: ImageAnnotation, size: tuple[int, int], landmarks: ClassMap, findings: Findings, where: str
) -> tuple[Box, ...] | None:
    """The landmarks of one image, in one object of the layout.

    Args:
        annotation: of the image; it has no problem, and every label is that of a landmark.
        size: (width, height) of the image.
        findings: gets landmarks that nobody has marked or that lie outside, which then are not labelled, and an image
            that must be left out.
        where: names the image in them.

    Returns:
        None if a landmark is marked twice, or none is labelled.
    """
    found: dict[int, Point] = {}
    for point in (point for shape in annotation.shapes for point in shape.points):
        number = landmarks.category(point.label)
        assert number is not None, "checked"
        if number in found:
            findings.add("unusable_annotations", f"{where}: {landmarks.classes[number - 1]!r} is marked twice")
            return None
        x, y = round(point.x, DIGITS), round(point.y, DIGITS)
        if is_inside(x, y, *size):
            found[number] = x, y, point.v
        else:
            found[number] = NOT_LABELLED
            findings.add("outside_landmarks", f"{where}: {point.label!r} at ({x:g}, {y:g}) of {size[0]} x {size[1]}")
    for number, name in enumerate(landmarks.classes, start=1):
        if number not in found:
            findings.add("unlabelled_landmarks", f"{where}: {name}")
    points = [found.get(number, NOT_LABELLED) for number in range(1, len(landmarks.classes) + 1)]
    if not any(v for _, _, v in points):
        findings.add("unusable_annotations", f"{where}: no landmark lies in it")
        return None
    return (landmark_box(points),)


def make_boxes(
    annotation: ImageAnnotation, size: tuple[int, int], classes: ClassMap, findings: Findings, where: str
) -> tuple[Box, ...] | None:
    """The boxes of one image, in pixels to two decimals, cut at its border.

    Args:
        annotation: of the image; it has no problem, and every label has a class.
        size: (width, height) of the image.
        findings: gets boxes that are cut, and those for which the image must be left out.
        where: names the image in them.

    Returns:
        None if a box cannot be used: without it, its disc would be healthy.
    """
    found, clipped = [], []
    for shape in annotation.shapes:
        category = classes.category(shape.label)
        assert shape.box is not None and category is not None, "without a problem, and checked"
        scale = (*size, *size) if annotation.normalized else (1, 1, 1, 1)
        # Hundredths of a pixel: rounded first, so that the json's box is exactly the one that is checked.
        corners = [round(value * side, 2) for value, side in zip(shape.box, scale, strict=True)]
        inside = [min(max(value, 0.0), float(side)) for value, side in zip(corners, (*size, *size), strict=True)]
        width, height = round(inside[2] - inside[0], 2), round(inside[3] - inside[1], 2)
        shown = "{}: {!r} at ({:g}, {:g}) to ({:g}, {:g})".format(where, shape.label, *shape.box)
        if not annotation.normalized and max(shape.box) <= 1:
            findings.add("degenerate_boxes", f"{shown}: are these fractions of the image? Export pixels")
            return None
        if min(width, height) < LEAST_SIDE:
            findings.add("degenerate_boxes", shown)
            return None
        if inside != corners:
            clipped.append(shown)
        found.append(Box(category, (inside[0], inside[1], width, height), shape.level))
    for shown in clipped:
        findings.add("clipped_boxes", shown)
    return tuple(found)

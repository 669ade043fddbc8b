"""3D Slicer's points (.mrk.json), one file an image, in millimetres of the patient; and where they lie on a slice.

The format is that of Slicer's markups schema 1.0: "markups" with "controlPoints", each with "label" and "position". A
position is in LPS (to the patient's left, back and head), as DICOM's are, unless "coordinateSystem" says RAS.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread

from ...files import read_json_object
from ...formats.dicom_groups import geometry_of
from ...formats.quiet import reading
from .annotation import ImageAnnotation, LabelledPoint, Shape, number, with_points

SUFFIX = ".mrk.json"
# By "coordinateSystem": what makes LPS of x and y. Old files have numbers.
SYSTEMS = {"LPS": 1.0, "1": 1.0, "RAS": -1.0, "0": -1.0}
# Millimetres by which a point may lie beside its slice, or half the slice's thickness where that is more.
OFF_SLICE = 2.0
# Pixels count from the middle of the first.
MIDDLE = 0.5


def read_slicer(path: Path) -> Iterator[ImageAnnotation]:
    """The points of one image, that of the file's own name.

    Raises:
        ValueError: it is not Slicer's.
        OSError: it cannot be read.
    """
    markups = read_json_object(path).get("markups")
    if not isinstance(markups, list) or not all(isinstance(markup, dict) for markup in markups):
        raise ValueError("has no 'markups', so it is not 3D Slicer's")
    name = path.name[: -len(SUFFIX)] if path.name.lower().endswith(SUFFIX) else path.stem
    yield ImageAnnotation(name, tuple(shape for markup in markups for shape in _shapes(markup)))


def _shapes(markup: dict[str, Any]) -> Iterator[Shape]:
    points = markup.get("controlPoints")
    for point in points if isinstance(points, list) else []:
        label = point.get("label") if isinstance(point, dict) else None
        found = Shape(label.strip() if isinstance(label, str) else "", problem="a point is no box")
        if not isinstance(point, dict) or point.get("positionStatus", "defined") == "defined":
            yield with_points(found, partial(_points, point, found.label, markup))


def _points(point: Any, label: str, markup: dict[str, Any]) -> tuple[LabelledPoint]:
    kind, system = markup.get("type", "Fiducial"), str(markup.get("coordinateSystem", "LPS"))
    if kind != "Fiducial":
        raise ValueError(f"a markup is a '{kind}'; mark each landmark by a point list (Fiducial)")
    if system not in SYSTEMS or markup.get("coordinateUnits", "mm") != "mm":
        raise ValueError(f"the coordinates are {system} in {markup.get('coordinateUnits', 'mm')}; export LPS in mm")
    position = point.get("position") if isinstance(point, dict) else None
    if not isinstance(position, list) or len(position) != 3:
        raise ValueError("a point has no position [x, y, z]")
    x, y, z = map(number, position)
    return (LabelledPoint(label, SYSTEMS[system] * x, SYSTEMS[system] * y, z=z),)


def on_slice(annotation: ImageAnnotation, path: Path) -> ImageAnnotation:
    """The annotation with points in the patient moved to pixels of their image; others stay.

    Args:
        annotation: of the image.
        path: the image's file.

    Raises:
        ValueError: the file says nothing of where it lies in the patient, or a point lies beside the slice. One line.
    """
    if all(point.z is None for shape in annotation.shapes for point in shape.points):
        return annotation
    with reading(path, lambda _: "cannot be read as DICOM; points in millimetres need that."):
        dataset = dcmread(path, force=True, stop_before_pixels=True)
        geometry = geometry_of(dataset, 0)
        several = int(dataset.get("NumberOfFrames") or 1) > 1
        thickness = float(dataset.get("SliceThickness") or 0.0)
    if several:
        raise ValueError("points in millimetres are of one slice, but the file has several; export single slices")
    if geometry.spacing is None or geometry.orientation is None or geometry.corner is None:
        raise ValueError("points in millimetres need an image that says where it lies; give the DICOM file")
    directions = np.array([geometry.orientation[:3], geometry.orientation[3:], geometry.normal])
    rows, columns = geometry.spacing
    allowed = max(thickness / 2, OFF_SLICE)

    def moved(point: LabelledPoint) -> LabelledPoint:
        across, down, off = (directions @ (np.array([point.x, point.y, point.z]) - geometry.corner)).tolist()
        if abs(off) > allowed:
            raise ValueError(f"{point.label!r} lies {abs(off):.1f} mm beside the slice; is it of this image?")
        return replace(point, x=across / columns + MIDDLE, y=down / rows + MIDDLE, z=None)

    shapes = (replace(shape, points=tuple(map(moved, shape.points))) for shape in annotation.shapes)
    return replace(annotation, shapes=tuple(shapes))

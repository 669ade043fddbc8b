"""Pascal VOC (one xml for each image) and CVAT for images 1.1 (one xml for all); the root element says which."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from .annotation import (
    Corners,
    ImageAnnotation,
    LabelledPoint,
    Shape,
    bounding_box,
    edges,
    image_size,
    make_shape,
    one_point,
    sized,
    with_points,
)


def read_xml(path: Path) -> Iterator[ImageAnnotation]:
    """Boxes, and polygons and masks as the box around each; of CVAT also points and skeletons, as landmarks.

    Coordinates are edges, as LabelImg and CVAT write them: a box from 10 to 20 is 10 pixels wide.

    Raises:
        ValueError: it is no xml, has a DOCTYPE, or is neither VOC's nor CVAT's.
        OSError: it cannot be read.
    """
    root = _parse(path.read_bytes())
    if root.tag == "annotation":
        stated = root.find("size")
        yield ImageAnnotation(
            (root.findtext("filename") or "").strip() or path.stem,
            tuple(_voc_shape(item) for item in root.iter("object")),
            None if stated is None else image_size(stated.findtext("width"), stated.findtext("height")),
        )
    elif root.tag == "annotations" and root.find("track") is None:
        for image in root.iter("image"):
            # A tag is a label of the whole image.
            shapes = tuple(_cvat_shape(item) for item in image if item.tag != "tag")
            size = image_size(image.get("width"), image.get("height"))
            yield ImageAnnotation(image.get("name", ""), shapes, size, where=image.get("name", ""))
    elif root.tag == "annotations":
        raise ValueError("is CVAT for video; export the task as CVAT for images 1.1")
    else:
        raise ValueError(f"begins with <{root.tag}>, so it is neither Pascal VOC's nor CVAT's")


def _parse(data: bytes) -> ElementTree.Element:
    """Parse after a look for a DOCTYPE, which alone can define entities: a few hundred bytes may hold gigabytes."""

    def refuse(*_: object) -> None:
        raise ValueError("has a DOCTYPE, which no labelling tool writes; it is not read")

    look = expat.ParserCreate()
    look.StartDoctypeDeclHandler = refuse
    try:
        look.Parse(data, True)
        return ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"is no xml ({error})") from error


def _voc_shape(item: ElementTree.Element) -> Shape:
    attributes = {attribute.findtext("name"): attribute.findtext("value") for attribute in item.iter("attribute")}

    def corners() -> Corners:
        box = item.find("bndbox")
        if item.find("robndbox") is not None or (box is not None and box.find("angle") is not None):
            raise ValueError("a box is rotated; draw upright boxes")
        if box is None:
            raise ValueError("an object has no <bndbox>")
        return edges(box.findtext(key) for key in ("xmin", "ymin", "xmax", "ymax"))

    said = [*attributes.values(), item.findtext("level")]
    return make_shape(item.findtext("name"), corners, said, rotation=attributes.get("rotation"))


def _cvat_shape(item: ElementTree.Element) -> Shape:
    def corners() -> Corners:
        if item.tag == "box":
            return edges(map(item.get, ("xtl", "ytl", "xbr", "ybr")))
        if item.tag == "mask":
            return sized(map(item.get, ("left", "top", "width", "height")))
        if item.tag == "polygon":
            return bounding_box([point.split(",") for point in item.get("points", "").split(";")])
        # What it marks would be missing without a word.
        raise ValueError(f"a shape is a <{item.tag}>; draw rectangles or polygons")

    said = [attribute.text for attribute in item.iter("attribute")]
    found = make_shape(item.get("label"), corners, said, rotation=item.get("rotation"))
    if item.tag == "skeleton":
        return with_points(found, lambda: [point for part in item.iter("points") for point in _cvat_point(part)])
    return with_points(found, lambda: _cvat_point(item)) if item.tag == "points" else found


def _cvat_point(item: ElementTree.Element) -> tuple[LabelledPoint, ...]:
    """Nothing for a skeleton's point that is outside, which CVAT has for what cannot be seen."""
    if item.get("outside") == "1":
        return ()
    places = [point.split(",") for point in item.get("points", "").split(";")]
    return one_point((item.get("label") or "").strip(), places, 1 if item.get("occluded") == "1" else 2)

"""Pascal VOC (one xml for each image) and CVAT for images 1.1 (one xml for all), told apart by the root element."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.parsers import expat

from .annotation import ImageAnnotation, Shape, bounding_box, image_size, make_shape, number

# CVAT's other shapes have no box: what they mark would be missing without a word.
CVAT_REFUSED = ("polyline", "points", "ellipse", "cuboid", "mask", "skeleton", "track")


def read_xml(path: Path, folder: PurePosixPath, where: str) -> Iterator[ImageAnnotation]:
    """Boxes, and polygons as the box around each.

    Coordinates are edges, as LabelImg and CVAT write them: a box from 10 to 20 is 10 pixels wide.

    Args:
        path: the xml.
        folder, where: as in ImageAnnotation.

    Raises:
        ValueError: it is no xml, has a DOCTYPE, or is neither VOC's nor CVAT's.
        OSError: it cannot be read.
    """
    root = _parse(path.read_bytes())
    if root.tag == "annotation":
        yield _voc(root, path, folder, where)
    elif root.tag == "annotations" and root.find("track") is None:
        for image in root.iter("image"):
            yield _cvat(image, folder, where)
    elif root.tag == "annotations":
        raise ValueError("is CVAT for video; export the task as CVAT for images 1.1")
    else:
        raise ValueError(f"begins with <{root.tag}>, so it is neither Pascal VOC's nor CVAT's")


def _parse(data: bytes) -> ElementTree.Element:
    """Parse after a look for a DOCTYPE, which alone can define entities: a few hundred bytes may hold gigabytes."""

    def refuse(*_) -> None:
        raise ValueError("has a DOCTYPE, which no labelling tool writes; it is not read")

    look = expat.ParserCreate()
    look.StartDoctypeDeclHandler = refuse
    try:
        look.Parse(data, True)
        return ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"is no xml ({error})") from error


def _voc(root: ElementTree.Element, path: Path, folder: PurePosixPath, where: str) -> ImageAnnotation:
    size = root.find("size")
    annotation = {
        "image": (root.findtext("filename") or "").strip() or path.stem,
        "folder": folder,
        "where": where,
        "size": None if size is None else image_size(size.findtext("width"), size.findtext("height")),
    }
    try:
        return ImageAnnotation(**annotation, shapes=tuple(_voc_shape(item) for item in root.iter("object")))
    except ValueError as error:
        return ImageAnnotation(**annotation, problem=str(error))


def _voc_shape(item: ElementTree.Element) -> Shape:
    attributes = {attribute.findtext("name"): attribute.findtext("value") for attribute in item.iter("attribute")}
    _refuse_rotated(attributes.get("rotation"))
    box = item.find("bndbox")
    if item.find("robndbox") is not None or (box is not None and box.find("angle") is not None):
        raise ValueError("a box is rotated; draw upright boxes")
    if box is None:
        raise ValueError("an object has no <bndbox>")
    left, top, right, bottom = (number(box.findtext(key)) for key in ("xmin", "ymin", "xmax", "ymax"))
    said = [*attributes.values(), item.findtext("level")]
    return make_shape(item.findtext("name"), bounding_box([(left, top), (right, bottom)]), said)


def _cvat(image: ElementTree.Element, folder: PurePosixPath, where: str) -> ImageAnnotation:
    name = image.get("name", "")
    annotation = {
        "image": name,
        "folder": folder,
        "where": f"{where}: {name}",
        "size": image_size(image.get("width"), image.get("height")),
    }
    try:
        return ImageAnnotation(**annotation, shapes=tuple(_cvat_shapes(image)))
    except ValueError as error:
        return ImageAnnotation(**annotation, problem=str(error))


def _cvat_shapes(image: ElementTree.Element) -> Iterator[Shape]:
    for item in image:
        if item.tag in CVAT_REFUSED:
            raise ValueError(f"a shape is a <{item.tag}>; draw rectangles or polygons")
        if item.tag not in ("box", "polygon"):
            continue  # a tag of the whole image
        _refuse_rotated(item.get("rotation"))
        if item.tag == "box":
            left, top, right, bottom = (number(item.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
            points = [(left, top), (right, bottom)]
        else:
            points = [point.split(",") for point in item.get("points", "").split(";")]
        said = [attribute.text for attribute in item.iter("attribute")]
        yield make_shape(item.get("label"), bounding_box(points), said)


def _refuse_rotated(angle: str | None) -> None:
    if angle is not None and number(angle) != 0:
        raise ValueError("a box is rotated; draw upright boxes")

"""COCO: one json for all images."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from .annotation import ImageAnnotation, Shape, bounding_box, image_size, make_shape, number, read_json_object


def read_coco(path: Path, folder: PurePosixPath, where: str) -> Iterator[ImageAnnotation]:
    """Boxes, or where an annotation has none, the box around its polygons.

    Args:
        path: the json.
        folder, where: as in ImageAnnotation.

    Raises:
        ValueError: it is not COCO's, or uses an id of an image or category twice.
        OSError: it cannot be read.
    """
    content = read_json_object(path)
    for key in ("images", "annotations", "categories"):
        records = content.get(key)
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ValueError(f"has no list '{key}', so it is not COCO's")
    names = {key: category.get("name") for key, category in _by_id(content["categories"], "category").items()}
    images = _by_id(content["images"], "image")
    annotations: dict[Any, list[dict]] = defaultdict(list)
    for annotation in content["annotations"]:
        annotations[_key(annotation.get("image_id"))].append(annotation)
    for key, image in images.items():
        name = image.get("file_name")
        name = name if isinstance(name, str) else ""
        record = {
            "image": name,
            "folder": folder,
            "where": f"{where}: {name}",
            "size": image_size(image.get("width"), image.get("height")),
        }
        try:
            yield ImageAnnotation(**record, shapes=tuple(_shape(item, names) for item in annotations.pop(key, [])))
        except ValueError as error:
            yield ImageAnnotation(**record, problem=str(error))
    for key in annotations:
        yield ImageAnnotation("", folder, f"{where}: image_id {key}", problem="no image has this id")


def _by_id(records: list[dict], kind: str) -> dict[str, dict]:
    found = {_key(record.get("id")): record for record in records}
    if len(found) < len(records):
        raise ValueError(f"uses an id of a {kind} twice")
    return found


def _key(identity: Any) -> str:
    # Ids are numbers, but some tools write them as text in one place and not in the other.
    return str(identity)


def _shape(annotation: dict, names: dict[str, Any]) -> Shape:
    attributes = annotation.get("attributes") if isinstance(annotation.get("attributes"), dict) else {}
    box, polygons = annotation.get("bbox"), annotation.get("segmentation")
    if attributes.get("rotation", 0) not in (0, None) or (isinstance(box, list) and len(box) == 5):
        raise ValueError("a box is rotated; draw upright boxes")
    if annotation.get("iscrowd"):
        raise ValueError("a box is a crowd (iscrowd 1); draw a box for each disc")
    if isinstance(box, list) and len(box) == 4:
        x, y, width, height = map(number, box)
        corners = (x, y, x + width, y + height)
    elif isinstance(polygons, list) and polygons and all(isinstance(polygon, list) for polygon in polygons):
        points = [pair for polygon in polygons for pair in zip(polygon[::2], polygon[1::2], strict=False)]
        corners = bounding_box(points)
    else:
        raise ValueError("an annotation has neither bbox nor polygons")
    if _key(annotation.get("category_id")) not in names:
        raise ValueError(f"category {annotation.get('category_id')!r} is none of the file's")
    said = [annotation.get("level"), *attributes.values()]
    return make_shape(names[_key(annotation.get("category_id"))], corners, said)

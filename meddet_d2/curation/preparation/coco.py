"""COCO: one json for all images."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ...files import read_json_object
from ...layout.identifiers import record_id
from .annotation import (
    Corners,
    ImageAnnotation,
    Shape,
    bounding_box,
    edges,
    image_size,
    make_shape,
    sized,
    table_of,
    with_points,
)
from .coco_keypoints import are_pixel_indices, coco_points
from .coco_masks import mask_box

# Pixels by which a box may leave its image, and by which it may differ from the box around its polygons.
TOLERANCE = 1.0


def read_coco(path: Path) -> Iterator[ImageAnnotation]:
    """Boxes; where an annotation has none, or one without area, the box around its polygons or its mask.

    Key points are landmarks.

    Raises:
        ValueError: it is not COCO's; it uses an id of an image or category twice; an annotation is of an image or a
            category that it does not list; its boxes are [left, top, right, bottom].
        OSError: it cannot be read.
    """
    content = read_json_object(path)
    for key in ("images", "annotations", "categories"):
        records = content.get(key)
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ValueError(f"has no list '{key}', so it is not COCO's")
    categories, images = _by_id(content["categories"], "category"), _by_id(content["images"], "image")
    annotations: dict[int | str, list[dict]] = defaultdict(list)
    for place, annotation in enumerate(content["annotations"], start=1):
        annotations[_find(annotation, "image", images, place)].append(annotation)
        _find(annotation, "category", categories, place)
    indices = are_pixel_indices(content["annotations"])
    sizes = {key: image_size(image.get("width"), image.get("height")) for key, image in images.items()}
    _refuse_corners([(sizes[key], annotation) for key, found in annotations.items() for annotation in found])
    for identity, image in images.items():
        file = image.get("file_name")
        name = file if isinstance(file, str) else ""
        shapes = tuple(_shape(item, categories, sizes[identity], indices) for item in annotations.get(identity, ()))
        yield ImageAnnotation(name, shapes, sizes[identity], where=name or f"image {identity}")


def _by_id(records: list[dict], kind: str) -> dict[int | str, dict]:
    found: dict[int | str, dict] = {}
    for record in records:
        try:
            key = record_id(record.get("id"))
        except ValueError as error:
            raise ValueError(f"has {kind} ids that are none: {error}") from error
        if found.setdefault(key, record) is not record:
            raise ValueError(f"uses the {kind} id {key!r} twice")
    return found


def _find(annotation: dict, kind: str, known: dict[int | str, dict], place: int) -> int | str:
    value = annotation.get(f"{kind}_id")
    try:
        if (key := record_id(value)) in known:
            return key
    except ValueError:
        pass
    where = f"annotation {annotation['id']!r}" if "id" in annotation else f"the annotation in place {place}"
    raise ValueError(f"has no {kind} {value!r}, which is the {kind}_id of {where}; correct one of the two")


def _refuse_corners(boxes: list[tuple[tuple[int, int] | None, dict]]) -> None:
    """Refuse boxes that are [left, top, right, bottom] by their place in the image, their area or their polygons."""
    fit_as_corners, fit_as_sizes, meant = [], [], []
    for size, annotation in boxes:
        try:
            left, top, right, bottom = box = edges(annotation["bbox"])
        except (KeyError, TypeError, ValueError):
            continue
        width, height = size or (float("inf"), float("inf"))
        inside = 0 <= left < right <= width + TOLERANCE and 0 <= top < bottom <= height + TOLERANCE
        fit_as_corners.append(inside)
        fit_as_sizes.append(left + right <= width + TOLERANCE and top + bottom <= height + TOLERANCE)
        area, polygons = annotation.get("area"), annotation.get("segmentation")
        if inside and isinstance(polygons, list) and polygons:
            try:
                meant.append(max(abs(a - b) for a, b in zip(_around(polygons), box, strict=True)) <= TOLERANCE)
            except ValueError:
                continue
        elif inside and isinstance(area, int | float) and area > 0:
            as_corners = (right - left) * (bottom - top)
            meant.append(abs(area - as_corners) < 0.01 * area < abs(area - right * bottom))
    by_place = all(fit_as_corners) and not all(fit_as_sizes)
    if fit_as_corners and (by_place or (all(fit_as_corners) and meant and all(meant))):
        raise ValueError("has boxes [left, top, right, bottom]; COCO's are [x, y, width, height]: export it again")


def _shape(annotation: dict, categories: dict[int | str, dict], size: tuple[int, int] | None, indices: bool) -> Shape:
    attributes = table_of(annotation.get("attributes"))
    category = categories[record_id(annotation.get("category_id"))]
    label = category.get("name")
    said = [annotation.get("level"), *attributes.values()]
    found = make_shape(label, lambda: _corners(annotation, size), said, rotation=attributes.get("rotation"))
    return with_points(found, lambda: coco_points(annotation, category.get("keypoints"), indices=indices))


def _corners(annotation: dict, size: tuple[int, int] | None) -> Corners:
    box, outline = annotation.get("bbox"), annotation.get("segmentation")
    if isinstance(outline, dict) and size is not None and outline.get("size") != [size[1], size[0]]:
        raise ValueError(f"a mask (RLE) is of another size than its image, {size[0]} x {size[1]}")
    if isinstance(box, list) and len(box) == 5:
        raise ValueError("a box is rotated; draw upright boxes")
    crowd = bool(annotation.get("iscrowd"))
    # CVAT marks what is painted with a brush as a crowd.
    if crowd and not isinstance(outline, dict):
        raise ValueError("a box is a crowd (iscrowd 1); draw a box for each disc")
    if not crowd and isinstance(box, list) and len(box) == 4:
        x, y, right, bottom = sized(box)
        if right > x and bottom > y:
            return x, y, right, bottom
    if isinstance(outline, dict):
        return mask_box(outline, single=crowd)
    if isinstance(outline, list) and outline:
        return _around(outline)
    raise ValueError("an annotation has neither a bbox with an area nor polygons nor a mask")


def _around(polygons: list) -> Corners:
    if not all(isinstance(polygon, list) and len(polygon) % 2 == 0 for polygon in polygons):
        raise ValueError("a polygon is no list of x, y, x, y, ...")
    return bounding_box([pair for polygon in polygons for pair in zip(polygon[::2], polygon[1::2], strict=True)])

"""Checks of a data set in CDH-1848's layout, made when it is loaded. Each error is one line that names the file,
the image and the annotation, and says what to do."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# In the order of their category ids, which becomes the order of the network's classes.
CLASSES = ["protrusion", "non-protrusion"]
# Boxes may leave the image by this much, in pixels: rounding, not a mistake.
TOLERANCE = 0.01
SHOWN_PATIENTS = 10


def read_json(json_file: Path) -> dict[str, Any]:
    """Read the COCO json of one split.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no json, or lacks one of COCO's lists.
    """
    if not json_file.is_file():
        raise FileNotFoundError(
            f"{json_file}: no such file; put the data set there or set DETECTRON2_DATASETS to the folder "
            "that holds it (datasets/README.md describes the layout)."
        )
    try:
        content = json.loads(json_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{json_file}: not a json file ({error}); write it again.") from error
    for key in ("images", "annotations", "categories"):
        records = content.get(key) if isinstance(content, dict) else None
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ValueError(f"{json_file}: '{key}' is not a list of records; see datasets/README.md for the layout.")
    return content


def check_layout(content: dict[str, Any], json_file: Path, image_root: Path) -> None:
    """Check what `read_json` returned.

    Raises:
        FileNotFoundError: the image folder or an image file is missing.
        ValueError: anything else: categories, duplicate or missing ids, a missing patient_id, a box outside its image
            or without area.
    """
    categories = _check_categories(content["categories"], json_file)
    images = _check_images(content["images"], json_file, image_root)
    seen: set[Any] = set()
    for annotation in content["annotations"]:
        _check_annotation(annotation, images, categories, seen, json_file)


def check_patient_split(content: dict[str, Any], json_file: Path, siblings: Iterable[Path]) -> None:
    """Check that no patient of this split is in another split of the same data set.

    Slices of one patient look alike: a patient on both sides makes every test figure too good.

    Args:
        content: this split, as `check_layout` has passed it.
        json_file: where it comes from.
        siblings: json files of the other splits; one that does not exist is left out.

    Raises:
        ValueError: a patient is in both; up to ten ids are listed. A patient_id missing in the sibling.
    """
    # As text, because one file may say 7 and the other "7".
    here = {str(image["patient_id"]) for image in content["images"]}
    for sibling in siblings:
        if not sibling.is_file():
            continue
        there = {str(_patient(image, sibling)) for image in read_json(sibling)["images"]}
        both = sorted(here & there)
        if both:
            shown = ", ".join(both[:SHOWN_PATIENTS]) + (", ..." if len(both) > SHOWN_PATIENTS else "")
            raise ValueError(
                f"{json_file}: {len(both)} patients are also in {sibling.name} ({shown}); "
                "split by patient: move all images of a patient to one side."
            )


def _check_categories(categories: list[dict], json_file: Path) -> set[Any]:
    for category in categories:
        if "id" not in category or "name" not in category:
            raise ValueError(f"{json_file}: category {category} has no 'id' or no 'name'; give it both.")
    ids = [category["id"] for category in categories]
    if not all(map(_is_integer, ids)) or len(set(ids)) != len(ids):
        raise ValueError(f"{json_file}: category ids are {ids}; give each category an integer of its own.")
    names = [category["name"] for category in sorted(categories, key=lambda category: category["id"])]
    if names != CLASSES:
        raise ValueError(f"{json_file}: categories in the order of their ids are {names}; they must be {CLASSES}.")
    return set(ids)


def _check_images(images: list[dict], json_file: Path, image_root: Path) -> dict[Any, dict]:
    if not images:
        raise ValueError(f"{json_file}: it lists no images; a split needs at least one.")
    if not image_root.is_dir():
        raise FileNotFoundError(f"{image_root}: no such folder; {json_file.name} expects its images there.")
    by_id: dict[Any, dict] = {}
    names: set[str] = set()
    for image in images:
        identity, name = image.get("id"), image.get("file_name")
        if not _is_integer(identity):
            raise ValueError(f"{json_file}: image {name} has id {identity!r}; give it an integer of its own.")
        if not isinstance(name, str) or not name:
            raise ValueError(f"{json_file}: image {identity} has no 'file_name'; give the file's name in {image_root}.")
        if identity in by_id:
            raise ValueError(f"{json_file}: image id {identity} ({name}) is used twice; give each image its own.")
        if name in names:
            raise ValueError(f"{json_file}: file {name} is listed twice (again as image {identity}); keep one.")
        for key in ("width", "height"):
            if not _is_integer(image.get(key)) or image[key] < 1:
                raise ValueError(
                    f"{json_file}: image {identity} ({name}) has {key} {image.get(key)!r}; give its size in pixels."
                )
        _patient(image, json_file)
        if not (image_root / name).is_file():
            raise FileNotFoundError(
                f"{image_root / name}: no such file, but it is image {identity} of {json_file}; "
                "add it or drop the record."
            )
        by_id[identity] = image
        names.add(name)
    return by_id


def _check_annotation(
    annotation: dict, images: dict[Any, dict], categories: set[Any], seen: set[Any], json_file: Path
) -> None:
    identity = annotation.get("id")
    if not _is_integer(identity):
        raise ValueError(f"{json_file}: an annotation has id {identity!r}; give it an integer of its own.")
    if identity in seen:
        raise ValueError(f"{json_file}: annotation id {identity} is used twice; give each annotation its own.")
    seen.add(identity)
    image = images.get(annotation.get("image_id"))
    if image is None:
        raise ValueError(
            f"{json_file}: annotation {identity} is of image {annotation.get('image_id')!r}, which is not listed; "
            "correct its image_id."
        )
    where = f"{json_file}: annotation {identity} of {image['file_name']}"
    if annotation.get("category_id") not in categories:
        raise ValueError(
            f"{where} has unknown category {annotation.get('category_id')!r}; the file's ids are {sorted(categories)}."
        )
    _check_box(annotation.get("bbox"), image, where)
    for key in ("area", "iscrowd"):
        if not _is_number(annotation.get(key)):
            raise ValueError(f"{where} has {key} {annotation.get(key)!r}; COCO's evaluation needs a number there.")
    if annotation.get("ignore", 0):
        raise ValueError(f"{where} has 'ignore' set, which the engine does not know; set 'iscrowd' or drop it.")
    polygons = annotation.get("segmentation")
    # The engine would drop such an annotation with no more than a count in the log.
    if isinstance(polygons, list) and polygons and not any(len(p) >= 6 and len(p) % 2 == 0 for p in polygons):
        raise ValueError(f"{where} has no polygon of three points in its segmentation; correct or remove that key.")


def _check_box(box: Any, image: dict, where: str) -> None:
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise ValueError(f"{where} has bbox {box!r}; give [x, y, width, height] in pixels.")
    x, y, width, height = box
    if not all(map(math.isfinite, box)):
        raise ValueError(f"{where} has bbox {box}; all four numbers must be finite.")
    if width <= 0 or height <= 0:
        raise ValueError(f"{where} has bbox {box}, which has no area; width and height must be greater than 0.")
    if min(x, y) < -TOLERANCE or x + width > image["width"] + TOLERANCE or y + height > image["height"] + TOLERANCE:
        raise ValueError(
            f"{where} has bbox {box}, outside its image of {image['width']} x {image['height']}; "
            "it must be [x, y, width, height] in the pixels of that file."
        )


def _patient(image: dict, json_file: Path) -> Any:
    patient = image.get("patient_id")
    if patient is None or patient == "":
        raise ValueError(
            f"{json_file}: image {image.get('id')} ({image.get('file_name')}) has no patient_id; "
            "without it a split by patient cannot be checked."
        )
    return patient


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

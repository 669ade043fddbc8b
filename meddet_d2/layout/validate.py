"""Checks of a data set's COCO json, made when it is loaded. Each error is one line that names the file, the image and
the annotation, and says what to do.

Loading raises the first mistake; `find_mistakes` yields all of them, for meddet check-data.
"""

import os
import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..files import read_json_object
from .identifiers import patient_key as plain_patient

# The files that can lie beside each other as splits of one data set.
SPLIT_FILES = ("train.json", "val.json", "test.json")
# Boxes may leave the image by this much, in pixels: rounding, not a mistake.
TOLERANCE = 0.01
# Pixels: what lies beyond is no picture, and no float either.
LARGEST_SIDE = 2**31 - 1
PATIENT_KEY = "patient_id"
# What tables and pages call the mean of all classes.
RESERVED_NAMES = ("mean",)


@dataclass(frozen=True)
class Mistake:
    """One mistake in a split's json.

    Attributes:
        kind: the name of the check, for example "box-outside"; the kinds are a fixed set.
        text: one line that names image and annotation but neither the json nor its folder.
        image: the image's record, None where the mistake is of no one image.
        annotation: the annotation's record, None where it is of none.
        missing: the file or folder that is not there, where that is the mistake.
    """

    kind: str
    text: str
    image: dict | None = None
    annotation: dict | None = None
    missing: Path | None = None

    def error(self, json_file: Path) -> ValueError | FileNotFoundError:
        """What loading raises: the same with the path of the json."""
        if self.missing is None:
            return ValueError(f"{json_file}: {self.text}")
        return FileNotFoundError(f"{self.missing}: not there, but {json_file} needs it: {self.text}")


def read_json(json_file: Path) -> dict[str, Any]:
    """Read the COCO json of one split.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no json, has a key twice or a byte-order mark, or lacks one of COCO's lists.
    """
    if not json_file.is_file():
        raise FileNotFoundError(
            f"{json_file}: no such file; put the data set there or set DETECTRON2_DATASETS to the folder "
            "that holds it (datasets/README.md describes the layout)."
        )
    try:
        content = read_json_object(json_file)
    except ValueError as error:
        raise ValueError(f"{json_file}: not a json file: it {error}; write it again.") from error
    if json_file.read_bytes()[:1] in (b"\xef", b"\xfe", b"\xff"):
        text = "begins with a byte-order mark, which COCO's readers refuse; save it as UTF-8 without one."
        raise ValueError(f"{json_file}: {text}")
    for key in ("images", "annotations", "categories"):
        records = content.get(key)
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ValueError(f"{json_file}: '{key}' is not a list of records; see datasets/README.md for the layout.")
    return content


def find_mistakes(
    content: dict[str, Any], image_root: Path, *, classes: Sequence[str] = (), patient_key: str = PATIENT_KEY
) -> Iterator[Mistake]:
    """All mistakes of what `read_json` returned, in the order of the file.

    A record with a mistake is still looked at for others, as far as that makes sense: the box of an image without a
    size is not held against it.

    Args:
        image_root: the folder its file names are relative to; no file in it is opened.
        classes: names that the categories must have, in the order of their ids; any if empty.
        patient_key: the key of an image record that names its patient; "" where the data set names none.
    """
    yield from category_mistakes(content["categories"], classes)
    images: dict[int, dict] = {}
    yield from _image_mistakes(content["images"], images, image_root, patient_key)
    categories = {record["id"] for record in content["categories"] if is_integer(record.get("id"))}
    seen: set[int] = set()
    for annotation in content["annotations"]:
        yield from _annotation_mistakes(annotation, images, categories, seen)


def patient_of(image: dict, key: str = PATIENT_KEY) -> str | None:
    """An image record's patient by `plain_patient`, for one file may say 7 and another "7"; None where it has none."""
    patient = image.get(key)
    return None if patient is None else plain_patient(patient) or None


def leaves_folder(name: str) -> bool:
    """Whether a file name would lead out of the folder it is relative to, on this or on another system."""
    paths = PurePosixPath(name), PureWindowsPath(name)
    return any(path.is_absolute() or ".." in path.parts for path in paths)


def name_mistake(name: Any) -> str | None:
    """Why a class cannot have this name, or None. Names become columns of tables, keys of metrics and page texts."""
    if not isinstance(name, str) or not name.strip() or name != name.strip() or not name.isprintable():
        return "is no name of letters that can be printed, without spaces around it"
    # A spreadsheet runs what begins with one of these.
    if name[0] in "=+-@":
        return "begins with one of =+-@, which a spreadsheet would run"
    return "is what tables call the mean of all classes" if name in RESERVED_NAMES else None


def category_mistakes(categories: list[dict], classes: Sequence[str] = ()) -> Iterator[Mistake]:
    """Mistakes of a json's categories; arguments as for `find_mistakes`."""
    incomplete = [category for category in categories if "id" not in category or "name" not in category]
    for category in incomplete:
        yield Mistake("categories", f"category {category} has no 'id' or no 'name'; give it both.")
    if incomplete:
        return
    ids = [category["id"] for category in categories]
    if not all(map(is_integer, ids)) or len(set(ids)) != len(ids):
        yield Mistake("categories", f"category ids are {ids}; give each category a different integer.")
        return
    names = [category["name"] for category in sorted(categories, key=lambda category: category["id"])]
    if classes and names != list(classes):
        text = f"categories in the order of their ids are {names}; they must be {list(classes)}."
        yield Mistake("categories", text)
        return
    if not names:
        yield Mistake("categories", "it lists no categories; a detector needs at least one class.")
    for index, name in enumerate(names):
        wrong = "is the name of two categories" if name in names[:index] else name_mistake(name)
        if wrong is not None:
            yield Mistake("categories", f"category name {name!r} {wrong}; give it another.")


def _image_mistakes(
    images: list[dict], by_id: dict[int, dict], image_root: Path, patient_key: str
) -> Iterator[Mistake]:
    """Fills ``by_id`` with every image that an annotation can name."""
    if not images:
        yield Mistake("no-images", "it lists no images; a split needs at least one.")
    folder_is_there = image_root.is_dir()
    if images and not folder_is_there:
        text = "its folder of images is not there; put it beside the json."
        yield Mistake("folder-missing", text, missing=image_root)
    names: set[str] = set()
    for image in images:
        identity: Any = image.get("id")
        name: Any = image.get("file_name")
        where = f"image {identity} ({name})"
        if not is_integer(identity):
            yield Mistake("image-id", f"image {name} has id {identity!r}; give it an integer that no other has.", image)
        elif not isinstance(name, str) or not name:
            text = f"image {identity} has no 'file_name'; give the file's name in its folder of images."
            yield Mistake("file-name", text, image)
        elif identity in by_id:
            yield Mistake("image-id", f"image id {identity} ({name}) is used twice; give each image its own.", image)
        elif name in names:
            yield Mistake("file-twice", f"file {name} is listed twice (again as image {identity}); keep one.", image)
        for key in ("width", "height"):
            if not is_size(image.get(key)):
                yield Mistake("image-size", f"{where} has {key} {image.get(key)!r}; give its size in pixels.", image)
        if patient_key and patient_of(image, patient_key) is None:
            yield no_patient(image, patient_key)
        if isinstance(name, str) and name:
            names.add(name)
            if leaves_folder(name):
                text = f"{where} has a file_name that leaves its folder of images; give a name inside that folder."
                yield Mistake("outside-folder", text, image)
            # os.path, because a name that is too long is no file either.
            elif folder_is_there and not os.path.isfile(image_root / name):
                text = f"{where}: no such file; add it or drop the record."
                yield Mistake("file-missing", text, image, missing=image_root / name)
        if is_integer(identity):
            by_id.setdefault(identity, image)


def _annotation_mistakes(
    annotation: dict, images: dict[Any, dict], categories: set[int], seen: set[int]
) -> Iterator[Mistake]:
    identity: Any = annotation.get("id")
    owner = annotation.get("image_id")
    # As pycocotools does, which takes 1.0 for 1 and "1" for nothing.
    image = images.get(owner) if isinstance(owner, Hashable) and is_finite(owner) else None
    if not is_integer(identity):
        text = f"an annotation has id {identity!r}; give it an integer that no other has."
        yield Mistake("annotation-id", text, image, annotation)
    elif identity in seen:
        text = f"annotation id {identity} is used twice; give each annotation its own."
        yield Mistake("annotation-id", text, image, annotation)
    else:
        seen.add(identity)
    if image is None:
        text = f"annotation {identity} is of image {owner!r}, which is not listed; correct its image_id."
        yield Mistake("no-such-image", text, None, annotation)
        return

    def mistake(kind: str, text: str) -> Mistake:
        return Mistake(kind, f"annotation {identity} of {image.get('file_name')} {text}", image, annotation)

    category = annotation.get("category_id")
    if not isinstance(category, Hashable) or category not in categories:
        text = f"has unknown category {category!r}; the file's ids are {sorted(categories)}."
        yield mistake("category-unknown", text)
    # The box of landmarks is checked with them (landmark_checks.py): around one point it has no area.
    wrong = None if "landmarks" in annotation else box_mistake(annotation.get("bbox"), image)
    if wrong is not None:
        yield mistake(*wrong)
    for key in ("area", "iscrowd"):
        if not is_finite(annotation.get(key)):
            text = f"has {key} {annotation.get(key)!r}; COCO's evaluation needs a number there."
            yield mistake("annotation-key", text)
    if annotation.get("ignore", 0):
        yield mistake("ignore", "has 'ignore' set, which the engine does not know; set 'iscrowd' or drop it.")
    polygons = annotation.get("segmentation")
    sizes = [len(points) for points in polygons if isinstance(points, list)] if isinstance(polygons, list) else []
    # The engine would drop such an annotation with no more than a count in the log.
    if isinstance(polygons, list) and polygons and not any(size >= 6 and size % 2 == 0 for size in sizes):
        yield mistake("polygon", "has no polygon of three points in its segmentation; correct or remove that key.")


def box_mistake(box: Any, image: dict) -> tuple[str, str] | None:
    """What is wrong with a box of an image record: the kind of mistake and a text, or None.

    The border is not looked at where the record gives no size.
    """
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_finite, box)):
        return "box-malformed", f"has bbox {box!r}; give [x, y, width, height] in pixels, four finite numbers."
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return "box-empty", f"has bbox {box}, which has no area; width and height must be greater than 0."
    if x + width <= 1 and y + height <= 1:
        return "box-empty", f"has bbox {box}, inside the first pixel; are these fractions? Give pixels."
    if not is_size(image.get("width")) or not is_size(image.get("height")):
        return None
    if min(x, y) < -TOLERANCE or x + width > image["width"] + TOLERANCE or y + height > image["height"] + TOLERANCE:
        return (
            "box-outside",
            f"has bbox {box}, outside its image of {image['width']} x {image['height']}; "
            "it must be [x, y, width, height] in the pixels of that file.",
        )
    return None


def no_patient(image: dict, key: str) -> Mistake:
    """An image record lacks ``key``."""
    where = f"image {image.get('id')} ({image.get('file_name')})"
    text = f"{where} has no {key}; without it a split by patient cannot be checked (DATASETS.PATIENT_KEY)."
    return Mistake("no-patient", text, image)


def is_size(value: Any) -> bool:
    """Whether a value of a json can be the width or height of an image."""
    return is_integer(value) and 1 <= value <= LARGEST_SIDE


def is_integer(value: Any) -> bool:
    """Whether a value of a json can be an id."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether a value of a json is a finite number."""
    # Not math.isfinite, which fails at an integer of hundreds of digits.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max

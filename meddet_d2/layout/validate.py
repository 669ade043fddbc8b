"""Checks of a data set's COCO json, made when it is loaded. Each error is one line that names the file, the image and
the annotation, and says what to do.

Loading raises the first mistake; `find_mistakes` yields all of them, for meddet check-data.
"""

import math
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
        error: what loading raises: the same with the path of the json.
        image: the image's record, None where the mistake is of no one image.
        annotation: the annotation's record, None where it is of none.
    """

    kind: str
    text: str
    error: ValueError | FileNotFoundError
    image: dict | None = None
    annotation: dict | None = None


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


def check_layout(
    content: dict[str, Any],
    json_file: Path,
    image_root: Path,
    *,
    classes: Sequence[str] = (),
    patient_key: str = PATIENT_KEY,
) -> None:
    """Check what `read_json` returned; arguments as for `find_mistakes`.

    Raises:
        FileNotFoundError: the image folder or an image file is missing.
        ValueError: anything else: categories, duplicate or missing ids, a missing patient_id, a file name that leaves
            the image folder, a box outside its image or without area.
    """
    for mistake in find_mistakes(content, json_file, image_root, classes=classes, patient_key=patient_key):
        raise mistake.error


def find_mistakes(
    content: dict[str, Any],
    json_file: Path,
    image_root: Path,
    *,
    classes: Sequence[str] = (),
    patient_key: str = PATIENT_KEY,
) -> Iterator[Mistake]:
    """All mistakes of what `read_json` returned, in the order of the file.

    A record with a mistake is still looked at for others, as far as that makes sense: the box of an image without a
    size is not held against it.

    Args:
        content: as `read_json` returns it.
        json_file: named in the errors; not opened.
        image_root: the folder its file names are relative to; no file in it is opened.
        classes: names that the categories must have, in the order of their ids; any if empty.
        patient_key: the key of an image record that names its patient; "" where the data set names none.
    """
    yield from category_mistakes(content["categories"], json_file, classes)
    images: dict[int, dict] = {}
    yield from _image_mistakes(content["images"], images, json_file, image_root, patient_key)
    categories = {record["id"] for record in content["categories"] if is_integer(record.get("id"))}
    seen: set[int] = set()
    for annotation in content["annotations"]:
        yield from _annotation_mistakes(annotation, images, categories, seen, json_file)


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


def category_mistakes(categories: list[dict], json_file: Path, classes: Sequence[str] = ()) -> Iterator[Mistake]:
    """Mistakes of a json's categories; arguments as for `find_mistakes`."""
    incomplete = [category for category in categories if "id" not in category or "name" not in category]
    for category in incomplete:
        yield _mistake("categories", json_file, f"category {category} has no 'id' or no 'name'; give it both.")
    if incomplete:
        return
    ids = [category["id"] for category in categories]
    if not all(map(is_integer, ids)) or len(set(ids)) != len(ids):
        text = f"category ids are {ids}; give each category an integer of its own."
        yield _mistake("categories", json_file, text)
        return
    names = [category["name"] for category in sorted(categories, key=lambda category: category["id"])]
    if classes and names != list(classes):
        text = f"categories in the order of their ids are {names}; they must be {list(classes)}."
        yield _mistake("categories", json_file, text)
        return
    if not names:
        yield _mistake("categories", json_file, "it lists no categories; a detector needs at least one class.")
    for index, name in enumerate(names):
        wrong = name_mistake(name)
        if wrong is None and name in names[:index]:
            wrong = "is the name of two categories"
        if wrong is not None:
            yield _mistake("categories", json_file, f"category name {name!r} {wrong}; give it another.")


def _image_mistakes(
    images: list[dict], by_id: dict[int, dict], json_file: Path, image_root: Path, patient_key: str
) -> Iterator[Mistake]:
    """Fills ``by_id`` with every image that an annotation can name."""
    if not images:
        yield _mistake("no-images", json_file, "it lists no images; a split needs at least one.")
    folder_is_there = image_root.is_dir()
    if images and not folder_is_there:
        missing = f"{image_root}: no such folder; {json_file.name} expects its images there."
        text = "its folder of images is not there; put it beside the json."
        yield Mistake("folder-missing", text, FileNotFoundError(missing))
    names: set[str] = set()
    for image in images:
        identity: Any = image.get("id")
        name: Any = image.get("file_name")
        where = f"image {identity} ({name})"
        if not is_integer(identity):
            text = f"image {name} has id {identity!r}; give it an integer of its own."
            yield _mistake("image-id", json_file, text, image)
        elif not isinstance(name, str) or not name:
            text = f"image {identity} has no 'file_name'; give the file's name in "
            yield Mistake(
                "file-name", f"{text}its folder of images.", ValueError(f"{json_file}: {text}{image_root}."), image
            )
        elif identity in by_id:
            text = f"image id {identity} ({name}) is used twice; give each image its own."
            yield _mistake("image-id", json_file, text, image)
        elif name in names:
            text = f"file {name} is listed twice (again as image {identity}); keep one."
            yield _mistake("file-twice", json_file, text, image)
        for key in ("width", "height"):
            if not is_size(image.get(key)):
                text = f"{where} has {key} {image.get(key)!r}; give its size in pixels."
                yield _mistake("image-size", json_file, text, image)
        if patient_key and patient_of(image, patient_key) is None:
            yield no_patient(image, json_file, patient_key)
        if isinstance(name, str) and name:
            names.add(name)
            if leaves_folder(name):
                text = f"{where} has a file_name that leaves its folder of images; give a name inside that folder."
                yield _mistake("outside-folder", json_file, text, image)
            elif folder_is_there and not is_file(image_root / name):
                action = "add it or drop the record."
                missing = f"{image_root / name}: no such file, but it is image {identity} of {json_file}; {action}"
                yield Mistake("file-missing", f"{where}: no such file; {action}", FileNotFoundError(missing), image)
        if isinstance(identity, int) and is_integer(identity):
            by_id.setdefault(identity, image)


def _annotation_mistakes(
    annotation: dict, images: dict[Any, dict], categories: set[int], seen: set[int], json_file: Path
) -> Iterator[Mistake]:
    identity, owner = annotation.get("id"), annotation.get("image_id")
    # As pycocotools does, which takes 1.0 for 1 and "1" for nothing.
    image = images.get(owner) if isinstance(owner, Hashable) and is_finite(owner) else None
    if not isinstance(identity, int) or isinstance(identity, bool):
        text = f"an annotation has id {identity!r}; give it an integer of its own."
        yield _mistake("annotation-id", json_file, text, image, annotation)
    elif identity in seen:
        text = f"annotation id {identity} is used twice; give each annotation its own."
        yield _mistake("annotation-id", json_file, text, image, annotation)
    else:
        seen.add(identity)
    if image is None:
        text = f"annotation {identity} is of image {owner!r}, which is not listed; correct its image_id."
        yield _mistake("no-such-image", json_file, text, None, annotation)
        return

    def mistake(kind: str, text: str) -> Mistake:
        where = f"annotation {identity} of {image.get('file_name')}"
        return _mistake(kind, json_file, f"{where} {text}", image, annotation)

    category = annotation.get("category_id")
    if not isinstance(category, Hashable) or category not in categories:
        text = f"has unknown category {category!r}; the file's ids are {sorted(categories)}."
        yield mistake("category-unknown", text)
    wrong = box_mistake(annotation.get("bbox"), image)
    if wrong is not None:
        yield mistake(*wrong)
    for key in ("area", "iscrowd"):
        if not is_finite(annotation.get(key)):
            text = f"has {key} {annotation.get(key)!r}; COCO's evaluation needs a number there."
            yield mistake("annotation-key", text)
    if annotation.get("ignore", 0):
        yield mistake("ignore", "has 'ignore' set, which the engine does not know; set 'iscrowd' or drop it.")
    polygons = annotation.get("segmentation")
    # The engine would drop such an annotation with no more than a count in the log.
    if isinstance(polygons, list) and polygons and not any(map(_is_polygon, polygons)):
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


def _mistake(
    kind: str, json_file: Path, text: str, image: dict | None = None, annotation: dict | None = None
) -> Mistake:
    return Mistake(kind, text, ValueError(f"{json_file}: {text}"), image, annotation)


def no_patient(image: dict, json_file: Path, key: str) -> Mistake:
    """An image record lacks ``key``."""
    where = f"image {image.get('id')} ({image.get('file_name')})"
    text = f"{where} has no {key}; without it a split by patient cannot be checked (DATASETS.PATIENT_KEY)."
    return _mistake("no-patient", json_file, text, image)


def is_file(path: Path) -> bool:
    """Whether a file is there and can be looked for."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def _is_polygon(points: Any) -> bool:
    return isinstance(points, list) and len(points) >= 6 and len(points) % 2 == 0


def is_size(value: Any) -> bool:
    """Whether a value of a json can be the width or height of an image."""
    return is_integer(value) and 1 <= value <= LARGEST_SIDE


def is_integer(value: Any) -> bool:
    """Whether a value of a json can be an id."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    """Whether a value of a json is a finite number."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False

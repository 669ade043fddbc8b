"""YOLO: one txt for each image, a line for each box, classes by number."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ...files import parse_yaml
from .annotation import ImageAnnotation, Shape, bounding_box, make_shape, number, read_text

# Where the names of the classes are looked for, in the folder of annotations and in the one above.
NAMES_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
# One more in a table would need a name for each number below it.
MOST_CLASSES = 10_000
# Lists of images, and the names, beside the annotations.
NOT_ANNOTATIONS = ("classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt")


def find_names_file(folder: Path) -> Path:
    """The file with the names of the classes.

    Raises:
        ValueError: there is none.
    """
    for place in (folder, folder.parent):
        for name in NAMES_FILES:
            if (place / name).is_file():
                return place / name
    raise ValueError(
        f"{folder}: YOLO's numbers need the names of their classes; "
        f"put {' or '.join(NAMES_FILES[::3])} there, or give --class-names FILE."
    )


def read_names(path: Path) -> list[str]:
    """The classes' names by number: a yaml with ``names`` (a list or a table), or text with a name a line.

    Raises:
        ValueError: there are no names in it.
        OSError: it cannot be read.
    """
    try:
        names = _yaml_names(read_text(path)) if path.suffix in (".yaml", ".yml") else read_text(path).splitlines()
    except ValueError as error:
        raise ValueError(f"{path}: {error}.") from error
    # An empty line at the end of a text is no class; elsewhere it counts.
    while names and not names[-1].strip():
        names.pop()
    if not names:
        raise ValueError(f"{path}: no names of classes in it; write one a line.")
    return [name.strip() for name in names]


def _yaml_names(text: str) -> list[str]:
    content = parse_yaml(text)
    names: Any = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict) and all(isinstance(key, int) and key < MOST_CLASSES for key in names):
        names = [names.get(index, "") for index in range(max(names, default=-1) + 1)]
    if not isinstance(names, list):
        raise ValueError(f"has no list or table 'names' by numbers below {MOST_CLASSES}")
    return [str(name) for name in names]


def read_yolo(path: Path, folder: PurePosixPath, where: str, names: Sequence[str]) -> Iterator[ImageAnnotation]:
    """Boxes (class, centre, size) and polygons (class, points) as the box around each, in fractions of the image.

    Args:
        path: the txt; the image has its name.
        folder, where: as in ImageAnnotation.
        names: of the classes, by their number.

    Raises:
        ValueError: it is no text.
        OSError: it cannot be read.
    """
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    annotation = {"image": path.stem, "folder": folder, "where": where, "normalized": True}
    try:
        yield ImageAnnotation(**annotation, shapes=tuple(_shape(words, names) for words in lines))
    except ValueError as error:
        yield ImageAnnotation(**annotation, problem=str(error))


def _shape(words: list[str], names: Sequence[str]) -> Shape:
    if not words[0].isdecimal() or int(words[0]) >= len(names):
        raise ValueError(f"class '{words[0]}' is none of the {len(names)} of the names")
    values = [number(word) for word in words[1:]]
    if len(values) == 8:
        raise ValueError("a line has four corners, a rotated box (OBB); export upright boxes")
    if len(values) == 4:
        x, y, width, height = values
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    elif len(values) >= 6 and len(values) % 2 == 0:
        box = bounding_box(list(zip(values[::2], values[1::2], strict=True)))
    else:
        raise ValueError(f"a line has {len(words)} numbers; a box has 5 (detections with a score are no annotations)")
    # Pixels in place of fractions; rounding may leave the border a little.
    if min(box) < -1 or max(box) > 2:
        raise ValueError("a coordinate is no fraction of the image; YOLO's lie between 0 and 1")
    return make_shape(names[int(words[0])], box)

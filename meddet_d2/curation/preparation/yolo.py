"""YOLO: one txt for each image, a line for each box, classes by number."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import parse_yaml, read_text
from .annotation import (
    Corners,
    ImageAnnotation,
    Shape,
    bounding_box,
    is_parallelogram,
    make_shape,
    number,
    table_of,
    upright_box,
)

# Where the names of the classes are looked for, in the folder of annotations and in the two above.
NAMES_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")
# One more in a table would need a name for each number below it.
MOST_CLASSES = 10_000
# Texts that lie beside annotations: lists of images and names, and what exporters say about themselves.
_OTHER_TEXTS = re.compile(r"(classes|labels|train|val|valid|test|notes|licen[cs]e|readme.*)\.txt", re.IGNORECASE)
# Fractions by which a corner of an upright quadrangle may be off: half a pixel of 512.
TOLERANCE = 0.001


@dataclass(frozen=True)
class Names:
    """What the file of names says.

    Attributes:
        names: of the classes, by number.
        key_points: the numbers of a line behind its box; None where it does not say.
        from_yaml: the file is one that would say it.
    """

    names: list[str]
    key_points: int | None = None
    from_yaml: bool = False


def find_names_file(folder: Path) -> Path:
    """The file with the names of the classes.

    Raises:
        ValueError: there is none.
    """
    for path in (place / name for place in (folder, *folder.absolute().parents[:2]) for name in NAMES_FILES):
        if path.is_file():
            return path
    raise ValueError(
        f"{folder}: YOLO's numbers need the names of their classes; "
        f"put {' or '.join(NAMES_FILES[::3])} there, or give --class-names FILE."
    )


def read_names(path: Path) -> Names:
    """The classes' names by number: a yaml with ``names`` (a list or a table), or text with a name a line.

    Raises:
        ValueError: there are no names in it.
        OSError: it cannot be read.
    """
    from_yaml = path.suffix in (".yaml", ".yml")
    try:
        text = read_text(path)
        names, key_points = _yaml_names(text) if from_yaml else (text.splitlines(), None)
    except ValueError as error:
        raise ValueError(f"{path}: {error}.") from error
    # An empty line at the end of a text is no class; elsewhere it counts.
    while names and not names[-1].strip():
        names.pop()
    if not names:
        raise ValueError(f"{path}: no names of classes in it; write one a line.")
    return Names([name.strip() for name in names], key_points, from_yaml)


def _yaml_names(text: str) -> tuple[list[str], int | None]:
    content = table_of(parse_yaml(text))
    names: Any = content.get("names")
    if isinstance(names, dict) and all(str(key).isdecimal() and int(key) < MOST_CLASSES for key in names):
        names = {int(key): name for key, name in names.items()}
        names = [names.get(index, "") for index in range(max(names, default=-1) + 1)]
    if not isinstance(names, list):
        raise ValueError(f"has no list or table 'names' by numbers below {MOST_CLASSES}")
    shape = content.get("kpt_shape")
    if shape is not None and not (isinstance(shape, list) and len(shape) == 2 and all(type(n) is int for n in shape)):
        raise ValueError("has a 'kpt_shape' that is not [points, 2 or 3]")
    return [str(name) for name in names], None if shape is None else shape[0] * shape[1]


def label_files(paths: Iterable[Path], names_file: Path, names: Names) -> tuple[list[Path], list[Path]]:
    """The files of labels among texts, and the others.

    Raises:
        ValueError: a line may be a box with key points, and nothing says whether it is.
    """
    labels: list[Path] = []
    others: list[Path] = []
    for path in paths:
        try:
            lines = read_text(path).splitlines()
        except (ValueError, OSError):
            labels.append(path)  # its reader says why
            continue
        # An image may be called "test", too.
        if path == names_file:
            continue
        other = _OTHER_TEXTS.fullmatch(path.name) and not any(map(_is_label, lines))
        (others if other else labels).append(path)
        if not other and names.key_points is None and any(_may_be_pose(line, names) for line in lines):
            raise ValueError(
                f"{path}: its lines may be key points (pose) or polygons; name the classes by YOLO's data.yaml, "
                "which has 'kpt_shape' if they are key points."
            )
    return labels, others


def read_yolo(path: Path, names: Names) -> Iterator[ImageAnnotation]:
    """Boxes (class, centre, size), the boxes of key points, and polygons (class, points), in fractions of the image.

    The image has the txt's name.

    Raises:
        ValueError: it is no text, or no line begins with a number.
        OSError: it cannot be read.
    """
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    if lines and all(_number(words[0]) is None for words in lines):
        raise ValueError("no line begins with the number of a class")
    yield ImageAnnotation(path.stem, tuple(_shape(words, names) for words in lines), normalized=True)


def _shape(words: list[str], names: Names) -> Shape:
    # Some tools write all numbers as floats: 1.0.
    index = _number(words[0])
    if index is None or not index.is_integer() or not 0 <= index < len(names.names):
        return Shape("", problem=f"class '{words[0]}' is none of the {len(names.names)} of the names")
    return make_shape(names.names[int(index)], lambda: _corners(words, names))


def _corners(words: list[str], names: Names) -> Corners:
    values = [number(word) for word in words[1:]]
    count = len(values)
    if names.key_points is not None and count not in (4, 4 + names.key_points):
        raise ValueError(f"a line has {len(words)} numbers; a box and its key points have {5 + names.key_points}")
    if count == 4 or names.key_points is not None:
        box = _box(values)
    elif count >= 6 and count % 2 == 0:
        points = list(zip(values[::2], values[1::2], strict=True))
        # Of four points the corners of a rotated box (OBB): its fractions are a parallelogram at any size of the image.
        rotated = count == 8 and is_parallelogram(points, TOLERANCE)
        box = upright_box(points, TOLERANCE) if rotated else bounding_box(points)
    else:
        raise ValueError(f"a line has {len(words)} numbers; a box has 5 (detections with a score are no annotations)")
    # Pixels in place of fractions; rounding may leave the border a little.
    if min(box) < -1 or max(box) > 2:
        raise ValueError("a coordinate is no fraction of the image; YOLO's lie between 0 and 1")
    return box


def _box(values: list[float]) -> Corners:
    x, y, width, height = values[:4]
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _is_label(line: str) -> bool:
    words = line.split()
    return len(words) >= 5 and all(_number(word) is not None for word in words)


def _number(word: str) -> float | None:
    try:
        return number(word)
    except ValueError:
        return None


def _may_be_pose(line: str, names: Names) -> bool:
    """Whether a line that would be read as a polygon may be a box with key points.

    A box in the image whose key points all have a visibility (0, 1 or 2) is one. Without a yaml, which would have
    'kpt_shape', so is one that holds all its key points and is hardly larger than the polygon: of a true polygon the
    second corner is no size, and the "box" is large.
    """
    if not _is_label(line) or len(line.split()) < 7:
        return False
    values = [number(word) for word in line.split()[1:]]
    left, top, right, bottom = box = _box(values)
    if len(values) % 2 or min(box) < -TOLERANCE or max(box) > 1 + TOLERANCE or min(values[2:4]) <= 0:
        return False
    if len(values) % 3 == 1 and all(value in (0, 1, 2) for value in values[6::3]):
        return True
    points = list(zip(values[::2], values[1::2], strict=True))
    # 0, 0 stands for a key point that is not there.
    inside = all(left <= x <= right and top <= y <= bottom for x, y in points[2:] if x or y)
    polygon = bounding_box(points)
    area = (polygon[2] - polygon[0]) * (polygon[3] - polygon[1])
    return not names.from_yaml and inside and (right - left) * (bottom - top) < 2 * area

"""Checks of a landmark set's json, made with those of layout/validate.py when it is loaded.

A json is a landmark set's if an annotation of it has "landmarks"; then all have, one for each image.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from .landmarks import LandmarkNames, is_inside
from .validate import TOLERANCE, Mistake, is_finite, is_integer, is_size, name_mistake

VISIBILITIES = (0, 1, 2)
# The sizes of two images' pixels in one set differ by less than this, or one of them is in another unit.
UNITS = 10


def has_landmarks(content: dict[str, Any]) -> bool:
    """Whether what `read_json` returned is a landmark set."""
    return any("landmarks" in annotation for annotation in content["annotations"])


def names_in(categories: Sequence[Any]) -> LandmarkNames | None:
    """The landmarks that a json's categories declare; None where they declare none that can be used."""
    if len(categories) != 1 or not isinstance(categories[0], dict) or _category_mistake(categories[0]) is not None:
        return None
    return LandmarkNames.from_category(categories[0])


def landmark_mistakes(content: dict[str, Any], declared: LandmarkNames | None = None) -> Iterator[Mistake]:
    """All mistakes of the landmarks in what `read_json` returned; none in a data set of boxes.

    Args:
        declared: the landmarks that it must have; those of its category if None.
    """
    if declared is None and not has_landmarks(content):
        return
    names = names_in(content["categories"])
    if names is None:
        yield Mistake("landmark-names", _categories_mistake(content["categories"]))
        return
    if declared is not None and (difference := names.difference(declared)):
        text = f"{difference}, in the landmarks that this data set must have; register yours under another name."
        yield Mistake("landmark-names", text)
        return
    images: dict[Any, dict] = {image["id"]: image for image in content["images"] if is_integer(image.get("id"))}
    owned = [one for one in content["annotations"] if isinstance(one.get("image_id", []), Hashable)]
    for annotation in owned:
        image = images.get(annotation["image_id"])
        if image is None:
            continue
        mistakes = chain(_annotation_mistakes(annotation, image, names.names), _structure_mistakes(annotation, names))
        for kind, text in mistakes:
            where = f"annotation {annotation.get('id')} of {image.get('file_name')}"
            yield Mistake(kind, f"{where} {text}", image, annotation)
    owners = Counter(annotation["image_id"] for annotation in owned)
    for number, image in images.items():
        if (count := owners[number]) != 1:
            text = f"image {image.get('file_name')} has {count or 'no'} annotations; give each image of landmarks one"
            yield Mistake("landmark-count", f"{text}, with v = 0 for what cannot be seen, or drop its record.", image)
    yield from _spacing_mistakes(content["images"])


def _categories_mistake(categories: Sequence[dict]) -> str:
    if len(categories) != 1:
        return f"it lists {len(categories)} categories; a landmark set has one, with the names as its 'keypoints'."
    return f"the category {categories[0].get('name')!r} {_category_mistake(categories[0])}"


def _category_mistake(category: dict) -> str | None:
    """What is wrong with the landmarks of a category, as the end of a sentence; None where all is well."""
    names = category.get("keypoints")
    if not isinstance(names, list) or not names:
        return "has no list 'keypoints' with the names of its landmarks; add it."
    for number, name in enumerate(names, start=1):
        wrong = name_mistake(name)
        if wrong is None and name in names[: number - 1]:
            wrong = f"is the name of landmark {names.index(name) + 1} as well"
        if wrong is not None:
            return f"has {name!r} as the name of landmark {number}, which {wrong}; give each landmark its own."
    parts = category.get("structures", [])
    if not isinstance(parts, list) or any(map(name_mistake, parts)) or len(set(parts)) < len(parts):
        return f"has structures {parts!r}; give a list of different names, or leave it out."
    skeleton = category.get("skeleton", [])
    numbers = range(1, len(names) + 1)
    if not _are_pairs(skeleton) or not all(is_integer(end) and end in numbers for end in chain(*skeleton)):
        return f"has a skeleton that is not pairs of numbers from 1 to {len(names)}; correct it, or leave it out."
    pairs = category.get("flip_pairs")
    if pairs is None:
        return None
    if not _are_pairs(pairs) or not all(isinstance(name, str) and name in names for name in chain(*pairs)):
        return "has flip_pairs that are not pairs of its keypoints' names; correct them ([]: nothing is exchanged)."
    twice = [name for name, count in Counter(chain(*pairs)).items() if count > 1]
    return f"has {twice[0]!r} in flip_pairs twice; a mirror exchanges it with one other." if twice else None


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value)


def _annotation_mistakes(annotation: dict, image: dict, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Kinds of mistakes, and texts without the annotation."""
    values = annotation.get("landmarks")
    if not isinstance(values, list):
        yield "landmarks", f"has no list 'landmarks'; give x, y, v for each of the {len(names)} keypoints."
        return
    if len(values) != 3 * len(names):
        text = f"has {len(values)} numbers in landmarks; {len(names)} keypoints need {3 * len(names)}: x, y, v of each."
        yield "landmarks", text
        return
    points = list(zip(values[0::3], values[1::3], values[2::3], strict=True))
    for name, (x, y, v) in zip(names, points, strict=True):
        if not all(map(is_finite, (x, y, v))) or v not in VISIBILITIES:
            yield "landmarks", f"has {name!r} at {[x, y, v]!r}; give two finite numbers and a v of 0, 1 or 2."
            return
    seen = [(x, y) for x, y, v in points if v > 0]
    if not seen:
        yield "landmarks", "has no labelled landmark (v = 0 in all); label one, or drop its record."
    elif len(seen) > 1 and all(max(point) <= 1 for point in seen):
        yield "landmarks", "has all landmarks in the first pixel; are these fractions? Give pixels."
    if is_size(image.get("width")) and is_size(image.get("height")):
        yield from _outside(zip(names, points, strict=True), image["width"], image["height"])
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_finite, box)) or min(box[2:]) < 0:
        yield "box-malformed", f"has bbox {box!r}; give [x, y, width, height] around the labelled landmarks."


def _structure_mistakes(annotation: dict, names: LandmarkNames) -> Iterator[tuple[str, str]]:
    """Where there are none, nobody knows them; an empty list says that the image shows none of them."""
    parts = annotation.get("structures")
    if parts is None:
        return
    if not isinstance(parts, list) or len(parts) != len(names.structures):
        yield "structures", f"has structures that are not a list of polygons for each of {list(names.structures)}."
        return
    for name, polygons in zip(names.structures, parts, strict=True):
        if not isinstance(polygons, list) or not all(map(_is_polygon, polygons)):
            yield "structures", f"has a {name!r} that is not polygons [x, y, x, y, ...] of three finite points or more."


def _is_polygon(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0 and all(map(is_finite, value))


def _outside(points: Iterable[tuple[str, tuple]], width: int, height: int) -> Iterator[tuple[str, str]]:
    for name, (x, y, v) in points:
        near = min(max(x, 0), width), min(max(y, 0), height)
        if v > 0 and not is_inside(x, y, width, height) and max(abs(x - near[0]), abs(y - near[1])) > TOLERANCE:
            text = f"has {name!r} at ({x:g}, {y:g}), outside its image of {width} x {height}; correct it, or set v = 0."
            yield "landmark-outside", text


def _spacing_mistakes(images: Sequence[dict]) -> Iterator[Mistake]:
    """A set in millimetres and in pixels at once has no mean error."""
    known: dict[bool, dict] = {}
    sizes: dict[float, dict] = {}
    for image in images:
        spacing = image.get("spacing")
        known.setdefault(spacing is not None, image)
        sound = isinstance(spacing, list) and len(spacing) == 2 and all(map(is_finite, spacing)) and min(spacing) > 0
        if spacing is not None and not sound:
            text = f"image {image.get('file_name')} has spacing {spacing!r}; give millimetres of a row and of a column."
            yield Mistake("landmark-spacing", text, image)
        elif spacing is not None:
            sizes.setdefault(spacing[0], image)
    if sizes and max(sizes) >= UNITS * min(sizes):
        (small, one), (large, other) = ((size, sizes[size]) for size in (min(sizes), max(sizes)))
        text = (
            f"image {one.get('file_name')} has a spacing of {small:g} and image {other.get('file_name')} one of "
            f"{large:g}; are these two units? Give all of them in millimetres."
        )
        yield Mistake("landmark-spacing", text, other)
    if len(known) == 2:
        text = (
            f"image {known[True].get('file_name')} has a spacing and image {known[False].get('file_name')} has none; "
            "errors in millimetres and in pixels are never mixed: give all images one, or none."
        )
        yield Mistake("landmark-spacing", text, known[False])

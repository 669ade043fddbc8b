"""Anatomical landmarks of a data set: their names, and one image's points as a COCO json holds them.

Shapes and units in this module
    K: landmarks of the data set, each with a name
    x, y: pixels of the stored image, continuous: the middle of its first pixel is (0.5, 0.5)
    v: 2 visible, 1 labelled but hidden, 0 not labelled (then x = y = 0), as COCO has it
    S: structures of the data set, each with a name and, in an image, polygons [x, y, x, y, ...] around its parts
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# x, y, v
Point = tuple[float, float, int]
NOT_LABELLED: Point = (0.0, 0.0, 0)
# Decimals of a coordinate in a json: far below what any network or reader can tell.
DIGITS = 4


@dataclass(frozen=True)
class LandmarkNames:
    """The landmarks of a data set.

    Attributes:
        thing: what they lie on, in one word: the name of the json's one category.
        names: K different names, in the order of the points.
        skeleton: pairs of names that a picture connects.
        flip_pairs: pairs of names that a mirrored image exchanges. () where a mirrored image keeps all names; None
            where nobody has said it, so that no image may be mirrored.
        structures: S names of what has outlines, such as discs; most sets have none.
    """

    thing: str
    names: tuple[str, ...]
    skeleton: tuple[tuple[str, str], ...] = ()
    flip_pairs: tuple[tuple[str, str], ...] | None = None
    structures: tuple[str, ...] = ()

    @classmethod
    def from_category(cls, category: Mapping[str, Any]) -> "LandmarkNames":
        """Of a json's category without mistakes (see layout/landmark_checks.py)."""
        names = tuple(category["keypoints"])
        skeleton = tuple((names[one - 1], names[other - 1]) for one, other in category.get("skeleton", ()))
        pairs = category.get("flip_pairs")
        flip_pairs = None if pairs is None else tuple((one, other) for one, other in pairs)
        return cls(category["name"], names, skeleton, flip_pairs, tuple(category.get("structures", ())))

    def category(self) -> dict[str, Any]:
        """The json's category."""
        numbers = {name: number for number, name in enumerate(self.names, start=1)}
        found: dict[str, Any] = {"id": 1, "name": self.thing, "keypoints": list(self.names)}
        if self.skeleton:
            found["skeleton"] = [[numbers[one], numbers[other]] for one, other in self.skeleton]
        if self.flip_pairs is not None:
            found["flip_pairs"] = [list(pair) for pair in self.flip_pairs]
        return {**found, "structures": list(self.structures)} if self.structures else found

    def difference(self, other: "LandmarkNames") -> str | None:
        """What differs in the names of two sets, as the end of a sentence; None where they are the same."""
        if len(self.names) != len(other.names):
            return f"{len(self.names)} landmarks here and {len(other.names)} there"
        if self.structures and other.structures and self.structures != other.structures:
            return f"structures {list(self.structures)} here and {list(other.structures)} there"
        pairs = enumerate(zip(self.names, other.names, strict=True), start=1)
        return next((f"landmark {n} is {one!r} here and {two!r} there" for n, (one, two) in pairs if one != two), None)


def labelled(points: Iterable[Sequence[float]]) -> list[tuple[float, float]]:
    """(x, y) of the points with v > 0."""
    return [(x, y) for x, y, v in points if v > 0]


def hull(points: Iterable[Sequence[float]]) -> tuple[float, float, float, float]:
    """The box (x, y, width, height) around the labelled points, of which there is at least one."""
    xs, ys = zip(*labelled(points), strict=True)
    sides = max(xs) - min(xs), max(ys) - min(ys)
    return min(xs), min(ys), round(sides[0], DIGITS), round(sides[1], DIGITS)


def kept_inside(points: Iterable[tuple[float, float]], width: float, height: float) -> tuple[Point, ...]:
    """Points (x, y) as visible ones, rounded; what lies outside an image of this size is not labelled."""
    rounded = ((round(float(x), DIGITS), round(float(y), DIGITS)) for x, y in points)
    return tuple((x, y, 2) if is_inside(x, y, width, height) else NOT_LABELLED for x, y in rounded)


def is_inside(x: float, y: float, width: float, height: float) -> bool:
    """Whether a point lies in an image; on its border, too."""
    return 0.0 <= x <= width and 0.0 <= y <= height

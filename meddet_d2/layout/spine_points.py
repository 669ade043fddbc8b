"""Points of the spine by what they are: corners of vertebrae and centres of discs, found by the landmarks' names.

A corner is called "L4 bottom back", or as layout/csxa_names.py has it: "C4 bottom right", where left is the front. That
holds for C2 to C7 alone, because sets of frontal X-rays call the patient's own sides left and right. A disc is called
by its level, with or without "disc" ("C5/6 disc").

Shapes and units in this module
    K: landmarks of the set
    x, y: pixels of the stored image, continuous; NaN where a landmark was not found or is not labelled
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from .csxa_names import CSXA_NAMES
from .levels import DISCS, VERTEBRAE, find_level, without_level

# The vertebrae above and below each disc.
NEIGHBOURS = dict(zip(DISCS, pairwise(VERTEBRAE), strict=True))
# Those whose left is the front.
_CSXA = frozenset(name.split(" ")[0] for name in CSXA_NAMES)
# What a name may say besides the level.
_DISC_WORDS = ("", "disc", "disc centre", "disc center")


class SpinePoints:
    """The points of one image.

    Attributes:
        vertebrae: those of which the set has a corner, found or not, from the head down.

    Args:
        names: K, of the landmarks.
        points: (K, 2), x and y.

    Raises:
        ValueError: there are not as many points as names.
    """

    def __init__(self, names: Sequence[str], points: np.ndarray) -> None:
        if np.shape(points) != (len(names), 2):
            raise ValueError(f"{len(names)} landmark names and points of shape {np.shape(points)}; give each its x, y.")
        self._points = {name: np.asarray(point, np.float64) for name, point in zip(names, points, strict=True)}
        corners = {name for vertebra in VERTEBRAE for end in ("top", "bottom") for name in corner_names(vertebra, end)}
        owners = {name.split(" ")[0] for name in corners & self._points.keys()}
        self.vertebrae = tuple(name for name in VERTEBRAE if name in owners)

    def endplate(self, vertebra: str, end: str) -> np.ndarray:
        """(2, 2): the front and the back corner of the "top" or the "bottom" of a vertebra; NaN for what is missing."""
        names = corner_names(vertebra, end)
        known = [self._points.get(name, np.full(2, np.nan)) for name in names]
        # The same two in CSXA's words, where the first two are not there.
        first = 2 if len(known) > 2 and not set(names[:2]) & self._points.keys() else 0
        return np.array(known[first : first + 2])

    def disc_centres(self) -> dict[str, np.ndarray]:
        """(2,) by the level, from the head down, of the discs whose centre is known.

        A disc whose centre is no landmark of the set has the middle of the four corners around it.

        Raises:
            ValueError: two landmarks are the centre of one disc.
        """
        named, found = disc_names(tuple(self._points)), {}
        for level, (above, below) in NEIGHBOURS.items():
            name = named.get(level)
            corners = np.concatenate([self.endplate(above, "bottom"), self.endplate(below, "top")])
            centre = corners.mean(axis=0) if name is None else self._points[name]
            if np.isfinite(centre).all():
                found[level] = centre
        return found


def corner_names(vertebra: str, end: str) -> tuple[str, ...]:
    """What the front and the back corner of a vertebra's "top" or "bottom" may be called; CSXA's words come last."""
    sides = ("front", "back", "left", "right") if vertebra in _CSXA else ("front", "back")
    return tuple(f"{vertebra} {end} {side}" for side in sides)


def disc_names(names: Sequence[str]) -> dict[str, str]:
    """Landmarks that are a disc's centre, by its level.

    Raises:
        ValueError: two of them are the centre of one disc.
    """
    found: dict[str, str] = {}
    for name in names:
        level = find_level(name)
        if level is None or without_level(name).lower() not in _DISC_WORDS:
            continue
        if level in found:
            raise ValueError(f"Landmarks {found[level]!r} and {name!r} are both the disc {level}; leave one out.")
        found[level] = name
    return found


def levels_in(names: Sequence[str]) -> tuple[str, ...]:
    """The levels whose disc centre a set with these names can give, from the head down."""
    return tuple(SpinePoints(names, np.zeros((len(names), 2))).disc_centres())


def in_millimetres(points: np.ndarray, spacing: Sequence[float] | None) -> np.ndarray:
    """Points (..., 2) in mm, by ``spacing`` [row, column] in mm of a pixel; as they are where it is None."""
    return np.asarray(points, np.float64) * (1.0 if spacing is None else np.array([spacing[1], spacing[0]]))


def without_weak(points: np.ndarray, least: float) -> np.ndarray:
    """(K, 2) of predicted landmarks (K, 3), x, y and score; NaN for those whose score is below ``least`` or NaN."""
    points = np.asarray(points, np.float64)
    return np.where(points[:, 2:] >= least, points[:, :2], np.nan)


def point_array(points: Mapping[str, Sequence[float]], names: Sequence[str]) -> np.ndarray:
    """(K, 2) out of x and y by name; NaN for names that are not there."""
    return np.array([points.get(name, (np.nan, np.nan)) for name in names], np.float64).reshape(-1, 2)

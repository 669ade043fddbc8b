"""The level of each disc on an image, "C5/6", from the nearest disc centre that a landmark network has found.

A wrong level sends a surgeon to the wrong disc, so what is not sure is not known: a disc too far from every centre, the
farther of two discs at one level, and centres that do not follow each other as discs do.

Shapes and units in this module
    D: discs of an image
    x, y: pixels of the image, continuous
    spacing: [row, column], millimetres of a pixel
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .levels import DISCS
from .spine_points import in_millimetres

# The farthest that a disc's middle may lie from its centre: neighbouring discs of a neck are 15 to 22 mm apart, and
# less than half of that can be no other disc. Nor more than a share of the image's median step, with and without mm.
LIMIT_MM, LIMIT_SHARE_MM, LIMIT_SHARE_PX = 8.0, 0.5, 0.4
# The step from disc to disc as a multiple of the image's median; beyond it one of the two centres is on another disc.
STEPS = (0.6, 1.6)
NO_CENTRE = "no disc centre was found, so no disc has a level"


@dataclass(frozen=True)
class DiscLevels:
    """What is known of the discs of an image.

    Attributes:
        names: D levels, None where it is not known. No level is there twice.
        distances: D distances to the nearest centre that is used, in "unit"; NaN where there is none.
        unit: "mm", or "px" where the image has no spacing.
        remarks: a line for each thing that keeps a level from being known.
    """

    names: tuple[str | None, ...]
    distances: tuple[float, ...]
    unit: str
    remarks: tuple[str, ...]


def levels_of(
    middles: np.ndarray, centres: Mapping[str, np.ndarray], spacing: Sequence[float] | None = None
) -> DiscLevels:
    """Give each disc the level of the nearest centre.

    Of two discs at one level the nearer has it; the other is not known, and does not take the next level.

    Args:
        middles: (D, 2), x and y of the middles of the discs' boxes, counted from the top.
        centres: x and y by level, from the head down, as ``SpinePoints.disc_centres`` gives them.
        spacing: of the image; None where it is not known.
    """
    unit = "px" if spacing is None else "mm"
    middles = in_millimetres(np.reshape(middles, (-1, 2)), spacing)
    places, remarks = _in_order({level: in_millimetres(centre, spacing) for level, centre in centres.items()})
    count = len(middles)
    limit = _limit(places, unit)
    if limit is None:
        remarks.append("one disc centre and no spacing: how near is near enough is not known, so no disc has a level")
        places = {}
    elif not places and not remarks:
        remarks.append(NO_CENTRE)
    if not places or limit is None:
        return DiscLevels((None,) * count, (np.nan,) * count, unit, tuple(remarks))
    apart = np.linalg.norm(middles[:, None] - np.array(list(places.values())), axis=2)
    nearest, distances, levels = apart.argmin(axis=1), apart.min(axis=1), list(places)
    names: list[str | None] = [None] * count
    for disc in np.argsort(distances, kind="stable").tolist():
        level = levels[nearest[disc]]
        if distances[disc] > limit:
            remarks.append(f"disc {disc + 1} has no level: no disc centre within {limit:.1f} {unit}")
        elif level in names:
            remarks.append(f"disc {disc + 1} has no level: disc {names.index(level) + 1} is nearer to {level}")
        else:
            names[disc] = level
    return DiscLevels(tuple(names), tuple(distances.tolist()), unit, tuple(remarks))


def _limit(places: Mapping[str, np.ndarray], unit: str) -> float | None:
    """The greatest distance of a disc from its centre; None where nothing says it."""
    steps = list(_steps(places).values())
    if unit == "mm":
        return min([LIMIT_MM, *([LIMIT_SHARE_MM * float(np.median(steps))] if steps else [])])
    return LIMIT_SHARE_PX * float(np.median(steps)) if steps else None if places else 0.0


def _in_order(places: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """The centres that follow each other as discs do, and a remark on each that does not.

    A centre with a false step on both sides is left out. Where two longer rows of centres contradict each other, one of
    them is wrong by a level and nothing says which: then all are left out.
    """
    kept = dict(places)
    remarks: list[str] = []
    while len(kept) > 2:
        steps = _steps(kept)
        median = np.median(list(steps.values()))
        rows = [[next(iter(kept))]]
        for (_, level), step in steps.items():
            if STEPS[0] * median <= step <= STEPS[1] * median:
                rows[-1].append(level)
            else:
                rows.append([level])
        if len(rows) == 1:
            break
        alone = [row[0] for row in rows if len(row) == 1]
        if not alone:
            between = " and ".join(f"{above[-1]} to {below[0]}" for above, below in pairwise(rows))
            return {}, [*remarks, f"the disc centres skip or repeat a disc from {between}, so no disc has a level"]
        for level in alone:
            del kept[level]
            remarks.append(f"the disc centre {level} does not follow its neighbours as discs do; it is not used")
    return kept, remarks


def _steps(places: Mapping[str, np.ndarray]) -> dict[tuple[str, str], float]:
    """The way from each known centre down to the next, for one level, by the two levels; {} with fewer than two."""
    if len(places) < 2:
        return {}
    points = np.array(list(places.values()))
    numbers = np.array([DISCS.index(level) for level in places])
    # The direction in which levels rise over the image, which one false centre cannot turn round.
    line = (numbers - numbers.mean()) @ (points - points.mean(axis=0))
    along = points @ line / max(float(np.linalg.norm(line)), 1e-9)
    steps = np.diff(along) / np.diff(numbers)
    return dict(zip(pairwise(places), steps.tolist(), strict=True))

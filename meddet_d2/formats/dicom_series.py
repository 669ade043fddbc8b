"""Frames of DICOM files to series, and which slice of a series is its middle."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .dicom_groups import Geometry

# Directions of one series differ by no more than this in any of their six numbers: scanners round them.
SAME_DIRECTION = 0.01
# Millimetres. Nearer than this, two slices are one, taken twice: an echo, a moment, a repeat.
SAME_POSITION = 0.05


@dataclass(frozen=True)
class Frame:
    """A frame that has not been decoded. Its identity is the file's own: it does not leave this package."""

    path: Path
    index: int  # from 0
    count: int  # frames of the file
    series: tuple = field(repr=False)  # frames of one series and size have the same
    # Study and number of the series: slices of one have the same, even where each names another series.
    study: tuple = field(repr=False)
    patient: str | None = field(repr=False)
    instance: str | None = field(repr=False)
    number: float | None
    geometry: Geometry
    tags: dict[str, str | float | int]
    warnings: tuple[str, ...]


def copy_key(frames: list[Frame]) -> tuple | None:
    """What copies of a file have the same, by its header; None where it has no identifier."""
    first = frames[0]
    return (first.series, first.instance, first.number, first.geometry) if first.instance else None


def series_of(frames: list[Frame]) -> list[list[Frame]]:
    """Frames by series, size and direction. Each group, and the groups by their first frames, in the order given."""
    order = {(frame.path, frame.index): place for place, frame in enumerate(frames)}
    groups = _grouped(frames, lambda frame: frame.series)
    single = [group[0] for group in groups if len(group) == 1 and group[0].geometry.corner is not None]
    for stack in _grouped(single, lambda frame: (frame.patient, frame.geometry.spacing, sorted(frame.tags.items()))):
        levels, remark = _levels(stack)
        if remark is not None or not 3 <= len(stack) == len(levels):
            continue
        found = {(frame.path, frame.index) for frame in stack}
        groups = [group for group in groups if (group[0].path, group[0].index) not in found]
        if len({frame.study for frame in stack}) == 1:
            remark = f"each of {len(stack)} slices names another series; by their positions they were taken as one"
            groups.append([_with_remark(frame, remark) for frame in stack])
        else:
            remark = f"it is one of {len(stack)} series of one slice each, which may be one series in parts"
            groups += [[_with_remark(frame, remark)] for frame in stack]
    return sorted(groups, key=lambda group: order[group[0].path, group[0].index])


def in_order(frames: list[Frame]) -> list[Frame]:
    """The frames of a series by position, or by instance number, or by name; see `_levels`."""
    return [frame for level in _levels(frames)[0] for frame in level]


def middle_first(frames: list[Frame]) -> list[Frame]:
    """All of a series, the middle one first and then its neighbours by their distance from it.

    Each position counts once, however many frames there are at it. A remark says where that, or the lack of positions,
    decided which frame is first.
    """
    levels, remark = _levels(frames)
    middle = len(levels) // 2
    found = []
    for index in sorted(range(len(levels)), key=lambda index: abs(index - middle)):
        several = f"the first of {len(levels[index])} images at its position was used"
        remarks = [remark] if remark else [several] if len(levels[index]) > 1 else []
        found += [_with_remark(frame, *remarks) for frame in levels[index]]
    return found


def _levels(frames: list[Frame]) -> tuple[list[list[Frame]], str | None]:
    """The frames of a series by their place in it, those at one place together; and a remark where that is no position.

    Without a position of every frame, or with one for all of them, the instance numbers count. Where these are missing
    or all the same, the names of the files do, of which a9 comes before a10.
    """
    frames = sorted(frames, key=lambda frame: (_natural(frame.path), frame.index))
    numbers = {frame.number for frame in frames}
    numbered = None not in numbers and len(numbers) > 1
    if numbered:
        frames.sort(key=lambda frame: (frame.number or 0.0, frame.index))
    normal = frames[0].geometry.normal
    corners = [frame.geometry.corner for frame in frames]
    why = "the position is not stated"
    if normal is not None and None not in corners:
        # Along one direction for all: rounded ones would move a slice that lies far from the origin.
        places = np.array(corners) @ normal
        order = np.argsort(places, kind="stable")
        levels: list[list[int]] = []
        for place, step in zip(order, np.diff(places[order], prepend=-np.inf), strict=True):
            if step > SAME_POSITION:
                levels.append([])
            levels[-1].append(place)
        if len(levels) > 1 or len(frames) == 1:
            return [[frames[place] for place in sorted(level)] for level in levels], None
        why = f"all of its {len(frames)} images state one position"
    several_files = len({frame.path for frame in frames}) > 1
    by = "instance number" if numbered else "the names of the files" if several_files else "their order in the file"
    remark = f"{why}, so the middle was counted by {by}"
    return [[frame] for frame in frames], remark if len(frames) > 1 else None


def _grouped(frames: list[Frame], key: Callable[[Frame], object]) -> list[list[Frame]]:
    """Frames with one key and one direction, each group in the order given."""
    groups: dict[object, list[list[Frame]]] = {}
    for frame in frames:
        alike = groups.setdefault(repr(key(frame)), [])
        for group in alike:
            if _parallel(group[0].geometry, frame.geometry):
                group.append(frame)
                break
        else:
            alike.append([frame])
    return [group for alike in groups.values() for group in alike]


def _parallel(one: Geometry, other: Geometry) -> bool:
    if one.orientation is None or other.orientation is None:
        return one.orientation is other.orientation
    return bool(np.abs(np.subtract(one.orientation, other.orientation)).max() <= SAME_DIRECTION)


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts a9 before a10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _with_remark(frame: Frame, *remarks: str) -> Frame:
    return replace(frame, warnings=(*frame.warnings, *remarks))

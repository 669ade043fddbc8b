"""Disc levels by name: C2/3 ... C7/T1 ... L5/S1, in the order of the body."""

import re

# The lowest vertebra of each part of the spine; the sacrum counts as one.
_LAST = {"C": 7, "T": 12, "L": 5, "S": 1}
_VERTEBRAE = [f"{part}{number}" for part, last in _LAST.items() for number in range(1, last + 1)]
_FORM = re.compile(r"(C|TH?|D|L)(\d{1,2})\s*[/-]\s*(C|TH?|D|L|S)?(\d{1,2})")


def level_index(level: str) -> int | None:
    """A disc's place counted from the head, the same for C7/T1, c7-t1 and C7/Th1; None where it is no level.

    Args:
        level: the vertebra above and the one below, whose letter may be left out where it is the same. D and Th are T.
    """
    form = _FORM.fullmatch(level.strip().upper())
    if form is None:
        return None
    part, number, part_below, number_below = form.groups()
    part = _part(part)
    above = f"{part}{int(number)}"
    below = f"{_part(part_below) if part_below else part}{int(number_below)}"
    if above not in _VERTEBRAE or below not in _VERTEBRAE:
        return None
    index = _VERTEBRAE.index(above)
    return index if _VERTEBRAE.index(below) == index + 1 else None


def level_name(index: int) -> str:
    """A level as this project writes it: C5/6, C7/T1."""
    above, below = _VERTEBRAE[index], _VERTEBRAE[index + 1]
    return f"{above}/{below if below[0] != above[0] else below[1:]}"


def _part(letters: str) -> str:
    return "T" if letters in ("TH", "D") else letters

"""Names of discs, "C5/6" or "C7/T1", out of the many ways in which readers write them."""

import re
from itertools import pairwise

VERTEBRAE = (
    *(f"C{number}" for number in range(2, 8)),
    *(f"T{number}" for number in range(1, 13)),
    *(f"L{number}" for number in range(1, 6)),
    "S1",
)
# How the letter of a region is written: Th and D (dorsal) are thoracic as well.
_LETTERS = {"C": "C", "T": "(?:TH|T|D)", "L": "L", "S": "S"}


def _pattern(upper: str, lower: str) -> re.Pattern:
    # The letter of the lower vertebra may be missing, and so may what stands between: C56, L5S1.
    one, two = _LETTERS[upper[0]] + " ?0?" + upper[1:], f"(?:{_LETTERS[lower[0]]})?" + " ?0?" + lower[1:]
    return re.compile(rf"(?<![A-Za-z0-9]){one}[ _/\\.|–-]*{two}(?![0-9])", re.IGNORECASE)


# C5 and C6 give "C5/6", C7 and T1 give "C7/T1".
_PATTERNS = {f"{one}/{two.removeprefix(one[0])}": _pattern(one, two) for one, two in pairwise(VERTEBRAE)}
# From C2/3, the uppermost disc there is, down to L5/S1.
DISCS = tuple(_PATTERNS)
_TWELFTH = re.compile(_LETTERS["T"] + " ?12", re.IGNORECASE)


def find_level(text: str, *, whole: bool = False) -> str | None:
    """The disc that a text names: "protrusion C5-C6", "c5_6", "C56" and "C 5/6" are all "C5/6".

    Args:
        text: a label or an attribute's value.
        whole: the text must be nothing else than the level.

    Returns:
        One of DISCS; None where no disc, several, or two vertebrae that are no neighbours are named.
    """
    found = _search(text)
    if found is None or (whole and found[1].group() != text.strip()):
        return None
    return found[0]


def level_index(text: str) -> int | None:
    """The place of the disc that a text is the name of, counted from the head; None where it is no disc's name."""
    disc = find_level(text, whole=True)
    return None if disc is None else DISCS.index(disc)


def without_level(text: str) -> str:
    """The text without the level in it and the separators around it: "C5/6_protrusion" is "protrusion"."""
    found = _search(text)
    parts = [text] if found is None else [text[: found[1].start()], text[found[1].end() :]]
    left = " ".join(filter(None, (part.strip(" _:,;()-") for part in parts)))
    # Brackets that were not around the level.
    opened = left.count("(") - left.count(")")
    return "(" * -opened + left + ")" * opened


def _search(text: str) -> tuple[str, re.Match] | None:
    found = [(name, match) for name, pattern in _PATTERNS.items() for match in pattern.finditer(text)]
    # "T12" is a vertebra, not the disc T1/2; in "T12-L1" the longer name is meant.
    found = [(name, match) for name, match in found if not _TWELFTH.fullmatch(match.group())]
    best = max(found, key=lambda pair: len(pair[1].group()), default=None)
    if best and any(match.start() >= best[1].end() or match.end() <= best[1].start() for _, match in found):
        return None
    return best

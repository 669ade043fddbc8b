"""Discs by their level in the spine, where the ground truth names it.

Detections name no level, so there is no false box of a level and no average precision: only what was found.
"""

import numpy as np

from meddet_d2.layout.levels import DISCS, find_level

from .matching import Matches

UNNAMED, UNKNOWN = "not named", "another name"


def level_name(text: str | None) -> str:
    """A level as this project writes it ("C5/6", "C7/T1", "L5/S1"), UNNAMED for None, UNKNOWN for anything else.

    Nothing but the names of DISCS gets from a file of annotations to a page.
    """
    if text is None or not str(text).strip():
        return UNNAMED
    return find_level(str(text), whole=True) or UNKNOWN


def by_level(agnostic: Matches, findings: Matches, threshold: float) -> list[dict]:
    """What was found at each level, from the head down; levels without a disc are left out.

    Args:
        agnostic: matches of all classes at once.
        findings: matches of the findings' classes.
        threshold: the operating point.

    Returns:
        [{"level", "discs", "discs_found", "class_right", "lesions", "lesions_found"}]: discs found by a box of any
        class, those whose box has the right class, and findings ("lesions") found by a box of a finding. Empty
        where the ground truth names no level at all.
    """
    names = np.array([level_name(level) for level in agnostic.truth_level], dtype=object)
    lesions = np.array([level_name(level) for level in findings.truth_level], dtype=object)
    found = agnostic.found(threshold)
    right = found.copy()
    kept = agnostic.hit & (agnostic.score >= threshold)
    right[agnostic.truth[kept]] = agnostic.label[kept] == agnostic.truth_label[agnostic.truth[kept]]
    columns = {
        "discs": names,
        "discs_found": names[found],
        "class_right": names[right],
        "lesions": lesions,
        "lesions_found": lesions[findings.found(threshold)],
    }
    rows = [
        {"level": level, **{key: int((column == level).sum()) for key, column in columns.items()}}
        for level in (*DISCS, UNKNOWN, UNNAMED)
        if level in names
    ]
    return rows if any(row["level"] != UNNAMED for row in rows) else []

"""Levels of annotated discs from landmarks, where the annotations of a test set of boxes name none."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from meddet_d2.layout.disc_levels import levels_of
from meddet_d2.layout.spine_points import SpinePoints, levels_in
from meddet_d2.layout.validate import read_json

from ..clinical.cases import Case
from ..clinical.study import Study
from .landmark_truth import LandmarkTruth, truth_of_json


def levels_by_landmarks(study: Study, json_file: Path) -> Study:
    """The study with the level of the nearest disc centre for each annotated box; None where none is near enough.

    Args:
        study: of boxes, none of which has a level.
        json_file: a landmark set's json that has the study's images, by their files' names without suffix.

    Raises:
        FileNotFoundError, ValueError: the file cannot be read or has no disc's centre; it has an image of another size,
            or none of the study's images; or the annotations name levels themselves. One line.
    """
    if any(level is not None for case in study.cases for level in case.levels):
        raise ValueError("--levels: the annotations of the test set name levels themselves; leave it out.")
    try:
        truth = truth_of_json(read_json(json_file))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"--levels: {json_file} is no json of landmarks ({error}).") from error
    if not levels_in(truth.names):
        raise ValueError(f"--levels: {json_file} has no disc's centre; names such as 'C5/6 disc' are needed.")
    rows = {Path(name).stem: row for row, name in enumerate(truth.files)}
    cases = []
    for case, picture in zip(study.cases, study.pictures, strict=True):
        row = rows.get(picture.path.stem)
        if row is not None and truth.sizes[row] != (picture.height, picture.width):
            raise ValueError(f"--levels: {json_file} has image {case.number} of the test set with another size.")
        cases.append(case if row is None else replace(case, levels=_levels(case, truth, row)))
    if not rows.keys() & {picture.path.stem for picture in study.pictures}:
        raise ValueError(f"--levels: {json_file} has none of the test set's images; their names must be the same.")
    return replace(study, cases=cases)


def _levels(case: Case, truth: LandmarkTruth, row: int) -> tuple[str | None, ...]:
    """Of each box of a case; crowd boxes are no discs."""
    discs = np.flatnonzero(~case.crowd).tolist()
    middles = case.boxes[discs, :2] + 0.5 * case.boxes[discs, 2:]
    spacing = None if truth.spacing is None else truth.spacing[row].tolist()
    found = levels_of(middles, SpinePoints(truth.names, truth.points[row]).disc_centres(), spacing)
    levels = dict(zip(discs, found.names, strict=True))
    return tuple(levels.get(index) for index in range(len(case.boxes)))

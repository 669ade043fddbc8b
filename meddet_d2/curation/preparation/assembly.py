"""From the images that are in to a finished data set: who is on which side, the json files, the account of it all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...files import write_json
from ...layout.data_set import CDH_CLASSES
from .omissions import Findings
from .split import split_patients, stratum
from .writing import PREPARATION, Record, write_splits


def draw_split(records: list[Record], fractions: Mapping[str, float], seed: int, findings: Findings) -> dict[str, str]:
    """The split of each patient, drawn as in split.py.

    Raises:
        ValueError: there are fewer patients than splits.
    """
    categories: dict[str, list[int]] = {}
    for record in records:
        categories.setdefault(record.patient, []).extend(box.category for box in record.boxes)
    strata = {patient: stratum(found) for patient, found in categories.items()}
    splits, stratified = split_patients(strata, fractions, seed)
    if not stratified:
        findings.add("not_split_by_class", f"too few patients of a kind for {', '.join(fractions)}")
    return splits


def follow_split(records: list[Record], said: Mapping[str, set[str]], findings: Findings) -> dict[str, str]:
    """The split that a table gives each patient; images of a patient with none or several are left out."""
    splits = {}
    for record in records:
        names = said.get(record.patient, set())
        if len(names) == 1:
            (splits[record.patient],) = names
        else:
            findings.add("no_split", f"{record.source}: {', '.join(sorted(names)) or 'none'}")
    return splits


def follow_list(
    records: list[Record], listed: Mapping[str, str], other: str, split: str, findings: Findings
) -> dict[str, str]:
    """``split`` for the patients of a list (by pseudonym, with the text of the list), ``other`` for the rest."""
    patients = {record.patient for record in records}
    for patient, text in listed.items():
        if patient not in patients:
            findings.add("unknown_test_patients", repr(text))
    return {patient: split if patient in listed else other for patient in patients}


def assemble(
    folder: Path,
    records: list[Record],
    splits: Mapping[str, str],
    *,
    description: str,
    made_by: str,
    version: str,
    settings: Mapping[str, Any],
    findings: Findings,
    strict: bool,
) -> dict[str, dict[str, int]]:
    """Write the json files and ``preparation.json``, which holds numbers and settings and no names.

    Args:
        folder: the new folder; its images are there.
        records: all images.
        splits: of each patient.
        description: for ``info``.
        made_by, version: the script and the project's version.
        settings: what shaped the data set and says nothing of patients.
        findings: whose counts are written.
        strict: problems are an error.

    Returns:
        The numbers of each split.

    Raises:
        ValueError: nothing is left, a split would be empty, or there are problems and ``strict`` is set.
    """
    for record in records:
        if record.patient not in splits:
            (folder / "images" / record.file_name).unlink()
    if not splits:
        raise ValueError("no image can be used; what was left out is named above.")
    numbers = write_splits(folder, records, splits, description)
    for split, of in numbers.items():
        for name in CDH_CLASSES:
            if not of[name]:
                findings.add("classless_splits", f"{split}: no {name}")
    if strict and findings.problems:
        raise ValueError(f"{findings.problems} problems, named above, and --strict: nothing was written.")
    write_json(
        folder / PREPARATION,
        {
            "made_by": made_by,
            "version": version,
            "settings": dict(settings),
            "splits": numbers,
            "findings": findings.counts(),
        },
    )
    return numbers

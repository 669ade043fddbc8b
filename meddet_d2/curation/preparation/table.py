"""The spreadsheet that says whose an image is, and on which side of the split."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .annotation import read_text
from .image_index import ImageIndex
from .omissions import Findings

# How a table may name the splits.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class PatientTable:
    """What a table says of images, by path.

    Attributes:
        patients: the text of the patient's column.
        splits: "train", "val" or "test"; empty without a column of splits.
        conflicting: images of which two rows name different patients.
    """

    patients: dict[Path, str]
    splits: dict[Path, str]
    conflicting: set[Path]


def read_table(
    path: Path,
    index: ImageIndex,
    findings: Findings,
    *,
    patient_column: str,
    image_column: str,
    split_column: str | None = None,
) -> PatientTable:
    """Read a csv with a header: comma, semicolon or tabulator, UTF-8.

    Args:
        path: the table.
        index: of the images.
        findings: gets rows of images that are not there, and images of two patients.
        patient_column, image_column, split_column: the headings.

    Raises:
        FileNotFoundError: there is no table.
        ValueError: it is not UTF-8, lacks a column, or a split in it is none of SPLIT_NAMES.
    """
    rows = read_rows(path, [patient_column, image_column] + ([split_column] if split_column else []))
    patients: dict[Path, set[str]] = defaultdict(set)
    splits: dict[Path, str] = {}
    unknown: dict[str, int] = defaultdict(int)
    for number, row in enumerate(rows, start=2):
        where = f"{path}, row {number}"
        images = index.find(row[image_column])
        if len(images) != 1:
            kind = "ambiguous_images" if images else "unknown_images_in_table"
            findings.add(kind, f"{where}: {' or '.join(map(str, images)) or repr(row[image_column])}")
            continue
        (image,) = images
        if row[patient_column]:
            patients[image].add(row[patient_column])
        if split_column:
            split = SPLIT_NAMES.get(row[split_column].lower())
            if split is None:
                unknown[row[split_column]] += 1
            # An image in two splits gets none.
            splits[image] = split if splits.get(image, split) == split else ""
    if unknown:
        listed = ", ".join(f"{name!r} ({count})" for name, count in unknown.items())
        raise ValueError(f"{path}: splits that are none: {listed}; write train, val or test.")
    several = {image for image, names in patients.items() if len(names) > 1}
    for image in sorted(several):
        findings.add("several_patients", f"{image}: {len(patients[image])} patients in {path}")
    single = {image: names.pop() for image, names in patients.items() if image not in several}
    return PatientTable(single, {image: split for image, split in splits.items() if split}, several)


def read_rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a csv as texts without spaces around them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8, not a table, or lacks one of ``columns``.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table.")
    try:
        text = read_text(path)
        heading = text.split("\n", 1)[0]
        delimiter = max(",;\t", key=heading.count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        names = [(name or "").strip() for name in reader.fieldnames or []]
        rows = [
            dict(zip(names, (str(row[key] or "").strip() for key in reader.fieldnames), strict=True)) for row in reader
        ]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as a table ({error}); save it as CSV UTF-8.") from error
    missing = [column for column in columns if column not in names]
    if missing:
        raise ValueError(f"{path}: no column '{missing[0]}'; its columns are {', '.join(names)}.")
    return rows

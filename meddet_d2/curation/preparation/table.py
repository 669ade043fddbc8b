"""The spreadsheet that says whose an image is, and on which side of the split."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from ...files import read_text
from ...layout.identifiers import patient_key
from .image_index import ImageIndex
from .omissions import Findings

# A number of many digits as a spreadsheet shows and exports it.
SHORTENED = re.compile(r"\d([.,]\d+)?E\+\d+", re.IGNORECASE)
# How a table may name the splits.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
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


def read_table(path: Path, index: ImageIndex, findings: Findings, columns: tuple[str, str, str | None]) -> PatientTable:
    """Read a csv with a header; rows of images that are not there, and images of two patients, are findings.

    Args:
        columns: of the patient, of the image and, where it says it, of the split.

    Raises:
        FileNotFoundError: there is no table.
        ValueError: as of `read_rows`; a split is none of SPLIT_NAMES; a patient's number has lost digits.
    """
    patient_column, image_column, split_column = columns
    rows = read_rows(path, filter(None, columns))
    # By the key of each way of writing: "7" and "007" are one.
    patients: dict[Path, dict[str, str]] = defaultdict(dict)
    splits: dict[Path, str] = {}
    unknown: dict[str, int] = defaultdict(int)
    for number, row in enumerate(rows, start=2):
        where = f"{path}, row {number}"
        if SHORTENED.fullmatch(row[patient_column]):
            raise ValueError(
                f"{where}: the patient is a number that a spreadsheet has shortened (1.23E+11); "
                "make its column text, write the numbers in full and save it again."
            )
        images = index.find(row[image_column])
        if len(images) != 1:
            kind = "ambiguous_images" if images else "unknown_images_in_table"
            findings.add(kind, f"{where}: {' or '.join(map(str, images)) or repr(row[image_column])}")
            continue
        (image,) = images
        if row[patient_column]:
            patients[image].setdefault(patient_key(row[patient_column]), row[patient_column])
        if split_column:
            split = SPLIT_NAMES.get(row[split_column].lower(), "")
            if not split:
                unknown[row[split_column]] += 1
            # An image in two splits gets none.
            splits[image] = split if splits.get(image, split) == split else ""
    if unknown:
        listed = ", ".join(f"{name!r} ({count})" for name, count in unknown.items())
        raise ValueError(f"{path}: splits that are none: {listed}; write train, val or test.")
    several = {image for image, names in patients.items() if len(names) > 1}
    for image in sorted(several):
        findings.add("several_patients", f"{image}: {len(patients[image])} patients in {path}")
    single = {image: next(iter(names.values())) for image, names in patients.items() if image not in several}
    return PatientTable(single, {image: split for image, split in splits.items() if split}, several)


def read_rows(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a csv as texts without spaces around them.

    Cells are separated by what occurs most in the heading (comma, semicolon, tabulator) or by what a first line "sep=;"
    says, as spreadsheets write it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is neither UTF-8 nor UTF-16, not a table, lacks one of ``columns`` or has it twice, or a row has
            more cells than the heading.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table.")
    try:
        heading, _, rest = (text := read_text(path)).partition("\n")
        said = re.fullmatch(r"sep=(.)\s*", heading)
        if said:
            heading, text = rest.partition("\n")[0], rest
        delimiter = said[1] if said else max(",;\t", key=heading.count)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as a table ({error}); save it as CSV UTF-8.") from error
    names, *cells = [[cell.strip() for cell in row] for row in rows] or [[]]
    for column in columns:
        if names.count(column) != 1:
            many = "no column" if column not in names else f"{names.count(column)} columns"
            raise ValueError(f"{path}: {many} '{column}'; its columns are {', '.join(names)}.")
    for place, row in enumerate(cells, start=2):
        if any(row[len(names) :]):
            text = f"more cells than the heading has; put a text with '{delimiter}' in quotes."
            raise ValueError(f"{path}, row {place}: {text}")
    return [dict(zip_longest(names, row[: len(names)], fillvalue="")) for row in cells if any(row)]

"""Readings as files: pictures, a COCO json, and tables with a line for each finding, image and problem.

Files name images, patients and input files by pseudonyms only.
"""

import csv
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from PIL import Image

from ..files import new_table, replacing, write_json
from ..formats import MRSlice
from ..layout.spine_measures import MEASURE_COLUMNS
from .card import INTENDED_USE
from .reading import Finding, Reading, disc_numbers

PREDICTIONS, FINDINGS, IMAGES, PROBLEMS = "predictions.json", "findings.csv", "images.csv", "problems.csv"
MEASURES = "measures.csv"
OVERLAYS, DICOM, DICOM_IDENTIFIED = "overlays", "dicom", "dicom_identified"
# The json is put into place last: a folder that has it is whole. discs.csv is FINDINGS' former name.
POINTS, MARKUPS = "landmarks.csv", "markups"
NAMES = (
    *(OVERLAYS, MARKUPS, DICOM, DICOM_IDENTIFIED),
    *("discs.csv", FINDINGS, POINTS, IMAGES, MEASURES, PROBLEMS, PREDICTIONS),
)

FINDING_COLUMNS = (
    *("image_id", "patient_id", "disc", "level", "label", "score", "x0_px", "y0_px", "x1_px", "y1_px"),
    *("x0_mm", "y0_mm", "x1_mm", "y1_mm", "width_mm", "height_mm", "row_spacing_mm", "column_spacing_mm"),
)


class Results:
    """What a run has found so far: boxes.

    Attributes:
        TABLE, COLUMNS: name and columns of the table of findings.
        classes: the detector's, in the order of the class numbers.
        images: a dict for each image that was read, the line of images.csv.
        findings: a dict for each finding, the line of findings.csv.
        measures: a dict for each disc and curve, the line of measures.csv; None where nobody measures.
        problems: a dict for each file or image that was left out, the line of problems.csv: "file" (its pseudonym),
            "image_id" (where the file could be read) and "reason" (one line; see `without_paths`).
    """

    TABLE: str = FINDINGS
    COLUMNS: tuple[str, ...] = FINDING_COLUMNS

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.images: list[dict[str, Any]] = []
        self.findings: list[dict[str, Any]] = []
        self.problems: list[dict[str, str]] = []
        self.measures: list[dict[str, Any]] | None = None
        self._coco_images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, reading: Any) -> None:
        """Take a reading into the tables; its picture is `save_overlay`'s. Each image once."""
        mr_slice = reading.slice
        height, width = mr_slice.pixels.shape[:2]
        number = len(self._coco_images) + 1
        self._coco_images.append(
            {
                "id": number,
                "file_name": mr_slice.image_id,
                "width": width,
                "height": height,
                "patient_id": mr_slice.patient_id,
                "spacing": mr_slice.spacing,
                "tags": mr_slice.tags,
                "warnings": (*mr_slice.warnings, *reading.remarks),
            }
        )
        warnings = "; ".join((*mr_slice.warnings, *reading.remarks))
        self.images.append({**image_columns(mr_slice), **self._take(reading, number), "warnings": warnings})

    def _take(self, reading: Any, number: int) -> dict[str, Any]:
        """The findings of image ``number``; gives its line's columns of them."""
        numbers = disc_numbers(reading.findings)
        for disc, finding in zip(numbers, reading.findings, strict=True):
            self.findings.append(_finding_line(reading, disc, finding))
            x0, y0, x1, y1 = finding.box
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": number,
                    "category_id": self.classes.index(finding.label) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                    "score": finding.score,
                    "disc": disc,
                    "level": finding.level,
                    "size_mm": finding.size_mm,
                }
            )
        line: dict[str, Any] = {"discs": max(numbers, default=0), "findings": len(reading.findings)}
        for name in self.classes:
            scores = [finding.score for finding in reading.findings if finding.label == name]
            line[f"findings_{name}"] = len(scores)
            line[f"best_score_{name}"] = round(max(scores), 4) if scores else None
        return line

    def categories(self) -> list[dict[str, Any]]:
        """As COCO has them."""
        return [{"id": index, "name": name} for index, name in enumerate(self.classes, start=1)]

    def account(self, thresholds: Mapping[str, float]) -> tuple[tuple[str, ...], list[tuple]]:
        """Headers and lines of the table at a run's end."""
        lines = [
            (label, f"{thresholds[label]:g}", sum(line["label"] == label for line in self.findings),
             sum(line[f"findings_{label}"] > 0 for line in self.images))
            for label in self.classes
        ]  # fmt: skip
        return ("class", "threshold", "findings", "images with"), lines

    def write(self, folder: Path, info: Mapping[str, Any]) -> None:
        """Write predictions.json and the three tables.

        Args:
            folder: where they go.
            info: of the run (model, thresholds, version); goes into the json together with the intended use.
        """
        write_table(folder / self.TABLE, self.COLUMNS, self.findings)
        write_table(folder / IMAGES, tuple(self.images[0]) if self.images else ("image_id",), self.images)
        if self.measures is not None:
            write_table(folder / MEASURES, MEASURE_COLUMNS, self.measures)
        write_table(folder / PROBLEMS, ("file", "image_id", "reason"), self.problems)
        content = {
            "info": {**info, "problems": len(self.problems), "intended_use": INTENDED_USE},
            "images": self._coco_images,
            "annotations": self._annotations,
            "categories": self.categories(),
        }
        write_json(folder / PREDICTIONS, content)


def image_columns(mr_slice: MRSlice) -> dict[str, Any]:
    """What images.csv says of an image, whatever was found on it."""
    return {
        "image_id": mr_slice.image_id,
        "patient_id": mr_slice.patient_id,
        "width_px": mr_slice.pixels.shape[1],
        "height_px": mr_slice.pixels.shape[0],
        **spacing_columns(mr_slice.spacing),
    }


def save_overlay(picture: Image.Image, image_id: str, folder: Path) -> None:
    """Write the picture of a reading, overlays/<image id>.png: pixels and no metadata."""
    with replacing(folder / OVERLAYS / f"{image_id}.png") as temporary:
        Image.frombytes(picture.mode, picture.size, picture.tobytes()).save(temporary, format="PNG")


def without_paths(text: str, source: Path, pseudonym: str) -> str:
    """A message with its file's path, name and folders replaced, for a file that others may read.

    Args:
        text: one line, made for the person who named the file.
        source: that file.
        pseudonym: what stands for it.
    """
    paths = {path for start in (source, source.absolute()) for path in (start, *start.parents) if len(path.parts) > 1}
    for known in sorted(map(str, paths), key=len, reverse=True):
        text = text.replace(known, pseudonym)
    return re.sub(rf"(?<!\w){re.escape(source.name)}(?!\w)", pseudonym, text)


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A hidden folder beside ``output``, whose content becomes that of ``output`` at the end of the block.

    Results of an earlier run there (NAMES) are removed then and not before, all else in it stays. After an error in the
    block ``output`` is as it was, and the hidden folder is gone.

    Yields:
        The hidden folder.
    """
    output = output.absolute()
    hidden = output.with_name(f".{output.name}.{os.getpid()}")
    hidden.mkdir(parents=True)
    try:
        yield hidden
        output.mkdir(exist_ok=True)
        for name in reversed(NAMES):
            if (output / name).exists():
                os.replace(output / name, hidden / f"before.{name}")
        for name in NAMES:
            if (hidden / name).exists():
                os.replace(hidden / name, output / name)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _finding_line(reading: Reading, disc: int, finding: Finding) -> dict[str, Any]:
    spacing = reading.slice.spacing
    line = {
        "image_id": reading.slice.image_id,
        "patient_id": reading.slice.patient_id,
        "disc": disc,
        "level": finding.level,
        "label": finding.label,
        "score": round(finding.score, 4),
        **spacing_columns(spacing),
    }
    for index, side in enumerate(("x0", "y0", "x1", "y1")):
        line[f"{side}_px"] = round(finding.box[index], 2)
        if spacing is not None:
            line[f"{side}_mm"] = round(finding.box[index] * spacing[1 - index % 2], 2)
    if finding.size_mm is not None:
        line["width_mm"], line["height_mm"] = (round(side, 2) for side in finding.size_mm)
    return line


def spacing_columns(spacing: tuple[float, float] | None) -> dict[str, float | None]:
    rows, columns = spacing or (None, None)
    return {"row_spacing_mm": rows, "column_spacing_mm": columns}


def write_table(path: Path, columns: Sequence[str], lines: Sequence[Mapping[str, Any]], *, mode: int = 0o666) -> None:
    """Write a csv, see `write_lines`; ``mode`` is who may use the file, as chmod has it."""
    with new_table(path, mode=mode) as file:
        write_lines(file, columns, lines)


def write_lines(file: TextIO, columns: Sequence[str], lines: Sequence[Mapping[str, Any]]) -> None:
    """A csv: the columns' names, and a line for each dict."""
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    writer.writerows(lines)

"""The figures as files: one json with every digit, and a csv for each thing that a statistician plots again."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddet_d2.files import new_table, write_json

from .measure import Measurement

RECORD, REPORT = "clinical.json", "report.html"
# By file.
COLUMNS = {
    "froc.csv": ("target", "threshold", "true_boxes", "false_boxes", "sensitivity", "false_boxes_per_image"),
    "precision_recall.csv": ("class", "threshold", "precision", "recall"),
    "patients.csv": ("patient", "images", "annotated_findings", "positive", "score", "flagged"),
}


def write_figures(measurement: Measurement, record: Mapping[str, Any], folder: Path) -> None:
    """Write RECORD and the files of COLUMNS; files of these names are replaced.

    Args:
        measurement: the figures.
        record: the json's content.
        folder: where to; made if it does not exist.
    """
    write_json(folder / RECORD, record)
    precision_recall = zip(measurement.subject.classes, measurement.precision_recall(), strict=True)
    rows = _curves(measurement.froc()), _curves(dict(precision_recall)), _patients(measurement)
    for (name, columns), lines in zip(COLUMNS.items(), rows, strict=True):
        with new_table(folder / name) as file:
            csv.writer(file, lineterminator="\n").writerows([columns, *lines])


def _curves(curves: Mapping[str, Sequence[np.ndarray]]) -> list[tuple]:
    """One row a point, with the curve's name."""
    return [
        (name, *point)
        for name, curve in curves.items()
        for point in zip(*(column.tolist() for column in curve), strict=True)
    ]


def _patients(measurement: Measurement) -> list[tuple]:
    """One row a patient, under the running number; never the id, which may be a hospital's own."""
    readings, patient = measurement.patients, measurement.patient
    images = np.bincount(patient)
    columns = (
        images,
        np.bincount(patient[measurement.findings.truth_image], minlength=len(images)),
        readings.positive.astype(int),
        readings.score,
        (readings.score >= measurement.settings.threshold).astype(int),
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(f"{measurement.subject.unit} {number}", *row) for number, row in enumerate(rows, start=1)]

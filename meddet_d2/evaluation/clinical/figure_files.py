"""The figures as files: one json with every digit, and a csv for each thing that a statistician plots again."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddet_d2.files import replacing, write_json

from .measure import Measurement

RECORD, REPORT = "clinical.json", "report.html"
TABLES = ("froc.csv", "precision_recall.csv", "patients.csv")


def write_figures(measurement: Measurement, provenance: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write RECORD and TABLES; files of these names are replaced.

    Args:
        measurement: the figures.
        provenance: what stands before them in the json: who made them, from what.
        folder: where to; made if it does not exist.

    Returns:
        The json's content.
    """
    record = {**provenance, "tables": list(TABLES), **measurement.record}
    write_json(folder / RECORD, record)
    _write_csv(
        folder / "froc.csv",
        ("target", "threshold", "true_boxes", "false_boxes", "sensitivity", "false_boxes_per_image"),
        ((name, *point) for name, curve in measurement.froc().items() for point in _points(curve)),
    )
    _write_csv(
        folder / "precision_recall.csv",
        ("class", "threshold", "precision", "recall"),
        (
            (name, *point)
            for name, curve in zip(measurement.subject.classes, measurement.precision_recall(), strict=True)
            for point in _points(curve)
        ),
    )
    _write_csv(
        folder / "patients.csv",
        ("patient", "images", "annotated_findings", "positive", "score", "flagged"),
        _patients(measurement),
    )
    return record


def _patients(measurement: Measurement) -> Iterable[Sequence]:
    """One row a patient, under the running number; never the id, which may be a hospital's own."""
    threshold, readings = measurement.settings.threshold, measurement.patients
    patient = measurement.patient
    images = np.bincount(patient)
    lesions = np.bincount(patient[measurement.findings.truth_image], minlength=len(images))
    for index, score in enumerate(readings.score.tolist()):
        flagged = int(score >= threshold)
        positive = int(readings.positive[index])
        yield (
            f"{measurement.subject.unit} {index + 1}",
            int(images[index]),
            int(lesions[index]),
            positive,
            score,
            flagged,
        )


def _points(curve: Sequence[np.ndarray]) -> Iterable[tuple[float, ...]]:
    return zip(*(column.tolist() for column in curve), strict=True)


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)

"""A reading of landmarks as files: one json with every digit, and a table by landmark and one by image."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meddet_d2.files import new_table, write_json

from .landmark_reading import LandmarkReading

RECORD, OF_LANDMARKS, OF_IMAGES = "landmarks.json", "landmarks.csv", "images.csv"
TABLES = (OF_LANDMARKS, OF_IMAGES)


def write_tables(reading: LandmarkReading, record: Mapping[str, Any], folder: Path) -> None:
    """Write RECORD, OF_LANDMARKS and OF_IMAGES; files of these names are replaced.

    A cell is empty where nothing is labelled or a figure is not defined, and "missing" where there is no prediction.
    Images and patients have running numbers, never a file's name or an id.

    Args:
        reading: the run.
        record: the json's content.
        folder: where to; made if it does not exist.
    """
    write_json(folder / RECORD, record)
    of_each: dict[str, dict[str, float]] = reading.record["landmarks"]
    landmarks: list[list[Any]] = [["landmark", *next(iter(of_each.values()))]]
    landmarks += [[name, *map(_cell, figures.values())] for name, figures in of_each.items()]
    unit = "patient" if reading.truth.patients_known else "image"
    images: list[list[Any]] = [["image", "patient", "mean", "worst", "missing", "wrong_level", *reading.truth.names]]
    for row, (errors, wrong) in enumerate(zip(reading.errors, reading.wrong, strict=True)):
        labelled = errors[~np.isnan(errors)]
        worst = float(labelled.max()) if len(labelled) else np.nan
        counts = [int(np.isinf(errors).sum()), int(wrong.sum())]
        owner = f"{unit} {reading.truth.patient[row] + 1}"
        figures = [_cell(reading.means[row]), _cell(worst), *counts]
        images.append([f"image {row + 1}", owner, *figures, *map(_cell, errors.tolist())])
    for name, rows in zip(TABLES, (landmarks, images), strict=True):
        with new_table(folder / name) as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def _cell(value: float) -> Any:
    if isinstance(value, int):
        return value
    return "missing" if np.isinf(value) else "" if np.isnan(value) else repr(float(value))

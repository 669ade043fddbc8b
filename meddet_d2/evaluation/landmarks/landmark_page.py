"""The page about a run's landmarks: a summary, each landmark, curves, the worst cases, data and words."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meddet_d2.drawing import draw_landmark_legend, draw_landmarks, short_names
from meddet_d2.formats import read_image
from meddet_d2.pages import picture, render

from ..clinical.clinical_page import FEW, interval, number
from ..clinical.gallery import JPEG_QUALITY, many
from .landmark_intervals import FIGURES
from .landmark_pictures import landmarks_of, mean_text
from .landmark_plots import cumulative_plot, landmark_box_plot
from .landmark_reading import LandmarkReading
from .radial_errors import radial_errors

# Cases, and the pixels of a panel's longer side.
SHOWN, PANEL = 6, 480
RULE = (
    "Worst are the images with the greatest mean error, where a missing prediction is the greatest of all. Ties go to"
    f" the lower case number, each patient appears once, and at most {SHOWN} are shown. Nobody has picked them by hand."
)
NAMES = {
    "MRE": "Mean radial error",
    "SDR2": "Success at 2",
    "SDR4": "Success at 4",
    "wrong_level": "Nearer to another landmark",
}


def write_landmark_page(reading: LandmarkReading, record: Mapping[str, Any], folder: Path | None) -> str:
    """The page's HTML.

    Args:
        reading: the run.
        record: as it stands in the json: "made_by", "data" ("name", "note", ...), "model", and the figures.
        folder: the images' files are relative to it; None where they hold their whole path.
    """
    truth, counts = reading.truth, record["counts"]
    unit = "patient" if truth.patients_known else "image"
    of = f" of {many(counts['patients'], 'patient')}" if truth.patients_known else ", of patients who are not known"
    runs = {"this run": reading.errors}
    if reading.compared is not None:
        runs["compared run"] = radial_errors(truth.points, reading.compared, truth.spacing)
    shown = len(truth.image_ids) and counts["counted"]
    return render(
        "landmarks.html.j2",
        title=f"How far the landmarks are: {record['data']['name']}",
        lead=f"{many(counts['counted'], 'landmark')} on {many(counts['images'], 'image')}{of}.",
        record=record,
        notices=_notices(record, unit),
        unit=unit,
        names=NAMES,
        figures=FIGURES,
        rows={**record["landmarks"], "all": {**counts, **record["overall"]}},
        cumulative=cumulative_plot(runs, truth.unit) if shown else None,
        boxes=landmark_box_plot(reading.errors, truth.names, truth.unit) if shown else None,
        short=short_names(truth.names),
        cases=[_case(row, reading, folder) for row in worst_cases(reading)],
        rule=RULE,
        legend=picture(draw_landmark_legend()),
        value=value,
        interval=interval,
        number=number,
    )


def value(figure: str, amount: float, unit: str) -> str:
    """One of FIGURES as text: an error with its unit, a rate in percent."""
    if math.isnan(amount):
        return "not defined"
    return f"{amount:.2f}\N{NO-BREAK SPACE}{unit}" if figure == "MRE" else f"{amount:.1f}\N{NO-BREAK SPACE}%"


def worst_cases(reading: LandmarkReading) -> list[int]:
    """The images' rows by RULE; images without a labelled landmark are not among them."""
    chosen: dict[int, int] = {}
    for row in np.argsort(-np.nan_to_num(reading.means, nan=-1.0), kind="stable").tolist():
        if not np.isnan(reading.means[row]):
            chosen.setdefault(int(reading.truth.patient[row]), row)
    return list(chosen.values())[:SHOWN]


def _case(row: int, reading: LandmarkReading, folder: Path | None) -> dict[str, Any]:
    """{"number", "text", "panel", "problem"} of an image: without a panel where it cannot be drawn."""
    truth, errors = reading.truth, reading.errors[row]
    panel, problem = None, ""
    path = Path(truth.files[row]) if folder is None else folder / truth.files[row]
    try:
        pixels = read_image(path)
    except (ValueError, OSError):
        problem = "its image cannot be read"
    else:
        size = truth.sizes[row]
        if size is None or pixels.shape[:2] == tuple(size):
            marks = landmarks_of(truth, row, reading.found[row], errors)
            panel = picture(draw_landmarks(pixels, marks, PANEL), quality=JPEG_QUALITY)
        else:
            problem = f"its image is {pixels.shape[1]} x {pixels.shape[0]}, not {size[1]} x {size[0]}"
    other = int(reading.wrong[row].sum())
    text = mean_text(errors, truth.unit) + (f", {other} nearer to another landmark" if other else "")
    return {"number": row + 1, "text": text, "panel": panel, "problem": problem}


def _notices(record: Mapping[str, Any], unit: str) -> list[str]:
    """What a reader has to know before the first figure."""
    counts, data, comparison = record["counts"], record["data"], record["comparison"]
    notices = []
    if data["note"]:
        notices.append(f"About the data: {data['note']}. No figure here may be quoted without this.")
    if record["model"]["trained_on_these"]:
        notices.append("The network was trained on this very data set: every figure here is too good.")
    if record["unit"] == "px":
        notices.append("The images have no spacing: errors and radii are in pixels, and no figure is in millimetres.")
    if not counts["patients_known"]:
        notices.append(
            "This data set does not name its patients. Each image counts as if it were a patient: images of one patient"
            " may be in training and test, and intervals are too narrow."
        )
    if not counts["counted"]:
        notices.append("No landmark is labelled in this set: nothing is defined.")
    missing = {"this run": counts["missing"], "the compared run": comparison["missing"] if comparison else 0}
    for run, number_missing in missing.items():
        if number_missing:
            notices.append(
                f"{many(number_missing, 'landmark')} of {counts['counted']} have no prediction in {run}. They are"
                " failures at every radius, and its mean error is not defined."
            )
    if counts["patients"] < 2:
        notices.append(f"One {unit} cannot be resampled: there are no intervals.")
    elif not record["settings"]["resamples"]:
        notices.append("No intervals were asked for.")
    elif counts["patients"] < FEW:
        notices.append(f"Only {many(counts['patients'], unit)}: what is said about so few is uncertain.")
    return notices

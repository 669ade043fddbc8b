"""The page for a clinician, from the figures' record: a summary first, then each figure, cases, data and words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from meddet_d2.drawing import draw_legend
from meddet_d2.pages import picture, render

from . import clinical_plots as plots
from .cases import Subject
from .gallery import RULE, choose, many, shown
from .level_counts import UNKNOWN, UNNAMED
from .measure import Measurement
from .study import Picture

# Pixels: a legend of many classes is broken here.
LEGEND = 900
# Fewer patients than this in a group say little about it, whatever the figure.
FEW = 20
# Detections cut off at a higher score than this leave too little of a curve to go unmentioned.
LOWEST = 0.15
_READINGS = ("sensitivity", "specificity", "auc")
# Of a model card, what a reader of results has to know; the rest stands in the card.
CARD_TEXTS = {
    "name": "Name",
    "intended_use": "Intended use",
    "trained_on": "Trained on",
    "classes": "Classes",
    "network": "Network",
    "image": "Image",
    "thresholds": "Thresholds inside the network",
    "made_by": "Made by",
}


def write_page(
    measurement: Measurement, record: Mapping[str, Any], pictures: Sequence[Picture], card: Mapping[str, Any] | None
) -> str:
    """The page's HTML.

    Args:
        measurement: the figures.
        record: as it stands in clinical.json: "made_by", "data" ("name", "note", ...), "model", and the figures.
        pictures: the images of the cases, for the worst and the best.
        card: a model card, or None.
    """
    settings, subject, counts = measurement.settings, measurement.subject, record["counts"]
    images, patients = counts["images"], counts["patients"]
    of = f" of {many(patients, 'patient')}" if subject.unit == "patient" else ", of patients who are not known"
    worst, best = choose(measurement)
    return render(
        "report.html.j2",
        title=f"What the detector finds: {record['data']['name']}",
        lead=f"{many(images, 'image')}{of}, {counts['patients_with_lesion']} of them with {subject.finding} annotated.",
        record=record,
        precision_name="AP50" if settings.iou == 0.5 else f"AP at IoU {settings.iou:g}",
        notices=_notices(record, subject),
        plots=_plots(measurement),
        worst=[shown(one, measurement, pictures) for one in worst],
        best=[shown(one, measurement, pictures) for one in best],
        rule=RULE,
        legend=picture(draw_legend(subject.classes, width=LEGEND)),
        level_names={UNKNOWN: "with a name that is no disc level", UNNAMED: "without a name"},
        card=card and [(text, _text(card[key])) for key, text in CARD_TEXTS.items() if key in card],
        undefined=_undefined(record),
        percent=percent,
        interval=interval,
        number=number,
    )


def percent(value: float) -> str:
    """A share as text, one digit after the point."""
    return "not defined" if math.isnan(value) else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def number(value: float, digits: int = 2) -> str:
    """A number as text."""
    return "not defined" if math.isnan(value) else f"{value:.{digits}f}"


def interval(figure: Mapping[str, Any], *, share: bool = True, digits: int = 2) -> str:
    """A figure's 95 % interval as text, or why there is none."""
    if math.isnan(figure["value"]):
        return ""
    if figure.get("limit") is not None:
        return f"{'at least' if figure['right'] else 'at most'} {percent(figure['limit'])} (exact)"
    low, high = figure["low"], figure["high"]
    if math.isnan(low):
        return "no interval"
    if low == high:
        return "no spread"
    return f"{100 * low:.1f} to {percent(high)}" if share else f"{low:.{digits}f} to {high:.{digits}f}"


def _notices(record: Mapping[str, Any], subject: Subject) -> list[str]:
    """What a reader has to know before the first figure."""
    counts, data = record["counts"], record["data"]
    ill = counts["patients_with_lesion"]
    notices = []
    if data["note"]:
        notices.append(f"About the data: {data['note']}. No figure here may be quoted without this.")
    if record["model"]["trained_on_these"]:
        notices.append("The network was trained on this very data set: every figure here is too good.")
    if subject.unit == "image":
        notices.append(
            "This data set does not name its patients. The split is by image, and each image counts as if it were a"
            " patient: images of one patient may be in training and test, and intervals are too narrow."
        )
    if not subject.declared and len(subject.classes) > 1:
        notices.append("No class was named as the finding (TEST.FINDINGS): a box of any class counts as one.")
    if not counts["detections"]:
        notices.append("The detector found nothing on any image.")
    elif counts["lowest_score"] > LOWEST:
        cut = number(counts["lowest_score"])
        notices.append(f"No detection has a score below {cut}: curves, average precision and FROC end there.")
    groups = {f"with {subject.finding}": ill, f"without {subject.finding}": counts["patients"] - ill}
    for group, missing in zip(groups, ("sensitivity", "specificity"), strict=True):
        if not groups[group]:
            notices.append(f"No {subject.unit} {group} is in this set: {missing} and ROC are not defined.")
    few = [f"{many(size, subject.unit)} {group}" for group, size in groups.items() if 0 < size < FEW]
    if few:
        notices.append(f"Only {' and '.join(few)}: what is said about so few is uncertain.")
    if counts["patients"] < 2:
        notices.append(f"One {subject.unit} cannot be resampled: there are no intervals.")
    elif not record["settings"]["resamples"]:
        notices.append("No intervals were asked for.")
    return notices


def _undefined(record: Mapping[str, Any]) -> str:
    """Which figures some resamples do not define, and how many; empty where there is none."""
    figures = {f"{key} of {name}": record[name][key] for name in _groups(record) for key in _READINGS}
    figures |= {f"average precision of {name}": figure for name, figure in record["average_precision"].items()}
    figures |= {f"FROC of {name}": target["mean"] for name, target in record["froc"].items()}
    return ", ".join(
        f"{figure['undefined_resamples']} for {name}"
        for name, figure in figures.items()
        if figure["undefined_resamples"] and not math.isnan(figure["low"])
    )


def _plots(measurement: Measurement) -> dict[str, Markup | None]:
    """Each figure, None where nothing is defined that could be drawn."""
    record, threshold = measurement.record, measurement.settings.threshold
    curves, frocs = measurement.precision_recall(), measurement.froc()
    rocs = {name: record[name]["roc"] for name in _groups(record)}
    bands = {name: record["froc"][name]["band"] for name in frocs}
    bins = record["calibration"]["bins"]
    boxes = sum(record["counts"]["boxes"].values())
    return {
        "precision_recall": plots.precision_recall_plot(curves, measurement.subject.classes, threshold)
        if any(len(curve.recall) for curve in curves)
        else None,
        "froc": plots.froc_plot(frocs, bands, threshold) if boxes else None,
        "roc": plots.roc_plot(rocs, measurement.subject.finding, threshold) if any(rocs.values()) else None,
        "calibration": plots.calibration_plot(bins) if bins else None,
    }


def _groups(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Of "patients" and "images" those that the page shows apart."""
    return ("patients", "images") if record["subject"]["unit"] == "patient" else ("images",)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_text(entry)}" for key, entry in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value)) or "not said"
    return "none" if value is None else str(value)

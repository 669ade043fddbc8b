"""The report's figures: plain axes, the classes' colours, everything said a second time by line style."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from meddet_d2.drawing import ink_of
from meddet_d2.pages import plot

from .curves import RATES, Froc, PrecisionRecall

STYLES = ("-", "--", "-.", ":")
FAINT = "#8a929c"
SIZE = (5.4, 4.0)
# Above the axes, where it hides no curve.
LEGEND: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0), "ncols": 2, "borderaxespad": 0.2}
LOOK: dict[Any, Any] = {
    "font.size": 10,
    "axes.edgecolor": "#5b636d",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e9ed",
    "legend.frameon": False,
}


@matplotlib.rc_context(LOOK)
def precision_recall_plot(curves: Sequence[PrecisionRecall], names: Sequence[str], threshold: float) -> Markup:
    """Precision against recall of each class that has a curve; a dot marks the operating point."""
    figure, axes = _axes(
        "Recall: share of the annotated that are found", "Precision: share of the boxes that are right"
    )
    lines = [(curve.recall, curve.precision, curve.threshold) for curve in curves]
    return _drawn(figure, axes, dict(zip(names, lines, strict=True)), threshold)


@matplotlib.rc_context(LOOK)
def froc_plot(curves: Mapping[str, Froc], bands: Mapping[str, Mapping], threshold: float) -> Markup:
    """Sensitivity against false boxes per image, with the intervals' band."""
    figure, axes = _axes("False boxes per image (healthy images counted)", "Sensitivity")
    axes.set_xscale("log", base=2)
    axes.set_xticks(RATES, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    axes.set_xlim(1 / 16, 9)
    for index, (name, curve) in enumerate(curves.items()):
        if np.isnan(curve.sensitivity).any():
            continue
        band = bands[name]
        # Everything left of the axis lies on its edge; from its last point on a curve stays as it is.
        rate = np.append(np.maximum(curve.rate, 1e-6), max(9.0, curve.rate[-1]))
        sensitivity = np.append(curve.sensitivity, curve.sensitivity[-1])
        axes.fill_between(band["rate"], band["low"], band["high"], color=ink_of(index), alpha=0.15, linewidth=0)
        axes.plot(rate, sensitivity, **_look(index, name))
        if curve.rate[curve.threshold >= threshold][-1] >= 1 / 16:
            _dot(axes, curve.rate, curve.sensitivity, curve.threshold, threshold, ink_of(index))
    axes.legend(**LEGEND)
    return plot(figure)


@matplotlib.rc_context(LOOK)
def roc_plot(rocs: Mapping[str, Sequence[Mapping]], finding: str, threshold: float) -> Markup:
    """ROC curves of patients and of images, as the record has them; those that are not defined are left out."""
    figure, axes = _axes(f"Without {finding}, yet flagged (1 − specificity)", f"With {finding}, flagged (sensitivity)")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlim(-0.02, 1.02)
    lines = {
        name: np.array([list(point.values()) for point in points]).reshape(-1, 3).T for name, points in rocs.items()
    }
    return _drawn(figure, axes, lines, threshold)


@matplotlib.rc_context(LOOK)
def calibration_plot(bins: Sequence[Mapping]) -> Markup:
    """The reliability diagram above, how many detections stand behind each point below."""
    figure = Figure(figsize=SIZE)
    upper, lower = figure.subplots(2, sharex=True, gridspec_kw={"height_ratios": (3, 1), "hspace": 0.12})
    upper.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    scores, shares = [one["mean_score"] for one in bins], [one["share_right"] for one in bins]
    upper.plot(scores, shares, "o-", color=ink_of(0), markersize=5)
    upper.set(ylim=(-0.02, 1.02), ylabel="Share right")
    upper.yaxis.set_major_formatter(PercentFormatter(1.0))
    middles = [(one["from"] + one["to"]) / 2 for one in bins]
    lower.bar(middles, [one["detections"] for one in bins], width=0.09, color="#b9c0c9")
    lower.set(xlim=(0, 1), ylabel="Boxes", xlabel="Score")
    return plot(figure)


def _look(index: int, name: str) -> dict[str, Any]:
    return {"color": ink_of(index), "linestyle": STYLES[index % len(STYLES)], "label": name}


def _axes(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    axes.set(xlabel=across, ylabel=up, xlim=(0, 1.02), ylim=(-0.02, 1.02))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure, axes


def _drawn(figure: Figure, axes: Axes, lines: Mapping[str, Sequence[np.ndarray]], threshold: float) -> Markup:
    """The figure with lines of (x, y, thresholds), those without points left out."""
    for index, (name, (x, y, thresholds)) in enumerate(lines.items()):
        if len(x):
            axes.plot(x, y, **_look(index, name))
            _dot(axes, x, y, thresholds, threshold, ink_of(index))
    axes.legend(**LEGEND)
    return plot(figure)


def _dot(axes: Axes, x: np.ndarray, y: np.ndarray, thresholds: np.ndarray, threshold: float, color: str) -> None:
    """The operating point on a curve by falling threshold, if the curve reaches it."""
    reached = np.flatnonzero(thresholds >= threshold)
    if len(reached):
        axes.plot(x[reached[-1]], y[reached[-1]], "o", color=color, markersize=7, markeredgecolor="white")

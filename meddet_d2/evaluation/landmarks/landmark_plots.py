"""The landmark page's figures: how many errors are within each radius, and each landmark's errors as a box."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from meddet_d2.drawing import ink_of
from meddet_d2.pages import plot

from ..clinical.clinical_plots import FAINT, LEGEND, LOOK, SIZE, STYLES
from .landmark_metrics import OUTLIERS, RADII

# Where ticks of an error can stand, on a scale of square roots.
TICKS = (0, 0.5, 1, 2, 4, 7, 10, 20, 40, 70, 100, 200, 400, 1000)


@matplotlib.rc_context(LOOK)
def cumulative_plot(runs: Mapping[str, np.ndarray], unit: str) -> Markup:
    """The share of labelled landmarks with at most so much error, for each run; dotted lines are the SDRs' radii.

    Args:
        runs: (I, K) errors by the run's name. A missing prediction is never within any radius.
        unit: of the errors.
    """
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    end = max(OUTLIERS.values())
    for radius in RADII.values():
        axes.axvline(radius, color=FAINT, linewidth=0.8, linestyle=":")
    for index, (name, errors) in enumerate(runs.items()):
        pool = np.sort(errors[~np.isnan(errors)])
        reached = pool[pool <= end]
        across = np.concatenate([[0.0], reached, [end]])
        up = np.concatenate([[0], np.arange(1, len(reached) + 1), [len(reached)]]) / max(len(pool), 1)
        axes.step(across, up, where="post", color=ink_of(index), linestyle=STYLES[index % len(STYLES)], label=name)
    axes.set(xlim=(0, end), ylim=(0, 1.02), ylabel="Share of the landmarks", xlabel=f"Radial error up to, in {unit}")
    axes.set_xticks([0, *RADII.values(), 6, 8, end])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(axis="x", labelsize=8)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if len(runs) > 1:
        axes.legend(**LEGEND)
    return plot(figure, "cumulative")


@matplotlib.rc_context(LOOK)
def landmark_box_plot(errors: np.ndarray, names: Sequence[str], unit: str) -> Markup:
    """Each landmark's found errors: box from quartile to quartile, line at the median, whiskers 1.5 boxes long.

    Args:
        errors: (I, K); missing predictions are not drawn.
        names: of the landmarks, from above to below.
        unit: of the errors.
    """
    figure = Figure(figsize=(SIZE[0], 1.2 + 0.22 * len(names)))
    axes: Any = figure.subplots()
    columns = [column[np.isfinite(column)] for column in errors.T]
    axes.boxplot(
        columns,
        orientation="horizontal",
        positions=range(len(names)),
        widths=0.6,
        boxprops={"color": ink_of(1)},
        whiskerprops={"color": ink_of(1)},
        capprops={"color": ink_of(1)},
        medianprops={"color": ink_of(0), "linewidth": 1.6},
        flierprops={"marker": ".", "markersize": 3, "markeredgecolor": FAINT},
    )
    most = max((column.max(initial=0.0) for column in columns), default=0.0)
    axes.set_xscale("function", functions=(lambda value: np.sqrt(np.abs(value)), np.square))
    axes.set_xlim(0, max(1.05 * most, 1.0))
    axes.set_xticks([tick for tick in TICKS if tick <= max(most, 1.0)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    axes.tick_params(axis="x", labelsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(f"Radial error in {unit}, on a scale of square roots")
    return plot(figure, "landmarks")

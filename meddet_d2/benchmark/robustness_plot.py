"""The picture of robustness.json: AP50 against severity, a panel for each corruption, a line for each row."""

import statistics
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from meddet_d2.evaluation.detection_evaluator import data_note
from meddet_d2.files import replacing

from .result_plots import INK, LINES, SIZE, STYLES, style
from .robustness import CLEAN, condition_name

METRIC = "AP50"
MARKERS = ("o", "s", "^", "D", "v", "P")
COLUMNS = 4


def draw(content: Mapping, path: Path) -> None:
    """Draw the means over the seeds, with the range of the seeds behind them; clean stands at severity 0.

    Args:
        content: of robustness.json; conditions that are not measured yet are left out.
        path: a png.
    """
    corruptions = content["corruptions"]
    columns = min(COLUMNS, len(corruptions) + 1)
    lines = -(-(len(corruptions) + 1) // columns)
    figure = Figure(figsize=(3.5 * columns, 0.6 + 3.1 * lines), layout="constrained", dpi=110)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axes, corruption in zip(panels, corruptions, strict=False):
        _panel(axes, content, corruption)
    for axes in panels[len(corruptions) :]:
        axes.set_axis_off()
    for place, axes in enumerate(panels[: len(corruptions)]):
        if place % columns == 0:
            axes.set_ylabel(f"{METRIC}, %", fontsize=SIZE)
        if place + columns >= len(corruptions):
            axes.set_xlabel("severity (0: clean)", fontsize=SIZE)
    handles, labels = panels[0].get_legend_handles_labels()
    legend = panels[len(corruptions)]
    legend.legend(handles, labels, loc="center left", frameon=False, fontsize=SIZE, title_fontsize=SIZE - 1,
                  title="mean over the seeds;\nshaded: from the least to the greatest", alignment="left")  # fmt: skip
    note = data_note(content["dataset"])
    title = f"{content['dataset']}{note and f' ({note})'}, {content['images']} images under MRI noise"
    figure.suptitle(title, fontsize=SIZE, color=INK, x=0.01, ha="left")
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)


def _panel(axes: Axes, content: Mapping, corruption: str) -> None:
    style(axes)
    axes.set_title(corruption.replace("_", " "), loc="left", fontsize=SIZE, fontweight="bold")
    names = {0: CLEAN, **{severity: condition_name(corruption, severity) for severity in content["severities"]}}
    for place, row in enumerate(dict.fromkeys(record["row"] for record in content["networks"])):
        found = [record["measured"] for record in content["networks"] if record["row"] == row]
        points = {
            severity: [measured[name][METRIC] for measured in found if measured.get(name, {}).get(METRIC) is not None]
            for severity, name in names.items()
        }
        points = {severity: values for severity, values in sorted(points.items()) if values}
        look = {"color": LINES[place % len(LINES)], "linestyle": STYLES[place // len(LINES) % len(STYLES)]}
        means = list(map(statistics.fmean, points.values()))
        axes.plot(list(points), means, marker=MARKERS[place % len(MARKERS)], markersize=4.5, linewidth=1.5,
                  label=row, **look)  # fmt: skip
        low, high = (list(map(bound, points.values())) for bound in (min, max))
        axes.fill_between(list(points), low, high, color=look["color"], alpha=0.15, linewidth=0)
    axes.set_xticks(list(names))

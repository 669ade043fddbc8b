"""The picture of robustness.json: AP50 against severity, a panel for each corruption, a line for each row."""

import statistics
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .plot_style import SIZE, dataset_title, look, save, style
from .robustness import CLEAN, condition_name

METRIC = "AP50"
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
    save(figure, path, dataset_title(content["dataset"], f"{content['images']} images under MRI noise"))


def _panel(axes: Axes, content: Mapping, corruption: str) -> None:
    style(axes, corruption.replace("_", " "))
    names = {0: CLEAN, **{severity: condition_name(corruption, severity) for severity in content["severities"]}}
    for place, row in enumerate(dict.fromkeys(record["row"] for record in content["networks"])):
        found = [record["measured"] for record in content["networks"] if record["row"] == row]
        points = {
            severity: [measured[name][METRIC] for measured in found if measured.get(name, {}).get(METRIC) is not None]
            for severity, name in names.items()
        }
        points = {severity: values for severity, values in sorted(points.items()) if values}
        line = look(place)
        axes.plot(list(points), list(map(statistics.fmean, points.values())), label=row, **line)
        low, high = (list(map(bound, points.values())) for bound in (min, max))
        axes.fill_between(list(points), low, high, color=line["color"], alpha=0.15, linewidth=0)
    axes.set_xticks(list(names))

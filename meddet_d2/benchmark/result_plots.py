"""The benchmark's pictures: of a results folder's records, of speeds, and of robustness."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from meddet_d2.data.registration import data_note
from meddet_d2.distillation import TASK_REGISTRY, task_for
from meddet_d2.drawing import COLORS
from meddet_d2.files import replacing

from .report_parts import mean_and_sd
from .result_tables import RowResult, collect
from .results_folder import ResultsFolder
from .robustness import CLEAN, condition_name

INK = "#222222"
# Yellow is too light for a line on white.
LINES = [color for color in COLORS if color != "#F0E442"]
STYLES = ("-", "--", ":")
MARKERS = ("o", "^", "D", "v", "P", "X")
SIZE = 11
# A plain frame with a grid, titles at the left, and legends that cover nothing.
STYLE: Any = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "#e4e4e4", "grid.linewidth": 0.8, "xtick.labelsize": SIZE - 1, "ytick.labelsize": SIZE - 1,
    "axes.titlelocation": "left", "axes.titlesize": SIZE, "axes.titleweight": "bold", "axes.labelsize": SIZE,
    "legend.fontsize": SIZE - 1, "legend.frameon": False,
}  # fmt: skip
AT_THE_RIGHT: Any = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)}


@matplotlib.rc_context(STYLE)
def draw_all(folder: ResultsFolder, speeds: Mapping[str, Mapping[str, float]]) -> list[Path]:
    """Draw the four pictures of a results folder, those for which anything is done; returns the files.

    Args:
        folder: the results.
        speeds: images per second ("median", "low", "high") by run.
    """
    rows, records = [row for row in collect(folder) if row.records], folder.finished()
    teachers = [records[key] | {"run": key} for key in folder.read_plan().get("teachers", []) if key in records]
    if not rows:
        return []
    delays = {run: 1000 / speed["median"] for run, speed in speeds.items()}
    shown = [_first(row) for row in rows] + teachers
    sizes = {record["run"]: record["parameters"] / 1e6 for record in shown}
    drawn = {
        "ap50_by_method": _by_method(rows),
        "parameters_vs_ap50": _trade_off(rows, teachers, sizes, "parameters, millions"),
        "learning_curves": _learning_curves(rows),
    }
    if sizes.keys() <= delays.keys():
        label = "milliseconds an image (all networks timed side by side)"
        drawn["latency_vs_ap50"] = _trade_off(rows, teachers, delays, label)
    seeds = len({seed for row in rows for seed in row.records})
    title = _title(shown[0]["dataset"], f"{seeds} seed{'s' if seeds > 1 else ''}")
    return [_save(figure, folder.path / f"{name}.png", title) for name, figure in drawn.items()]


@matplotlib.rc_context(STYLE)
def draw_speed(milliseconds: Mapping[str, Mapping[str, Mapping[str, float]]], path: Path) -> Path:
    """Draw a panel for each group of timed calls, a bar for each call; returns the file.

    Args:
        milliseconds: "median", "low" and "high" (quartiles) by group and call.
        path: of the png.
    """
    counts = [len(calls) for calls in milliseconds.values()]
    figure = Figure(figsize=(9, 0.42 * sum(counts) + 0.95 * len(counts)), layout="constrained")
    panels = figure.subplots(len(counts), 1, squeeze=False, height_ratios=[count + 1 for count in counts])[:, 0]
    for axes, (group, calls) in zip(panels, milliseconds.items(), strict=True):
        for place, spread_of in enumerate(calls.values()):
            median, high = spread_of["median"], spread_of["high"]
            error = [[median - spread_of["low"]], [high - median]]
            axes.barh(place, median, xerr=error, height=0.62, color=LINES[place % len(LINES)], ecolor=INK, capsize=2)
            label = f" {median:.0f} ms" if median >= 100 else f" {median:.3g} ms"
            axes.annotate(label, (high, place), va="center", fontsize=SIZE - 2, color=INK)
        axes.set_title(group)
        axes.set_yticks(range(len(calls)), list(calls))
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.set_xlim(left=0)
    panels[-1].set_xlabel("milliseconds (bars: medians, whiskers: quartiles)")
    return _save(figure, path)


def _by_method(rows: Sequence[RowResult]) -> Figure:
    """A panel for each table: every seed a dot, the mean a diamond with the sample standard deviation."""
    tables = _tables(rows)
    heights = [len(group) for group in tables.values()]
    figure = Figure(figsize=(9, 1.2 + 0.36 * sum(heights) + 0.5 * len(tables)), layout="constrained", dpi=130)
    panels = figure.subplots(len(tables), 1, sharex=True, squeeze=False, height_ratios=[h + 0.6 for h in heights])[:, 0]
    for axes, (table, group) in zip(panels, tables.items(), strict=True):
        axes.set_title(f"Table {table}")
        for place, row in enumerate(group):
            values, (mean, sd) = row.values("AP50"), row.mean_sd("AP50")
            axes.plot(values, [place + 0.16] * len(values), "o", color=LINES[1], markersize=5, alpha=0.8)
            axes.errorbar(mean, place - 0.12, xerr=sd, fmt="D", color=INK, markersize=5, capsize=4, linewidth=1.4)
            text = f"{mean_and_sd(mean, sd)}  (n={len(values)})"
            axes.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=SIZE - 2)
        axes.set_yticks(range(len(group)), [row.name for row in group], fontsize=SIZE)
        axes.set_ylim(len(group) - 0.5, -0.5)
    panels[-1].set_xlabel("AP50, %  (dots: seeds; diamonds: mean ± sample standard deviation)")
    return figure


def _trade_off(rows: Sequence[RowResult], teachers: Sequence[dict], costs: Mapping[str, float], label: str) -> Figure:
    """AP50 against a cost by run: filled for distilled students, white for those alone, a square for each teacher."""
    figure = Figure(figsize=(10, 6.5), layout="constrained", dpi=130)
    axes = figure.subplots()
    axes.set(xlabel=label, ylabel="AP50, %")
    # A row that stands in another table already has the same run.
    distinct = {_first(row)["config_hash"]: row for row in reversed(rows)}
    for place, row in enumerate(reversed(distinct.values())):
        record, mean, sd = _first(row), statistics.fmean(row.values("AP50")), row.mean_sd("AP50")[1]
        name = row.name if record["method"] is None or row.table == "I" else f"{row.name} ({row.table})"
        color, marker = LINES[place % len(LINES)], MARKERS[place // len(LINES) % len(MARKERS)]
        axes.errorbar(
            costs[record["run"]], mean, yerr=sd, fmt=marker, color=color, label=name, markersize=8, capsize=3,
            markerfacecolor="white" if record["method"] is None else color, linewidth=1,
        )  # fmt: skip
    for place, record in enumerate(teachers):
        color = LINES[place % len(LINES)]
        axes.plot(costs[record["run"]], record["metrics"]["AP50"], "s", color=color, markeredgecolor=INK, markersize=8,
                  label=f"teacher {record['name']}")  # fmt: skip
    axes.legend(**AT_THE_RIGHT)
    return figure


def _learning_curves(rows: Sequence[RowResult]) -> Figure:
    """For each table the detection loss and the AP50 over the iterations, means over the seeds."""
    tables = _tables(rows)
    figure = Figure(figsize=(7.5 * 2, 1 + 3.6 * len(tables)), layout="constrained", dpi=100)
    panels = figure.subplots(len(tables), 2, squeeze=False)
    for (left, right), (table, group) in zip(panels, tables.items(), strict=True):
        for axes, text, value in ((left, "detection loss", own_loss), (right, "AP50, %", ap50)):
            axes.set(title=f"Table {table}: {text}", xlabel="iteration")
            for place, row in enumerate(group):
                curve = mean_curve(row, value)
                line = _look(place) | ({"marker": None} if axes is left else {})
                axes.plot(list(curve), list(curve.values()), label=row.name, **line)
        left.set_ylim(bottom=0)
        right.legend(**AT_THE_RIGHT)
    return figure


def ap50(record: Mapping, point: Mapping[str, float]) -> float | None:
    """The AP50 at a point of a record's learning curve."""
    return point.get("AP50")


def own_loss(record: Mapping, point: Mapping[str, float]) -> float | None:
    """The loss of the network's own training at a point of a record's learning curve: all methods have it in common."""
    # Records of earlier versions do not say of which kind their network is.
    known = [task.losses for _, task in TASK_REGISTRY]
    for names in [task_for(record["architecture"]).losses] if "architecture" in record else known:
        if all(name in point for name in names):
            return sum(point[name] for name in names)
    return None


def mean_curve(row: RowResult, value: Callable[[Mapping, Mapping], float | None]) -> dict[float, float]:
    """Iteration -> mean over the seeds, where every seed that is done (at least one) has a value at its point."""
    points: dict[float, list[float]] = {}
    for record in row.records.values():
        for point in record["curve"]:
            if (found := value(record, point)) is not None:
                points.setdefault(point["iteration"], []).append(found)
    shared = {iteration: values for iteration, values in sorted(points.items()) if len(values) == len(row.records)}
    return {iteration: statistics.fmean(values) for iteration, values in shared.items()}


@matplotlib.rc_context(STYLE)
def draw_robustness(content: Mapping, path: Path) -> None:
    """Draw robustness.json: AP50 against severity, a panel for each corruption, a line for each row.

    A line is the mean over the seeds, with their range behind it. Conditions that are not measured yet are left out.
    """
    corruptions = content["corruptions"]
    columns = min(4, len(corruptions) + 1)
    lines = -(-(len(corruptions) + 1) // columns)
    figure = Figure(figsize=(3.5 * columns, 0.6 + 3.1 * lines), layout="constrained", dpi=110)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for place, (axes, corruption) in enumerate(zip(panels, corruptions, strict=False)):
        _panel(axes, content, corruption)
        if place % columns == 0:
            axes.set_ylabel("AP50, %")
        if place + columns >= len(corruptions):
            axes.set_xlabel("severity (0: clean)")
    for axes in panels[len(corruptions) :]:
        axes.set_axis_off()
    panels[len(corruptions)].legend(
        *panels[0].get_legend_handles_labels(), loc="center left", fontsize=SIZE, title_fontsize=SIZE - 1,
        title="mean over the seeds;\nshaded: from the least to the greatest", alignment="left",
    )  # fmt: skip
    _save(figure, path, _title(content["dataset"], f"{content['images']} images under MRI noise"))


def _panel(axes: Axes, content: Mapping, corruption: str) -> None:
    axes.set_title(corruption.replace("_", " "))
    names = {0: CLEAN, **{severity: condition_name(corruption, severity) for severity in content["severities"]}}
    for place, row in enumerate(dict.fromkeys(record["row"] for record in content["networks"])):
        found = [record["measured"] for record in content["networks"] if record["row"] == row]
        values = {s: [measured.get(name, {}).get("AP50") for measured in found] for s, name in sorted(names.items())}
        points = {s: there for s, all_ in values.items() if (there := [value for value in all_ if value is not None])}
        line = _look(place)
        axes.plot(list(points), list(map(statistics.fmean, points.values())), label=row, **line)
        low, high = (list(map(bound, points.values())) for bound in (min, max))
        axes.fill_between(list(points), low, high, color=line["color"], alpha=0.15, linewidth=0)
    axes.set_xticks(list(names))


def _first(row: RowResult) -> dict:
    return next(iter(row.records.values()))


def _tables(rows: Sequence[RowResult]) -> dict[str, list[RowResult]]:
    names = dict.fromkeys(row.table for row in rows)
    return {table: [row for row in rows if row.table == table] for table in names}


def _look(place: int) -> dict[str, Any]:
    """Colour, line and marker of the row at a place: no two of the first thirty are alike."""
    return {
        "color": LINES[place % len(LINES)],
        "linestyle": STYLES[place // len(LINES) % len(STYLES)],
        "marker": MARKERS[place % len(MARKERS)],
        "markersize": 4.5,
        "linewidth": 1.5,
    }


def _title(dataset: str, rest: str) -> str:
    """On what data, with a note if it is drawn by a program, and the rest."""
    note = data_note(dataset)
    return f"{dataset}{note and f' ({note})'}, {rest}"


def _save(figure: Figure, path: Path, title: str = "") -> Path:
    """Write a figure as png, whole or not at all; returns the file."""
    if title:
        figure.suptitle(title, fontsize=SIZE, color=INK, x=0.01, ha="left")
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)
    return path

"""The pictures of a results folder, drawn from its records."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from .plot_style import INK, LINES, MARKERS, SIZE, dataset_title, legend_at_the_right, look, save, style
from .result_tables import RowResult, collect
from .results_folder import ResultsFolder


def draw_all(folder: ResultsFolder, speeds: Mapping[str, Mapping[str, float]]) -> list[Path]:
    """Draw the four pictures of a results folder, those for which anything is done.

    Args:
        folder: the results.
        speeds: images per second ("median", "low", "high") by run.

    Returns:
        The files.
    """
    rows, records = [row for row in collect(folder) if row.records], folder.records()
    teachers = [records[key] | {"run": key} for key in folder.read_plan().get("teachers", []) if key in records]
    teachers = [record for record in teachers if record["status"] == "done"]
    if not rows:
        return []
    delays = {run: 1000 / speed["median"] for run, speed in speeds.items()}
    shown = [row.records[row.seeds[0]] for row in rows] + teachers
    sizes = {record["run"]: record["parameters"] / 1e6 for record in shown}
    drawn = {
        "ap50_by_method": _by_method(rows),
        "parameters_vs_ap50": _trade_off(rows, teachers, sizes, "parameters, millions"),
        "learning_curves": _learning_curves(rows),
    }
    if sizes.keys() <= delays.keys():
        label = "milliseconds an image (all networks timed side by side)"
        drawn["latency_vs_ap50"] = _trade_off(rows, teachers, delays, label)
    seeds = len({seed for row in rows for seed in row.seeds})
    title = dataset_title(shown[0]["dataset"], f"{seeds} seed{'s' if seeds > 1 else ''}")
    return [save(figure, folder.path / f"{name}.png", title) for name, figure in drawn.items()]


def draw_speed(milliseconds: Mapping[str, Mapping[str, Mapping[str, float]]], output: Path) -> Path:
    """Draw speed.png: a panel for each group of timed calls, a bar for each call, medians with their quartiles.

    Args:
        milliseconds: "median", "low" and "high" by group and call.
        output: the folder.

    Returns:
        The file.
    """
    counts = [len(calls) for calls in milliseconds.values()]
    figure = Figure(figsize=(9, 0.42 * sum(counts) + 0.95 * len(counts)), layout="constrained")
    panels = figure.subplots(len(counts), 1, squeeze=False, height_ratios=[count + 1 for count in counts])[:, 0]
    for axes, (group, calls) in zip(panels, milliseconds.items(), strict=True):
        for place, spread_of in enumerate(calls.values()):
            median = spread_of["median"]
            error = [[median - spread_of["low"]], [spread_of["high"] - median]]
            axes.barh(place, median, xerr=error, height=0.62, color=LINES[place % len(LINES)], ecolor=INK, capsize=2)
            label = f" {median:.0f} ms" if median >= 100 else f" {median:.3g} ms"
            axes.annotate(label, (spread_of["high"], place), va="center", fontsize=SIZE - 2, color=INK)
        style(axes, group)
        axes.set_yticks(range(len(calls)), list(calls))
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.set_xlim(left=0)
    panels[-1].set_xlabel("milliseconds (bars: medians, whiskers: quartiles)", fontsize=SIZE)
    return save(figure, output / "speed.png")


def _by_method(rows: Sequence[RowResult]) -> Figure:
    """A panel for each table: every seed a dot, mean and sample standard deviation beside it."""
    tables = _tables(rows)
    heights = [len(group) for group in tables.values()]
    figure = Figure(figsize=(9, 1.2 + 0.36 * sum(heights) + 0.5 * len(tables)), layout="constrained", dpi=130)
    panels = figure.subplots(len(tables), 1, sharex=True, squeeze=False, height_ratios=[h + 0.6 for h in heights])[:, 0]
    for axes, (table, group) in zip(panels, tables.items(), strict=True):
        style(axes, f"Table {table}")
        for place, row in enumerate(group):
            values, mean, sd = row.values("AP50"), row.mean("AP50"), row.sd("AP50")
            axes.plot(values, [place + 0.16] * len(values), "o", color=LINES[1], markersize=5, alpha=0.8)
            axes.errorbar(mean, place - 0.12, xerr=sd, fmt="D", color=INK, markersize=5, capsize=4, linewidth=1.4)
            text = f"{mean:.1f}" + ("" if sd is None else f" ± {sd:.1f}") + f"  (n={len(values)})"
            axes.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=SIZE - 2)
        axes.set_yticks(range(len(group)), [row.row for row in group], fontsize=SIZE)
        axes.set_ylim(len(group) - 0.5, -0.5)
    panels[-1].set_xlabel("AP50, %  (dots: seeds; diamonds: mean ± sample standard deviation)", fontsize=SIZE)
    return figure


def _trade_off(rows: Sequence[RowResult], teachers: Sequence[dict], costs: Mapping[str, float], label: str) -> Figure:
    """AP50 against a cost by run: filled for distilled students, white for those alone, a square for each teacher."""
    figure = Figure(figsize=(10, 6.5), layout="constrained", dpi=130)
    axes = figure.subplots()
    style(axes, x=label, y="AP50, %")
    # A row that stands in another table already has the same run.
    distinct = {row.records[row.seeds[0]]["config_hash"]: row for row in reversed(rows)}
    for place, row in enumerate(reversed(distinct.values())):
        record = row.records[row.seeds[0]]
        name = row.row if record["method"] is None or row.table == "I" else f"{row.row} ({row.table})"
        color, marker = LINES[place % len(LINES)], MARKERS[place // len(LINES) % len(MARKERS)]
        face = "white" if record["method"] is None else color
        axes.errorbar(
            costs[record["run"]], statistics.fmean(row.values("AP50")), yerr=row.sd("AP50"), fmt=marker, color=color,
            markerfacecolor=face, markersize=8, capsize=3, linewidth=1, label=name,
        )  # fmt: skip
    for place, record in enumerate(teachers):
        color = LINES[place % len(LINES)]
        axes.plot(costs[record["run"]], record["metrics"]["AP50"], "s", color=color, markeredgecolor=INK, markersize=8,
                  label=f"teacher {record['name']}")  # fmt: skip
    legend_at_the_right(axes)
    return figure


def _learning_curves(rows: Sequence[RowResult]) -> Figure:
    """For each table the detection loss and the AP50 over the iterations, means over the seeds."""
    tables = _tables(rows)
    figure = Figure(figsize=(7.5 * 2, 1 + 3.6 * len(tables)), layout="constrained", dpi=100)
    panels = figure.subplots(len(tables), 2, squeeze=False)
    for (left, right), (table, group) in zip(panels, tables.items(), strict=True):
        for axes, text, value in ((left, "detection loss", detection_loss), (right, "AP50, %", _ap50)):
            style(axes, f"Table {table}: {text}", "iteration")
            for place, row in enumerate(group):
                points = mean_curve(row, value)
                line = look(place) | ({"marker": None} if axes is left else {})
                axes.plot([x for x, _ in points], [y for _, y in points], label=row.row, **line)
        left.set_ylim(bottom=0)
        legend_at_the_right(right)
    return figure


def _ap50(point: Mapping[str, float]) -> float | None:
    return point.get("AP50")


def detection_loss(point: Mapping[str, float]) -> float | None:
    """The student's detection loss at a point of a learning curve: the one that all methods have in common."""
    parts = [point[name] for name in ("loss_qfl", "loss_dfl", "loss_giou") if name in point]
    return sum(parts) if len(parts) == 3 else None


def mean_curve(row: RowResult, value: Callable[[Mapping[str, float]], float | None]) -> list[tuple[float, float]]:
    """(iteration, mean over the seeds) where every seed that is done has a value.

    Args:
        row: with at least one record.
        value: of a point of a curve; None where it has none.
    """
    curves = []
    for record in row.records.values():
        points = {point["iteration"]: value(point) for point in record["curve"]}
        curves.append({iteration: found for iteration, found in points.items() if found is not None})
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    return [(iteration, statistics.fmean(curve[iteration] for curve in curves)) for iteration in shared]


def _tables(rows: Sequence[RowResult]) -> dict[str, list[RowResult]]:
    names = dict.fromkeys(row.table for row in rows)
    return {table: [row for row in rows if row.table == table] for table in names}

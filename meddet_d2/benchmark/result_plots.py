"""The pictures of a results folder, drawn from its records."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from meddet_d2.drawing import COLORS
from meddet_d2.evaluation.detection_evaluator import data_note
from meddet_d2.files import replacing

from .result_tables import RowResult, collect
from .results_folder import ResultsFolder

INK, FAINT = "#222222", "#aaaaaa"
# Yellow is too light for a line on white.
LINES = [color for color in COLORS if color != "#F0E442"]
STYLES = ("-", "--", ":")
SIZE = 11
# Of the axes' height: the least distance of two labels.
LABEL_GAP = 0.052


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
    first = {(row.table, row.row): row.records[row.seeds[0]] for row in rows}
    sizes = {place: record["parameters"] / 1e6 for place, record in first.items()}
    timed = {place: speeds[record["run"]] for place, record in first.items() if record["run"] in speeds}
    delays = {place: 1000 / speed["median"] for place, speed in timed.items()}
    teacher_sizes = [record["parameters"] / 1e6 for record in teachers]
    teacher_delays = [1000 / speeds[record["run"]]["median"] for record in teachers if record["run"] in speeds]
    drawn = {
        "ap50_by_method": _by_method(rows),
        "parameters_vs_ap50": _trade_off(rows, sizes, teachers, teacher_sizes, "parameters, millions"),
        "learning_curves": _learning_curves(rows),
    }
    if len(delays) == len(sizes) and len(teacher_delays) == len(teachers):
        label = "milliseconds an image (all networks timed side by side)"
        drawn["latency_vs_ap50"] = _trade_off(rows, delays, teachers, teacher_delays, label)
    paths = []
    for name, figure in drawn.items():
        figure.suptitle(_title(rows), fontsize=SIZE, color=INK, x=0.01, ha="left")
        path = folder.path / f"{name}.png"
        with replacing(path) as temporary:
            FigureCanvasAgg(figure).print_png(temporary)
        paths.append(path)
    return paths


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
        axes.set_yticks(range(len(calls)), list(calls), fontsize=SIZE - 1)
        axes.invert_yaxis()
        axes.margins(x=0.18)
        axes.set_xlim(left=0)
        axes.set_title(group, fontsize=SIZE, color=INK, loc="left")
        axes.tick_params(axis="x", labelsize=SIZE - 2)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("milliseconds (bars: medians, whiskers: quartiles)", fontsize=SIZE - 1, color=INK)
    path = output / "speed.png"
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)
    return path


def _title(rows: Sequence[RowResult]) -> str:
    record = next(iter(rows[0].records.values()))
    note = data_note(record["dataset"])
    seeds = sorted({seed for row in rows for seed in row.seeds})
    return f"{record['dataset']}{note and f' ({note})'}, {len(seeds)} seed{'s' if len(seeds) > 1 else ''}"


def _by_method(rows: Sequence[RowResult]) -> Figure:
    """A panel for each table: every seed a dot, mean and sample standard deviation beside it."""
    tables = _tables(rows)
    heights = [len(group) for group in tables.values()]
    figure = Figure(figsize=(9, 1.2 + 0.36 * sum(heights) + 0.5 * len(tables)), layout="constrained", dpi=130)
    panels = figure.subplots(len(tables), 1, sharex=True, squeeze=False, height_ratios=[h + 0.6 for h in heights])[:, 0]
    for axes, (table, group) in zip(panels, tables.items(), strict=True):
        style(axes)
        for place, row in enumerate(group):
            values, mean, sd = row.values("AP50"), row.mean("AP50"), row.sd("AP50")
            axes.plot(values, [place + 0.16] * len(values), "o", color=LINES[1], markersize=5, alpha=0.8)
            axes.errorbar(mean, place - 0.12, xerr=sd, fmt="D", color=INK, markersize=5, capsize=4, linewidth=1.4)
            text = f"{mean:.1f}" + ("" if sd is None else f" ± {sd:.1f}") + f"  (n={len(values)})"
            axes.annotate(text, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=SIZE - 2)
        axes.set_yticks(range(len(group)), [row.row for row in group], fontsize=SIZE)
        axes.set_ylim(len(group) - 0.5, -0.5)
        axes.set_title(f"Table {table}", loc="left", fontsize=SIZE, fontweight="bold")
    panels[-1].set_xlabel("AP50, %  (dots: seeds; diamonds: mean ± sample standard deviation)", fontsize=SIZE)
    return figure


def _trade_off(rows, values, teachers, teacher_values, label: str) -> Figure:
    """AP50 against a cost: a dot for each method and a square for each teacher, named at the right."""
    figure = Figure(figsize=(10, 6.5), layout="constrained", dpi=130)
    axes = figure.subplots()
    style(axes)
    points, shown = [], set()
    for row in rows:
        record = row.records[row.seeds[0]]
        if record["config_hash"] in shown:  # it stands in another table already
            continue
        shown.add(record["config_hash"])
        name = row.row if record["method"] is None or row.table == "I" else f"{row.row} ({row.table})"
        color = LINES[1] if record["method"] is None else LINES[0]
        x, y, sd = values[row.table, row.row], row.mean("AP50"), row.sd("AP50")
        axes.errorbar(x, y, yerr=sd, fmt="o", color=color, markersize=8, capsize=3, linewidth=1, markeredgecolor=INK)
        points.append((x, y, name))
    for record, x in zip(teachers, teacher_values, strict=True):
        y = record["metrics"]["AP50"]
        axes.plot(x, y, "s", color=LINES[2], markersize=8, markeredgecolor=INK)
        points.append((x, y, f"teacher {record['name']}"))
    axes.set_xlabel(label, fontsize=SIZE)
    axes.set_ylabel("AP50, %", fontsize=SIZE)
    for marker, color, text in (("o", LINES[1], "alone"), ("o", LINES[0], "distilled"), ("s", LINES[2], "teacher")):
        axes.plot([], [], marker, color=color, markeredgecolor=INK, label=text)
    axes.legend(frameon=False, fontsize=SIZE, loc="upper center", bbox_to_anchor=(0.5, 1.08), ncols=3)
    _name_at_the_right(axes, points)
    return figure


def _learning_curves(rows: Sequence[RowResult]) -> Figure:
    """For each table the detection loss and the AP50 over the iterations, means over the seeds."""
    tables = _tables(rows)
    figure = Figure(figsize=(7.5 * 2, 1 + 3.6 * len(tables)), layout="constrained", dpi=100)
    panels = figure.subplots(len(tables), 2, squeeze=False)
    for (left, right), (table, group) in zip(panels, tables.items(), strict=True):
        ends = []
        for place, row in enumerate(group):
            look = {"color": LINES[place % len(LINES)], "linestyle": STYLES[place // len(LINES) % len(STYLES)]}
            losses, scores = mean_curve(row, detection_loss), mean_curve(row, lambda point: point.get("AP50"))
            left.plot(*_columns(losses), linewidth=1.6, **look)
            right.plot(*_columns(scores), marker="o", markersize=4, linewidth=1.6, **look)
            if scores:
                ends.append((*scores[-1], row.row, look["color"]))
        for axes, text in ((left, "detection loss"), (right, "AP50, %")):
            style(axes)
            axes.set_title(f"Table {table}: {text}", loc="left", fontsize=SIZE, fontweight="bold")
            axes.set_xlabel("iteration", fontsize=SIZE)
        left.set_ylim(bottom=0)
        _name_at_the_right(right, ends)
    return figure


def detection_loss(point: Mapping[str, float]) -> float | None:
    """The student's detection loss at a point of a learning curve: the one that all methods have in common."""
    parts = [point.get(name) for name in ("loss_qfl", "loss_dfl", "loss_giou")]
    return None if None in parts else sum(parts)


def mean_curve(row: RowResult, value) -> list[tuple[float, float]]:
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


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]


def _tables(rows: Sequence[RowResult]) -> dict[str, list[RowResult]]:
    names = dict.fromkeys(row.table for row in rows)
    return {table: [row for row in rows if row.table == table] for table in names}


def style(axes: Axes) -> None:
    """The look that all pictures have in common."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SIZE - 1)


def _name_at_the_right(axes: Axes, points: Sequence[tuple]) -> None:
    """Names of points (x, y, name, maybe a colour) in one column right of the axes, in the order of y, with a thin line
    to each: so they never cover each other or a point."""
    low, high = axes.get_ylim()
    ordered = sorted(points, key=lambda point: point[1])
    places = spread([(point[1] - low) / (high - low) for point in ordered], LABEL_GAP)
    for (x, y, name, *color), place in zip(ordered, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize=SIZE - 1,
            color=color[0] if color else INK,
            arrowprops={
                "arrowstyle": "-",
                "color": FAINT,
                "linewidth": 0.6,
                "shrinkA": 0,
                "shrinkB": 4,
                "relpos": (0, 0.5),
            },
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Places moved apart to at least ``gap`` and into [0, 1], with the least sum of squared moves.

    Args:
        places: ascending.
        gap: least distance of neighbours; smaller where they do not fit otherwise.
    """
    gap = min(gap, 1 / max(len(places) - 1, 1))
    # With k * gap taken off the k-th place, "at least gap apart" becomes "not descending": isotonic regression, by
    # pooling neighbours that violate it.
    pools: list[tuple[float, int]] = []
    for index, place in enumerate(places):
        mean, count = place - index * gap, 1
        while pools and pools[-1][0] > mean:
            other, number = pools.pop()
            mean, count = (mean * count + other * number) / (count + number), count + number
        pools.append((mean, count))
    flat = [mean for mean, count in pools for _ in range(count)]
    room = max(1 - gap * (len(places) - 1), 0.0)
    return [min(max(value, 0.0), room) + index * gap for index, value in enumerate(flat)]

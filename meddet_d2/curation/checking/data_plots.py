"""The figures of the page: what the boxes of a data set are like."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from meddet_d2.drawing import COLORS, color_of

from ...layout.levels import DISCS, level_index
from .annotation_checks import OTHER, Split
from .box_checks import millimetres
from .data_statistics import boxes_of

INK, GRID = "#1a1d21", "#e4e6ea"
SIZE = 9
# A colour for each split that the first two classes do not have; yellow is too light for a line on white.
SPLIT_COLORS = (COLORS[2], COLORS[3], COLORS[5], "#555555")
STYLES = ("-", "--", ":", "-.")
MARKERS = "os^DvP*X<>"


def plot_boxes(splits: Sequence[Split], *, millimetre: bool = False) -> Figure | None:
    """Widths and heights in pixels or millimetres, one dot a box; None where there are none."""
    by_class: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for image, box in (pair for split in splits for pair in boxes_of(split)):
        if (size := millimetres(image, box) if millimetre else box.size) is not None:
            by_class[box.name].append(size)
    if not by_class:
        return None
    figure, axes = _figure()
    dot = 16 if sum(map(len, by_class.values())) < 1500 else 8
    colors = class_colors(splits)
    # The rarer class lies on top.
    for name in sorted(by_class, key=lambda name: -len(by_class[name])):
        widths, heights = zip(*by_class[name], strict=True)
        look: dict[str, Any] = {"color": colors[name], "marker": MARKERS[list(colors).index(name) % len(MARKERS)]}
        # As pixels: ten thousand dots as drawings would be most of the page.
        axes.scatter(widths, heights, dot, **look, label=name, alpha=0.6, linewidths=0, rasterized=True)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    unit = "mm" if millimetre else "pixels"
    return _finished(figure, axes, f"width, {unit}", f"height, {unit}", markerscale=1.6)


def class_colors(splits: Sequence[Split]) -> dict[str, str]:
    """The classes of all splits with their colours, and OTHER where a box is of none."""
    names = dict.fromkeys(name for split in splits for name in split.classes)
    names |= dict.fromkeys(box.name for split in splits for _, box in boxes_of(split))
    return {name: "#999999" if name == OTHER else color_of(place) for place, name in enumerate(names)}


def plot_classes(splits: Sequence[Split]) -> Figure | None:
    """The shares of the classes in each split, with their counts."""
    if not (counts := _by_split(splits, lambda split: [box.name for _, box in boxes_of(split)])):
        return None
    figure, axes = _figure(height=1.0 + 0.45 * len(counts))
    left = np.zeros(len(counts))
    for name, color in class_colors(splits).items():
        numbers = [boxes.count(name) for boxes in counts.values()]
        shares = 100 * np.array(numbers) / [len(boxes) for boxes in counts.values()]
        bars = axes.barh(range(len(counts)), shares, left=left, height=0.6, color=color, label=name)
        labels = [str(number) if share > 8 else "" for number, share in zip(numbers, shares, strict=True)]
        axes.bar_label(bars, labels, label_type="center", fontsize=SIZE, color=INK)
        left += shares
    axes.set_yticks(range(len(counts)), list(counts))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    where: dict[str, Any] = {"ncols": 3, "loc": "lower left", "bbox_to_anchor": (0, 1)}
    return _finished(figure, axes, "% of the split's boxes (numbers: boxes)", "", **where)


def plot_levels(splits: Sequence[Split]) -> Figure | None:
    """Boxes by level and class; None where no level is named."""
    found = [(level_index(box.level or ""), box.name) for split in splits for _, box in boxes_of(split)]
    named = [(index, name) for index, name in found if index is not None]
    if not named:
        return None
    levels = sorted({index for index, _ in named})
    figure, axes = _figure()
    bottom = np.zeros(len(levels))
    for name, color in class_colors(splits).items():
        heights = np.array([named.count((index, name)) for index in levels])
        if heights.any():
            axes.bar(range(len(levels)), heights, bottom=bottom, width=0.7, color=color, label=name)
        bottom += heights
    axes.set_xticks(range(len(levels)), [DISCS[index] for index in levels], rotation=45 if len(levels) > 7 else 0)
    return _finished(figure, axes, "level", "boxes", room=True, ncols=2)


def plot_per_image(splits: Sequence[Split]) -> Figure | None:
    """How many boxes an image has, as shares of each split's images."""
    if not (numbers := _by_split(splits, lambda split: [len(image.judged) for image in split.images])):
        return None
    figure, axes = _figure()
    greatest = max(max(values) for values in numbers.values())
    width = 0.8 / len(numbers)
    for place, (name, values) in enumerate(numbers.items()):
        shares = 100 * np.bincount(values, minlength=greatest + 1) / len(values)
        at = np.arange(greatest + 1) + (place - (len(numbers) - 1) / 2) * width
        axes.bar(at, shares, width=0.9 * width, color=SPLIT_COLORS[place % len(SPLIT_COLORS)], label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= 100])
    return _finished(figure, axes, "boxes in an image", "% of the split's images", room=True, ncols=4)


def plot_aspects(splits: Sequence[Split]) -> Figure | None:
    """Width divided by height, as shares of each split's boxes."""
    aspects = _by_split(splits, lambda split: [box.size[0] / box.size[1] for _, box in boxes_of(split)])
    if not aspects:
        return None
    figure, axes = _figure()
    # The outermost half percents go into the outermost bins: one box of a hundred times its height would hide the rest.
    low, high = np.percentile(np.concatenate(list(aspects.values())), (0.5, 99.5))
    bins = np.linspace(low, high if high > low else low + 1, 25)
    for place, (name, values) in enumerate(aspects.items()):
        counts, _ = np.histogram(np.clip(values, bins[0], bins[-1]), bins)
        color, style = SPLIT_COLORS[place % len(SPLIT_COLORS)], STYLES[place % len(STYLES)]
        axes.stairs(100 * counts / len(values), bins, color=color, linestyle=style, linewidth=1.6, label=name)
    return _finished(figure, axes, "width / height", "% of the split's boxes", room=True, ncols=4)


def _by_split(splits: Sequence[Split], values_of: Callable[[Split], list]) -> dict[str, list]:
    """By the names of the splits that have any values."""
    return {split.name: values for split in splits if (values := values_of(split))}


def _figure(height: float = 3.1) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.0, height), layout="constrained", dpi=150)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SIZE, colors=INK)
    return figure, axes


def _finished(figure: Figure, axes: Axes, x: str, y: str, *, room: bool = False, **legend: Any) -> Figure:
    """With labels and a legend, for which ``room`` is left above the highest bar."""
    axes.set_xlabel(x, fontsize=SIZE, color=INK)
    axes.set_ylabel(y, fontsize=SIZE, color=INK)
    if room:
        axes.set_ylim(top=1.25 * axes.get_ylim()[1])
    axes.legend(frameon=False, fontsize=SIZE, **{"loc": "upper left"} | legend)
    return figure

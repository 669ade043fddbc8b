"""The figures of the page: what the boxes of a data set are like."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def plot_boxes(splits: Sequence[Split]) -> Figure | None:
    """Widths and heights in pixels, one dot a box."""
    return _sizes(splits, millimetre=False)


def plot_boxes_mm(splits: Sequence[Split]) -> Figure | None:
    """Widths and heights in millimetres; None where no image has a spacing."""
    return _sizes(splits, millimetre=True)


def class_list(splits: Sequence[Split]) -> list[str]:
    """The classes of all splits, and OTHER where a box is of none."""
    names = dict.fromkeys(name for split in splits for name in split.classes)
    return list(names | dict.fromkeys(sorted({box.name for split in splits for _, box in boxes_of(split)} - {*names})))


def _sizes(splits: Sequence[Split], *, millimetre: bool) -> Figure | None:
    by_class: dict[str, list[tuple[float, float]]] = {}
    for split in splits:
        for image, box in boxes_of(split):
            if not millimetre or image.spacing is not None:
                size = millimetres(image, box) if millimetre else box.size
                by_class.setdefault(box.name, []).append(size)
    if not by_class:
        return None
    figure, axes = _figure()
    dot = 16 if sum(map(len, by_class.values())) < 1500 else 8
    # The rarer class lies on top.
    names = class_list(splits)
    for name in sorted(by_class, key=lambda name: -len(by_class[name])):
        widths, heights = zip(*by_class[name], strict=True)
        marker = MARKERS[names.index(name) % len(MARKERS)]
        look = {"color": _class_color(name, names), "marker": marker, "label": name}
        # As pixels: ten thousand dots as drawings would be most of the page.
        axes.scatter(widths, heights, s=dot, alpha=0.6, linewidths=0, rasterized=True, **look)
    unit = "mm" if millimetre else "pixels"
    _label(axes, f"width, {unit}", f"height, {unit}")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=SIZE, markerscale=1.6, loc="upper left")
    return figure


def plot_classes(splits: Sequence[Split]) -> Figure | None:
    """The shares of the classes in each split, with their counts."""
    counts = {split.name: [box.name for _, box in boxes_of(split)] for split in splits}
    counts = {name: boxes for name, boxes in counts.items() if boxes}
    if not counts:
        return None
    figure, axes = _figure(height=1.0 + 0.45 * len(counts))
    names = class_list(splits)
    for place, boxes in enumerate(counts.values()):
        left = 0.0
        for name in names:
            share = 100 * boxes.count(name) / len(boxes)
            axes.barh(
                place, share, left=left, height=0.6, color=_class_color(name, names), label=name if place == 0 else None
            )
            if share > 8:
                axes.annotate(
                    str(boxes.count(name)),
                    (left + share / 2, place),
                    ha="center",
                    va="center",
                    fontsize=SIZE,
                    color=INK,
                )
            left += share
    axes.set_yticks(range(len(counts)), list(counts))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    _label(axes, "% of the split's boxes (numbers: boxes)", "")
    axes.legend(frameon=False, fontsize=SIZE, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def plot_levels(splits: Sequence[Split]) -> Figure | None:
    """Boxes by level and class; None where no level is named."""
    named = [(level_index(box.level), box.name) for s in splits for _, box in boxes_of(s) if box.level is not None]
    named = [(index, name) for index, name in named if index is not None]
    if not named:
        return None
    levels = sorted({index for index, _ in named})
    figure, axes = _figure()
    bottom = np.zeros(len(levels))
    names = class_list(splits)
    for name in names:
        heights = np.array([named.count((index, name)) for index in levels])
        if heights.any():
            axes.bar(range(len(levels)), heights, bottom=bottom, width=0.7, color=_class_color(name, names), label=name)
        bottom += heights
    axes.set_xticks(range(len(levels)), [DISCS[index] for index in levels], rotation=45 if len(levels) > 7 else 0)
    _leave_room(axes)
    _label(axes, "level", "boxes")
    axes.legend(frameon=False, fontsize=SIZE, ncols=2, loc="upper left")
    return figure


def plot_per_image(splits: Sequence[Split]) -> Figure | None:
    """How many boxes an image has, as shares of each split's images."""
    numbers = {split.name: [len([box for box in i.boxes if not box.crowd]) for i in split.images] for split in splits}
    numbers = {name: values for name, values in numbers.items() if values}
    if not numbers:
        return None
    figure, axes = _figure()
    greatest = max(max(values) for values in numbers.values())
    width = 0.8 / len(numbers)
    for place, (name, values) in enumerate(numbers.items()):
        shares = 100 * np.bincount(values, minlength=greatest + 1) / len(values)
        at = np.arange(greatest + 1) + (place - (len(numbers) - 1) / 2) * width
        axes.bar(at, shares, width=0.9 * width, color=SPLIT_COLORS[place % len(SPLIT_COLORS)], label=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= 100])
    _leave_room(axes)
    _label(axes, "boxes in an image", "% of the split's images")
    axes.legend(frameon=False, fontsize=SIZE, ncols=4, loc="upper left")
    return figure


def plot_aspects(splits: Sequence[Split]) -> Figure | None:
    """Width divided by height, as shares of each split's boxes."""
    aspects = {s.name: [box.size[0] / box.size[1] for _, box in boxes_of(s)] for s in splits}
    aspects = {name: values for name, values in aspects.items() if values}
    if not aspects:
        return None
    figure, axes = _figure()
    every = np.concatenate([np.asarray(values) for values in aspects.values()])
    # The outermost half percents go into the outermost bins: one box of a hundred times its height would hide the rest.
    low, high = np.percentile(every, (0.5, 99.5))
    bins = np.linspace(low, high if high > low else low + 1, 25)
    for place, (name, values) in enumerate(aspects.items()):
        weights = np.full(len(values), 100 / len(values))
        look = {"color": SPLIT_COLORS[place % len(SPLIT_COLORS)], "linestyle": STYLES[place % len(STYLES)]}
        clipped = np.clip(values, bins[0], bins[-1])
        axes.hist(clipped, bins, weights=weights, histtype="step", linewidth=1.6, label=name, **look)
    _leave_room(axes)
    _label(axes, "width / height", "% of the split's boxes")
    axes.legend(frameon=False, fontsize=SIZE, ncols=4, loc="upper left")
    return figure


def _figure(height: float = 3.1) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.0, height), layout="constrained", dpi=150)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SIZE, colors=INK)
    return figure, axes


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=SIZE, color=INK)
    axes.set_ylabel(y, fontsize=SIZE, color=INK)


def _leave_room(axes: Axes) -> None:
    """For the legend above the highest bar."""
    axes.set_ylim(top=1.25 * axes.get_ylim()[1])


def _class_color(name: str, names: Sequence[str]) -> str:
    return "#999999" if name == OTHER else color_of(names.index(name))

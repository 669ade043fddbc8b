"""The look that all of the benchmark's pictures have in common."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from meddet_d2.drawing import COLORS
from meddet_d2.evaluation.detection_evaluator import data_note
from meddet_d2.files import replacing

INK = "#222222"
# Yellow is too light for a line on white.
LINES = [color for color in COLORS if color != "#F0E442"]
STYLES = ("-", "--", ":")
MARKERS = ("o", "^", "D", "v", "P", "X")
SIZE = 11


def look(place: int) -> dict[str, Any]:
    """Colour, line and marker of the row at a place: no two of the first thirty are alike."""
    return {
        "color": LINES[place % len(LINES)],
        "linestyle": STYLES[place // len(LINES) % len(STYLES)],
        "marker": MARKERS[place % len(MARKERS)],
        "markersize": 4.5,
        "linewidth": 1.5,
    }


def style(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """A plain frame with a grid, a title at the left and names of the axes."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=SIZE - 1)
    axes.set_title(title, loc="left", fontsize=SIZE, fontweight="bold")
    axes.set_xlabel(x, fontsize=SIZE)
    axes.set_ylabel(y, fontsize=SIZE)


def legend_at_the_right(axes: Axes, columns: int = 1) -> None:
    """The names outside of the axes, where they cover nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=SIZE - 1, ncols=columns)


def dataset_title(dataset: str, rest: str) -> str:
    """A picture's title: on what data, with a note if it is drawn by a program, and the rest."""
    note = data_note(dataset)
    return f"{dataset}{note and f' ({note})'}, {rest}"


def save(figure: Figure, path: Path, title: str = "") -> Path:
    """Write a figure as png, whole or not at all; returns the file."""
    if title:
        figure.suptitle(title, fontsize=SIZE, color=INK, x=0.01, ha="left")
    with replacing(path) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)
    return path

"""Boxes on images, drawn the same way everywhere: pictures of results, overlays, pages.

Nothing covers the discs: a class is told by colour and line (solid, dashed), and a score stands beside its box. Drawn
with Pillow, on images of this size or that, without torch: a deployed detector draws as well.

Shape legend
    H, W: height and width of the image in pixels
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito's colours, which readers with any colour vision tell apart; the first class gets the warm one. Further
# classes get others, and every class the next of the dashes.
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#0072B2")
INKS = ("#b25f00", "#0f6aa6", "#146c43", "#7a3b8f")
# Length of a dash as a multiple of the line's width, None for a solid line.
DASHES = (None, 5, 1.5, 9)

BACKGROUND, FOREGROUND, FAINT = "#14161a", "#f0f0f0", "#a8adb5"
# Pixels: the height of a line of text, and the width of a box's line.
CAPTION, LINE = 26, 2
# Panels are drawn at this multiple of their size and reduced, for smooth lines.
OVERSAMPLING = 3


@dataclass(frozen=True)
class Box:
    """A box in pixels of the image, (x0, y0, x1, y1), its class's number and, if detected, its score."""

    corners: tuple[float, float, float, float]
    label: int
    score: float | None = None


def draw_panel(image: np.ndarray, boxes: Sequence[Box], size: int) -> Image.Image:
    """One image with boxes, its longer side ``size`` pixels.

    Args:
        image: uint8, (H, W, 3), RGB.
        boxes: in pixels of ``image``.
        size: of the panel.
    """
    height, width = image.shape[:2]
    scale = size / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    large = shape[0] * OVERSAMPLING, shape[1] * OVERSAMPLING
    panel = Image.fromarray(np.ascontiguousarray(image)).resize(large, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(panel)
    scaled = [replace(box, corners=tuple(value * scale * OVERSAMPLING for value in box.corners)) for box in boxes]
    for box in scaled:
        x0, y0, x1, y1 = box.corners
        for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x0, y1), (x1, y1)), ((x0, y0), (x0, y1))):
            draw_line(draw, start, end, box.label, LINE * OVERSAMPLING)
    font = font_of(14 * OVERSAMPLING)
    placed: list[tuple[float, ...]] = []
    for box in scaled:
        if box.score is not None:
            placed.append(_draw_score(draw, box, font, placed))
    return panel.resize(shape, Image.Resampling.LANCZOS)


def _draw_score(draw: ImageDraw.ImageDraw, box: Box, font: Any, placed: Sequence[Any]) -> tuple[float, ...]:
    """Write a box's score beside it, clear of those ``placed`` where it can be; gives the rectangle that it takes."""
    x0, y0, x1, y1 = box.corners
    text, gap, pad = f"{box.score:.2f}", 5 * OVERSAMPLING, 2 * OVERSAMPLING
    left, right = [((x0 - gap, y0), "ra"), ((x0 - gap, y1), "rd")], [((x1 + gap, y0), "la"), ((x1 + gap, y1), "ld")]
    # On the left, where the vertebral bodies' front is: the canal, into which a disc protrudes, stays free.
    room = x0 > font.getlength(text) + 2 * gap
    places = []
    for at, anchor in [*left, *right] if room else right:
        bounds = draw.textbbox(at, text, font=font, anchor=anchor)
        places.append((at, anchor, (bounds[0] - pad, bounds[1] - pad, bounds[2] + pad, bounds[3] + pad)))
    free = [place for place in places if not any(_touch(place[2], other) for other in placed)]
    at, anchor, taken = (free or places)[0]
    draw.rectangle(taken, fill="black")
    draw.text(at, text, fill=color_of(box.label), font=font, anchor=anchor)
    return taken


def _touch(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def draw_line(draw: ImageDraw.ImageDraw, start: Sequence[float], end: Sequence[float], label: int, width: int) -> None:
    """A straight line in the colour and the dashes of a class."""
    begin, way = np.asarray(start), np.asarray(end) - np.asarray(start)
    length = float(np.linalg.norm(way))
    dashes = DASHES[label % len(DASHES)]
    dash = length if dashes is None else dashes * width
    for position in np.arange(0, length, dash + 2 * width):
        pieces = [begin + way * min(at, length) / length for at in (position, position + dash)]
        draw.line([tuple(piece) for piece in pieces], fill=color_of(label), width=width)


def color_of(label: int) -> str:
    """A class's colour as #rrggbb."""
    colors = COLORS if label < len(COLORS) else _all_colors()
    return colors[label % len(colors)]


@cache
def _all_colors() -> tuple[str, ...]:
    """COLORS, and then each time that one of a cube's light colours which is farthest from all before: about 150."""
    steps = range(0, 256, 51)
    free = np.array([rgb for rgb in product(steps, steps, steps) if np.dot(rgb, (0.3, 0.59, 0.11)) > 80])
    chosen = np.array([list(bytes.fromhex(color[1:])) for color in COLORS])
    nearest = np.linalg.norm(free[:, None] - chosen, axis=2).min(axis=1)
    found = list(COLORS)
    while nearest.max() > 40:
        best = free[nearest.argmax()]
        found.append("#" + bytes(best.tolist()).hex().upper())
        nearest = np.minimum(nearest, np.linalg.norm(free - best, axis=1))
    return tuple(found)


def ink_of(label: int) -> str:
    """The same colour, darker, for lines on white: boxes are drawn on black."""
    if label < len(INKS):
        return INKS[label]
    parts = (int(color_of(label)[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(0.6 * part):02x}" for part in parts)


def draw_legend(names: Sequence[str], text: str = "", *, width: int | None = None) -> Image.Image:
    """How each class is drawn, and a text behind it, in as many lines as are needed.

    Args:
        names: of the classes.
        text: behind the last.
        width: pixels, the most that a line may have where it holds more than one entry; one line if None.
    """
    font, sample = font_of(14), 36
    entries: list[tuple[int | None, str, int]] = [
        (index, name, sample + 8 + round(font.getlength(name)) + 28) for index, name in enumerate(names)
    ]
    entries += [(None, text, round(font.getlength(text)))] if text else []
    places, left, line, widest = [], 0, 0, 1
    for _, _, size in entries:
        if width is not None and left and left + size > width:
            left, line = 0, line + 1
        places.append((left, line * CAPTION + CAPTION // 2))
        left += size
        widest = max(widest, left)
    strip = Image.new("RGB", (widest, (line + 1) * CAPTION), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for (index, name, _), (left, middle) in zip(entries, places, strict=True):
        if index is not None:
            draw_line(draw, (left, middle), (left + sample, middle), index, LINE)
            left += sample + 8
        draw.text((left, middle), name, fill=FOREGROUND if index is not None else FAINT, font=font, anchor="lm")
    return strip


def font_of(size: int) -> Any:
    """Pillow's own font, so that a picture is the same on every machine."""
    return ImageFont.load_default(size)

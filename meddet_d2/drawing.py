"""Boxes and landmarks on images, drawn the same way everywhere: pictures of results, overlays, pages.

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
# Landmarks: the true ones, the predicted ones, and the line between the two.
TRUE_COLOR, FOUND_COLOR, ERROR_COLOR = COLORS[2], COLORS[0], "#FFFFFF"
# Pixels: the radius of a true landmark's ring; a predicted one's dot is smaller.
RING = 5
# Letters that a landmark's name in a picture has at most.
LONGEST = 6
# Panels are drawn at this multiple of their size and reduced, for smooth lines.
OVERSAMPLING = 3


@dataclass(frozen=True)
class Box:
    """A box in pixels of the image, (x0, y0, x1, y1), its class's number and, if detected, its score and level."""

    corners: tuple[float, float, float, float]
    label: int
    score: float | None = None
    level: str = ""


@dataclass(frozen=True)
class Landmark:
    """A landmark's short name, where it truly is and where it was predicted, each (x, y) in pixels of the image."""

    name: str
    truth: tuple[float, float] | None = None
    found: tuple[float, float] | None = None


def draw_panel(image: np.ndarray, boxes: Sequence[Box], size: int) -> Image.Image:
    """One image with boxes, its longer side ``size`` pixels.

    Args:
        image: uint8, (H, W, 3), RGB.
        boxes: in pixels of ``image``.
        size: of the panel.
    """
    panel, scale, shape = _enlarged(image, size)
    draw = ImageDraw.Draw(panel)
    corners = ((x0 * scale, y0 * scale, x1 * scale, y1 * scale) for x0, y0, x1, y1 in (box.corners for box in boxes))
    scaled = [replace(box, corners=place) for box, place in zip(boxes, corners, strict=True)]
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


def draw_landmarks(image: np.ndarray, landmarks: Sequence[Landmark], size: int) -> Image.Image:
    """One image with true landmarks as rings, predicted ones as dots, and the errors as lines between the two.

    Args:
        image: uint8, (H, W, 3), RGB.
        landmarks: in pixels of ``image``. A name is written where it covers no landmark and no other name; the first
            have the choice.
        size: of the panel's longer side.
    """
    panel, scale, shape = _enlarged(image, size)
    draw = ImageDraw.Draw(panel)
    ends = [tuple(end and (end[0] * scale, end[1] * scale) for end in (one.truth, one.found)) for one in landmarks]
    for truth, found in ends:
        if truth is not None and found is not None:
            draw.line([truth, found], fill=ERROR_COLOR, width=OVERSAMPLING)
    for truth, found in ends:
        _draw_marks(draw, truth, found)
    around = RING * OVERSAMPLING
    placed = [
        (x - around, y - around, x + around, y + around) for x, y in (end for pair in ends for end in pair if end)
    ]
    font = font_of(12 * OVERSAMPLING)
    for one, (truth, found) in zip(landmarks, ends, strict=True):
        place = found or truth
        if place is not None:
            placed += _draw_name(draw, one.name, place, font, placed)
    return panel.resize(shape, Image.Resampling.LANCZOS)


def _draw_marks(draw: ImageDraw.ImageDraw, truth: Any, found: Any, unit: int = OVERSAMPLING) -> None:
    """A landmark's ring and its dot, where they are; ``unit`` pixels are one of the finished picture."""
    if truth is not None:
        ring = RING * unit
        bounds = (truth[0] - ring, truth[1] - ring, truth[0] + ring, truth[1] + ring)
        draw.ellipse(bounds, outline=TRUE_COLOR, width=LINE * unit)
    if found is not None:
        dot = 0.6 * RING * unit
        draw.ellipse((found[0] - dot, found[1] - dot, found[0] + dot, found[1] + dot), fill=FOUND_COLOR)


def _draw_name(draw: ImageDraw.ImageDraw, name: str, at: Sequence[float], font: Any, placed: Sequence[Any]) -> list:
    """Write a name beside a point, clear of what is ``placed``, inside the panel; gives its rectangle, or nothing."""
    gap = (RING + 3) * OVERSAMPLING
    width, height = draw.im.size
    for (right, down), anchor in {(1, 0): "lm", (-1, 0): "rm", (0, -1): "md", (0, 1): "ma"}.items():
        start = at[0] + right * gap, at[1] + down * gap
        bounds = draw.textbbox(start, name, font=font, anchor=anchor)
        inside = bounds[0] >= 0 and bounds[1] >= 0 and bounds[2] <= width and bounds[3] <= height
        if inside and not any(_touch(bounds, other) for other in placed):
            draw.text(
                start, name, fill=FOREGROUND, font=font, anchor=anchor, stroke_width=OVERSAMPLING, stroke_fill="black"
            )
            return [bounds]
    return []


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names for a picture: a short one as it is; of a long one the first word and the others' first letters.

    "C3 top left" becomes "C3tl". A number from 1 stands for a name that is long even so, or that would be another's.
    """
    shortened = [
        name if len(name) <= LONGEST else first + "".join(word[0] for word in words)
        for name, (first, *words) in ((name, name.split()) for name in names)
    ]
    fits = [len(name) <= LONGEST and shortened.count(name) == 1 for name in shortened]
    return tuple(
        name if fit else str(number) for number, (name, fit) in enumerate(zip(shortened, fits, strict=True), 1)
    )


def draw_landmark_legend(text: str = "", *, kinds: Sequence[str] = ("true", "predicted", "error")) -> Image.Image:
    """How landmarks of these kinds are drawn, and a text behind it, in one line."""
    font, middle, left = font_of(14), CAPTION // 2, RING + LINE
    drawn = {"true": (True, False), "predicted": (False, True), "error": (True, True)}
    strip = Image.new("RGB", (260 + round(font.getlength(text)), CAPTION), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    for name, (ring, dot) in ((kind, drawn[kind]) for kind in kinds):
        end = left + (24 if ring and dot else 0)
        if ring and dot:
            draw.line([(left, middle), (end, middle)], fill=ERROR_COLOR)
        _draw_marks(draw, (left, middle) if ring else None, (end, middle) if dot else None, unit=1)
        draw.text((end + 12, middle), name, fill=FOREGROUND, font=font, anchor="lm")
        left = end + 12 + round(font.getlength(name)) + 24
    draw.text((left, middle), text, fill=FAINT, font=font, anchor="lm")
    return strip.crop((0, 0, left + round(font.getlength(text)) + 1, CAPTION))


def _enlarged(image: np.ndarray, size: int) -> tuple[Image.Image, float, tuple[int, int]]:
    """The image to draw on, its pixels a pixel of ``image``, and (width, height) of the panel it is reduced to."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    large = shape[0] * OVERSAMPLING, shape[1] * OVERSAMPLING
    panel = Image.fromarray(np.ascontiguousarray(image)).resize(large, Image.Resampling.BICUBIC)
    return panel, scale * OVERSAMPLING, shape


def _draw_score(draw: ImageDraw.ImageDraw, box: Box, font: Any, placed: Sequence[Any]) -> tuple[float, ...]:
    """Write a box's score beside it, clear of those ``placed`` where it can be; gives the rectangle that it takes."""
    x0, y0, x1, y1 = box.corners
    text, gap, pad = f"{box.level} {box.score:.2f}".strip(), 5 * OVERSAMPLING, 2 * OVERSAMPLING
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

"""Predictions beside the ground truth, as one picture of several cases.

Every case is two panels of one size: the annotated boxes on the left, the detected ones on the right. Nothing covers
the discs: a class is told by colour and line (solid, dashed), and a score stands beside its box. A case has a number,
never a file name or a patient's id: such pictures are passed on.

Drawn with Pillow instead of Detectron2's ``Visualizer``, whose labels lie on the boxes and whose lines are as thick as
a fifth of a disc; so the picture is also the same on either engine.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode, Instances
from meddet_d2.data.formats import read_image
from meddet_d2.files import replacing

from .detection import data_note

# Okabe and Ito's colours, which readers with any colour vision tell apart; the lesion gets the warm one.
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#0072B2")
# Length of a dash as a multiple of the line's width, None for a solid line.
DASHES = (None, 5, 1.5, 9)

BACKGROUND, FOREGROUND, FAINT = "#14161a", "#f0f0f0", "#a8adb5"
# Pixels: around the sheet and between cases; between the panels of a case; the height of a line of text.
MARGIN, GAP, CAPTION = 16, 4, 26
LINE = 2
# Panels are drawn at this multiple of their size and reduced, for smooth lines.
OVERSAMPLING = 3


@dataclass(frozen=True)
class _Box:
    """A box in pixels of the image, (x0, y0, x1, y1), its class and, if detected, its score."""

    corners: tuple[float, float, float, float]
    label: int
    score: float | None = None


def draw_comparison(
    dataset_dicts: Sequence[dict],
    predictions: Sequence[Instances],
    metadata,
    path: str | os.PathLike,
    *,
    score_threshold: float = 0.3,
    columns: int = 2,
    panel_size: int = 480,
    title: str | None = None,
) -> None:
    """Draw every image twice, with its annotated and with its detected boxes, into one PNG.

    Args:
        dataset_dicts: images in Detectron2's format, with ``file_name`` and ``annotations`` (none for a healthy image).
        predictions: one for each image, in pixels of the image as it is on disk, on any device.
        metadata: has ``thing_classes``.
        path: the PNG; written beside and renamed.
        score_threshold: detections below it are not drawn.
        columns: cases in a row.
        panel_size: the longer side of a panel in pixels; smaller images are enlarged and larger ones reduced.
        title: first line of the picture; the data set's name by default.

    Raises:
        ValueError: no image, another number of predictions than images, or a class that ``metadata`` does not name.
    """
    if not dataset_dicts or len(dataset_dicts) != len(predictions):
        raise ValueError(
            f"draw_comparison got {len(dataset_dicts)} images and {len(predictions)} predictions;"
            " give it at least one image and one prediction for each."
        )
    names = list(metadata.thing_classes)
    cases = []
    for record, instances in zip(dataset_dicts, predictions, strict=True):
        truth, found = _annotated(record), _detected(instances, score_threshold)
        _check_classes([*truth, *found], names)
        image = read_image(record["file_name"])
        cases.append(_Case(_panel(image, truth, panel_size), _panel(image, found, panel_size), len(truth), len(found)))
    if title is None:
        note = data_note(metadata.name)
        title = f"{metadata.name}{note and f' ({note})'}"
    sheet = _sheet(cases, names, columns, title, score_threshold)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def draw_test_images(
    model: nn.Module,
    data_loader: torch.utils.data.DataLoader,
    dataset_name: str,
    path: str | os.PathLike,
    *,
    num_images: int = 8,
    score_threshold: float = 0.3,
) -> None:
    """Run a detector on some images of a data set and draw them by :func:`draw_comparison`.

    The images are spread evenly over the data set; they are not chosen by how well they came out.

    Args:
        model: a detector; it is left in the mode it was in.
        data_loader: the data set's test loader; its ``dataset`` is read by index.
        dataset_name: a registered data set.
        path: the PNG.
        num_images: at most so many.
        score_threshold: detections below it are not drawn.
    """
    mapped = data_loader.dataset
    records = {record["image_id"]: record for record in DatasetCatalog.get(dataset_name)}
    count = min(num_images, len(mapped))
    inputs = [mapped[round(i * (len(mapped) - 1) / max(count - 1, 1))] for i in range(count)]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            predictions = [model([one])[0]["instances"] for one in inputs]
    finally:
        model.train(training)
    images = [records[one["image_id"]] for one in inputs]
    draw_comparison(images, predictions, MetadataCatalog.get(dataset_name), path, score_threshold=score_threshold)


@dataclass(frozen=True)
class _Case:
    truth: Image.Image
    prediction: Image.Image
    num_truth: int
    num_found: int


def _annotated(record: Mapping) -> list[_Box]:
    return [
        _Box(tuple(BoxMode.convert(box["bbox"], box["bbox_mode"], BoxMode.XYXY_ABS)), box["category_id"])
        for box in record.get("annotations", [])
        if not box.get("iscrowd", 0)
    ]


def _detected(instances: Instances, score_threshold: float) -> list[_Box]:
    columns = instances.pred_boxes.tensor.tolist(), instances.pred_classes.tolist(), instances.scores.tolist()
    boxes = [_Box(tuple(corners), label, score) for corners, label, score in zip(*columns, strict=True)]
    return [box for box in boxes if box.score >= score_threshold]


def _check_classes(boxes: Sequence[_Box], names: Sequence[str]) -> None:
    for box in boxes:
        if not 0 <= box.label < len(names):
            raise ValueError(
                f"A box has class {box.label}, but the data set's classes are {names}; is it the right model?"
            )


def _panel(image: np.ndarray, boxes: Sequence[_Box], size: int) -> Image.Image:
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
    font = _font(14 * OVERSAMPLING)
    for box in boxes:
        x0, y0, x1, y1 = (value * scale * OVERSAMPLING for value in box.corners)
        for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x0, y1), (x1, y1)), ((x0, y0), (x0, y1))):
            _line(draw, start, end, box.label, LINE * OVERSAMPLING)
        if box.score is not None:
            # On the left, where the vertebral bodies' front is: the canal, into which a disc protrudes, stays free.
            text, gap = f"{box.score:.2f}", 5 * OVERSAMPLING
            room = x0 > font.getlength(text) + 2 * gap
            at, anchor = ((x0 - gap, y0), "ra") if room else ((x1 + gap, y0), "la")
            left, top, right, bottom = draw.textbbox(at, text, font=font, anchor=anchor)
            pad = 2 * OVERSAMPLING
            draw.rectangle((left - pad, top - pad, right + pad, bottom + pad), fill="black")
            draw.text(at, text, fill=_color(box.label), font=font, anchor=anchor)
    return panel.resize(shape, Image.Resampling.LANCZOS)


def _line(draw: ImageDraw.ImageDraw, start: Sequence[float], end: Sequence[float], label: int, width: int) -> None:
    """A straight line in the colour and the dashes of a class."""
    start, end = np.asarray(start), np.asarray(end)
    length = float(np.linalg.norm(end - start))
    dash = DASHES[label % len(DASHES)]
    dash = length if dash is None else dash * width
    for position in np.arange(0, length, dash + 2 * width):
        pieces = [start + (end - start) * min(at, length) / length for at in (position, position + dash)]
        draw.line([tuple(piece) for piece in pieces], fill=_color(label), width=width)


def _color(label: int) -> str:
    return COLORS[label % len(COLORS)]


def _sheet(
    cases: Sequence[_Case], names: Sequence[str], columns: int, title: str, score_threshold: float
) -> Image.Image:
    """All cases in a grid below the title and the legend."""
    columns = max(1, min(columns, len(cases)))
    rows = -(-len(cases) // columns)
    cell_width = max(case.truth.width + GAP + case.prediction.width for case in cases)
    cell_height = max(case.truth.height for case in cases) + CAPTION
    header = MARGIN + 2 * CAPTION + MARGIN // 2
    heading, caption, legend = _font(19), _font(14), _legend(names, score_threshold)
    grid = columns * (cell_width + MARGIN) - MARGIN
    width = 2 * MARGIN + max(grid, round(heading.getlength(title)), legend.width)
    sheet = Image.new("RGB", (width, header + rows * (cell_height + MARGIN)), BACKGROUND)
    sheet.paste(legend, (MARGIN, MARGIN + CAPTION))
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, fill=FOREGROUND, font=heading)
    for index, case in enumerate(cases):
        left = MARGIN + (index % columns) * (cell_width + MARGIN)
        top = header + (index // columns) * (cell_height + MARGIN)
        middle = left + case.truth.width + GAP
        draw.text((left, top + 4), f"Case {index + 1}: {_count(case.num_truth)} annotated", fill=FAINT, font=caption)
        draw.text((middle, top + 4), f"{_count(case.num_found)} detected", fill=FAINT, font=caption)
        sheet.paste(case.truth, (left, top + CAPTION))
        sheet.paste(case.prediction, (middle, top + CAPTION))
    return sheet


def _legend(names: Sequence[str], score_threshold: float) -> Image.Image:
    """One line: how each class is drawn, and what is on which side."""
    font, sample = _font(14), 36
    text = f"left: ground truth    right: predictions with a score of at least {score_threshold:.2f}"
    widths = [sample + 8 + round(font.getlength(name)) + 28 for name in names]
    strip = Image.new("RGB", (sum(widths) + round(font.getlength(text)), CAPTION), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    left, middle = 0, CAPTION // 2
    for index, (name, width) in enumerate(zip(names, widths, strict=True)):
        _line(draw, (left, middle), (left + sample, middle), index, LINE)
        draw.text((left + sample + 8, middle), name, fill=FOREGROUND, font=font, anchor="lm")
        left += width
    draw.text((left, middle), text, fill=FAINT, font=font, anchor="lm")
    return strip


def _count(number: int) -> str:
    return f"{number} box" if number == 1 else f"{number} boxes"


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)

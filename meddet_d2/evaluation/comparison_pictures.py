"""Predictions beside the ground truth, as one picture of several cases.

Every case is two panels of one size: the annotated boxes on the left, the detected ones on the right. A case has a
number, never a file name or a patient's id: such pictures are passed on. Detectron2's ``Visualizer`` does not serve:
its labels lie on the boxes, and its lines are as thick as a fifth of a disc.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import nn

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode, Instances
from meddet_d2.data.registration import data_note
from meddet_d2.drawing import BACKGROUND, CAPTION, FAINT, FOREGROUND, Box, draw_legend, draw_panel, font_of
from meddet_d2.files import replacing
from meddet_d2.formats import read_image

from .timing import inferring

# Pixels: around the sheet and between cases; between the panels of a case.
MARGIN, GAP = 16, 4
# Pixels: a legend of many classes is broken here, where the cases are not wider.
LEGEND = 1000
# Pixels of a panel's longer side: smaller images are enlarged and larger ones reduced.
PANEL = 480
# Cases in a row, and at most.
COLUMNS, MOST = 2, 8


def draw_comparison(
    dataset_dicts: Sequence[dict],
    predictions: Sequence[Instances],
    metadata,
    path: str | os.PathLike,
    *,
    score_threshold: float = 0.3,
) -> None:
    """Draw every image twice, with its annotated and with its detected boxes, into one PNG.

    Args:
        dataset_dicts: images in Detectron2's format, with ``file_name`` and ``annotations`` (none for a healthy image).
        predictions: one for each image, in pixels of the image as it is on disk, on any device.
        metadata: has ``name``, which heads the picture, and ``thing_classes``.
        path: the PNG.
        score_threshold: detections below it are not drawn.

    Raises:
        ValueError: no image, another number of predictions than images, or a class that ``metadata`` does not name.
    """
    if not dataset_dicts or len(dataset_dicts) != len(predictions):
        raise ValueError(
            f"draw_comparison got {len(dataset_dicts)} images and {len(predictions)} predictions;"
            " give it at least one image and one prediction for each."
        )
    names = list(metadata.thing_classes)
    cases: list[list[tuple[str, Image.Image]]] = []
    for record, instances in zip(dataset_dicts, predictions, strict=True):
        image = read_image(record["file_name"])
        truth, found = _annotated(record), _detected(instances, score_threshold)
        for box in [*truth, *found]:
            if not 0 <= box.label < len(names):
                raise ValueError(
                    f"A box has class {box.label}, but the data set's classes are {names}; is it the right model?"
                )
        texts = f"Case {len(cases) + 1}: {_count(truth)} annotated", f"{_count(found)} detected"
        cases.append(
            [(text, draw_panel(image, boxes, PANEL)) for text, boxes in zip(texts, (truth, found), strict=True)]
        )
    text = f"left: ground truth    right: predictions with a score of at least {score_threshold:.2f}"
    write_sheet(cases, lambda width: draw_legend(names, text, width=width), metadata.name, path)


def draw_test_images(
    model: nn.Module,
    data_loader: torch.utils.data.DataLoader,
    dataset_name: str,
    path: str | os.PathLike,
) -> None:
    """Run a detector on some images of a data set and draw them by :func:`draw_comparison`.

    The images are spread evenly over the data set; they are not chosen by how well they came out.

    Args:
        model: a detector; it is left in the mode it was in.
        data_loader: the data set's test loader; its ``dataset`` is read by index.
        dataset_name: a registered data set.
        path: the PNG.
    """
    images, predictions = predict_some(model, data_loader, dataset_name)
    draw_comparison(images, predictions, MetadataCatalog.get(dataset_name), path)


def predict_some(
    model: nn.Module, data_loader: torch.utils.data.DataLoader, dataset_name: str
) -> tuple[list[dict], list[Instances]]:
    """At most MOST images' records, spread evenly over a data set, and what a network finds on each.

    Args:
        model, data_loader, dataset_name: as in :func:`draw_test_images`.
    """
    mapped: Any = data_loader.dataset
    records = {record["image_id"]: record for record in DatasetCatalog.get(dataset_name)}
    count = min(MOST, len(mapped))
    inputs = [mapped[round(i * (len(mapped) - 1) / max(count - 1, 1))] for i in range(count)]
    with inferring(model):
        predictions = [model([one])[0]["instances"] for one in inputs]
    return [records[one["image_id"]] for one in inputs], predictions


def _annotated(record: Mapping) -> list[Box]:
    return [
        Box(tuple(BoxMode.convert(box["bbox"], box["bbox_mode"], BoxMode.XYXY_ABS)), box["category_id"])
        for box in record.get("annotations", [])
        if not box.get("iscrowd", 0)
    ]


def _detected(instances: Instances, score_threshold: float) -> list[Box]:
    columns = instances.pred_boxes.tensor.tolist(), instances.pred_classes.tolist(), instances.scores.tolist()
    found = zip(*columns, strict=True)
    return [Box(tuple(corners), label, score) for corners, label, score in found if score >= score_threshold]


def write_sheet(
    cases: Sequence[Sequence[tuple[str, Image.Image]]],
    legend_of: Callable[[int], Image.Image],
    name: str,
    path: str | os.PathLike,
    *,
    columns: int = COLUMNS,
) -> None:
    """Write all cases in a grid below the title and the legend into one PNG.

    Args:
        cases: each of as many panels as the others, of one size, with a text above each.
        legend_of: draws the legend, which may be so many pixels wide.
        name: of the data set, for the title, where what must be said about it follows.
        path: the PNG.
        columns: cases in a row, at most.
    """
    note = data_note(name)
    title = f"{name}{note and f' ({note})'}"
    columns = min(columns, len(cases))
    rows = -(-len(cases) // columns)
    sizes = [panel.size for case in cases for _, panel in case]
    cell_width = len(cases[0]) * (max(width for width, _ in sizes) + GAP) - GAP
    cell_height = max(height for _, height in sizes) + CAPTION
    grid = columns * (cell_width + MARGIN) - MARGIN
    heading, caption, legend = font_of(19), font_of(14), legend_of(max(grid, LEGEND))
    header = MARGIN + CAPTION + legend.height + MARGIN // 2
    width = 2 * MARGIN + max(grid, round(heading.getlength(title)), legend.width)
    sheet = Image.new("RGB", (width, header + rows * (cell_height + MARGIN)), BACKGROUND)
    sheet.paste(legend, (MARGIN, MARGIN + CAPTION))
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, fill=FOREGROUND, font=heading)
    for index, case in enumerate(cases):
        left = MARGIN + (index % columns) * (cell_width + MARGIN)
        top = header + (index // columns) * (cell_height + MARGIN)
        for text, panel in case:
            draw.text((left, top + 4), text, fill=FAINT, font=caption)
            sheet.paste(panel, (left, top + CAPTION))
            left += panel.width + GAP
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def _count(boxes: Sequence[Box]) -> str:
    return "1 box" if len(boxes) == 1 else f"{len(boxes)} boxes"

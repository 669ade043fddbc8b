"""Predicted landmarks on their images, with the true ones and the errors as lines: one picture of several cases.

A case has a number, never a file's name or a patient's id: such pictures are passed on.
"""

import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from detectron2.data import MetadataCatalog
from detectron2.structures import Instances
from meddet_d2.drawing import Landmark, draw_landmark_legend, draw_landmarks, short_names
from meddet_d2.formats import read_image

from ..comparison_pictures import PANEL, predict_some, write_sheet
from .landmark_metrics import image_means
from .landmark_truth import LandmarkTruth, truth_of_records
from .radial_errors import is_point, radial_errors

# Cases in a row.
COLUMNS = 4


def draw_test_landmarks(
    model: nn.Module, data_loader: torch.utils.data.DataLoader, dataset_name: str, path: str | os.PathLike
) -> None:
    """Run a landmark network on some images of a data set and draw what it finds beside what is true.

    The images are spread evenly over the data set; they are not chosen by how well they came out.

    Args:
        model: it is left in the mode it was in.
        data_loader: the data set's test loader; its ``dataset`` is read by index.
        dataset_name: a registered data set.
        path: the PNG.
    """
    records, predictions = predict_some(model, data_loader, dataset_name)
    metadata = MetadataCatalog.get(dataset_name)
    draw_landmark_cases(records, predictions, metadata.keypoint_names, dataset_name, path)


def draw_landmark_cases(
    records: Sequence[dict],
    predictions: Sequence[Instances],
    names: Sequence[str],
    dataset_name: str,
    path: str | os.PathLike,
) -> None:
    """Draw each image with its true and its predicted landmarks into one PNG.

    Args:
        records: images in Detectron2's format, with "landmarks" in their annotation; at least one.
        predictions: one for each, with ``pred_keypoints`` (N, K, 3); the first instance is drawn.
        names: of the K landmarks.
        dataset_name: heads the picture.
        path: the PNG.
    """
    cases = []
    for number, (record, instances) in enumerate(zip(records, predictions, strict=True), start=1):
        truth = truth_of_records([record], names)
        found = np.full((len(names), 2), np.nan)
        if len(instances):
            found = instances.pred_keypoints[0, :, :2].detach().cpu().double().numpy()
        errors = radial_errors(truth.points, found[None], truth.spacing)
        text = f"Case {number}: {mean_text(errors[0], truth.unit)}"
        panel = draw_landmarks(read_image(record["file_name"]), landmarks_of(truth, 0, found, errors[0]), PANEL)
        cases.append([(text, panel)])
    text = "" if short_names(names) == tuple(names) else "long names are shortened, or are numbers"
    write_sheet(cases, lambda width: draw_landmark_legend(text), dataset_name, path, columns=COLUMNS)


def landmarks_of(truth: LandmarkTruth, row: int, found: np.ndarray, errors: np.ndarray) -> list[Landmark]:
    """One image's landmarks for :func:`draw_landmarks`, the greatest errors first, since the first are named first.

    Args:
        truth: the test set.
        row: of the image.
        found: (K, 2).
        errors: (K,).
    """
    drawn, shown = [], short_names(truth.names)
    for index in np.argsort(-np.nan_to_num(errors, nan=-1.0), kind="stable").tolist():
        ends = [
            tuple(place.tolist()) if is_point(place) else None for place in (truth.points[row, index], found[index])
        ]
        drawn.append(Landmark(shown[index], *ends))
    return drawn


def mean_text(errors: np.ndarray, unit: str) -> str:
    """(K,) errors of one image in words: their mean, and how many predictions are missing."""
    missing = int(np.isinf(errors).sum())
    if missing:
        return f"{missing} missing"
    mean = image_means(errors[None])[0]
    return "no landmark labelled" if np.isnan(mean) else f"mean error {mean:.2f} {unit}"

"""Predicted landmarks as a file and as arrays: a list of records, one an image, as the evaluator writes them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddet_d2.layout.validate import is_finite

from ..clinical.study import check_names
from .landmark_truth import LandmarkTruth

# As the evaluator calls its predictions.
RESULTS = "landmark_results.json"


def predicted_points(results: Sequence[Mapping[str, Any]], truth: LandmarkTruth) -> np.ndarray:
    """Predictions in the order of the test set.

    Args:
        results: ``{"image_id", "landmarks": [x, y, score] * K}``, in continuous pixels of the stored image. A
            coordinate that is null or not finite is no prediction, and an image without a record has none.
        truth: the test set.

    Returns:
        (I, K, 2) float64, NaN where there is no prediction.

    Raises:
        ValueError: one line: an unknown image, an image twice, or another number of landmarks.
    """
    count, index = len(truth.names), {identity: row for row, identity in enumerate(truth.image_ids)}
    found = np.full((len(index), count, 2), np.nan)
    seen: set[Any] = set()
    for result in results:
        identity, values = result["image_id"], list(result["landmarks"])
        if identity not in index:
            raise ValueError(f"Predictions are of image {identity!r}, which the test set does not list; wrong file?")
        if identity in seen:
            raise ValueError(f"Image {identity} has two predictions; give one.")
        if len(values) != 3 * count:
            raise ValueError(
                f"Image {identity} has {len(values)} numbers of predicted landmarks; the test set's {count} landmarks"
                " need x, y and score each. Is it the right network?"
            )
        seen.add(identity)
        points = np.array([value if is_finite(value) else np.nan for value in values], dtype=np.float64)
        points = points.reshape(count, 3)[:, :2]
        found[index[identity]] = np.where(np.isfinite(points).all(axis=1, keepdims=True), points, np.nan)
    return found


def read_predictions(path: Path, truth: LandmarkTruth, json_file: Path) -> np.ndarray:
    """:func:`predicted_points` of a file: the list, or a COCO json with it as "annotations".

    Args:
        path: the file.
        truth: the test set.
        json_file: the test set's own file. Images of a COCO json must be its, by id and by name.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: one line that names the file: no json, no such list, or as :func:`predicted_points`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; an evaluation writes {RESULTS} into inference/<data set>.")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    # RecursionError: brackets nested by the thousand.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a json file ({error}); make the predictions again.") from error
    if isinstance(results, dict):
        images = {identity: {"file_name": name} for identity, name in zip(truth.image_ids, truth.files, strict=True)}
        check_names(results.get("images"), images, path, json_file)
        results = results.get("annotations")
    if not isinstance(results, list) or not all(map(_is_record, results)):
        raise ValueError(f"{path}: not a list of predictions; each needs image_id and landmarks, [x, y, score] * K.")
    try:
        return predicted_points(results, truth)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _is_record(record: Any) -> bool:
    known = isinstance(record, dict) and isinstance(record.get("image_id"), int | str)
    return known and isinstance(record.get("landmarks"), list)

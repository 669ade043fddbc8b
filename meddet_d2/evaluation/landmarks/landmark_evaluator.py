"""Radial errors of a landmark network on a data set, overall and for each landmark."""

import itertools
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

import detectron2
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from meddet_d2.data.registration import data_note
from meddet_d2.files import write_json

from ..evaluators import EVALUATOR_REGISTRY
from . import landmark_metrics
from .landmark_pictures import draw_test_landmarks
from .landmark_predictions import RESULTS, predicted_points
from .landmark_reading import landmark_counts
from .landmark_truth import LandmarkTruth, truth_of_records
from .radial_errors import at_wrong_level, radial_errors

logger = logging.getLogger(__name__)

# What the results hold of each landmark; the json holds all.
OF_EACH = ("MRE", "SDR2", "SDR4", "wrong_level")


@EVALUATOR_REGISTRY.register()
class LandmarkEvaluator(DatasetEvaluator):
    """Mean radial error, success detection rates and wrong levels of ``Instances.pred_keypoints``.

    ``evaluate`` returns ``{"landmarks": {...}}``: the figures of :func:`landmark_metrics.overall_metrics`, and those of
    OF_EACH for each landmark as "<figure>-<name>". Errors are in mm where every image of the set has a spacing, and in
    pixels of the stored image where none has; rates are percentages. Landmarks that are not labelled are left out.

    With ``output_dir``, ``landmark_results.json`` has each image's prediction, and ``evaluation.json`` all figures with
    their "unit" ("mm" or "px"), and how many landmarks were counted, left out and missing. NaN is null there.

    Args:
        dataset_name: a registered data set whose annotations have "landmarks"; its metadata has ``keypoint_names``.
        output_dir: where results are written; None for nowhere.
        distributed: gather the predictions of all processes, and evaluate on the main one.
    """

    RESULT = "landmarks"
    PRIMARY = "landmarks/MRE"
    SMALLER_IS_BETTER = landmark_metrics.SMALLER_IS_BETTER
    SUMMARY = {"MRE": ("MRE", 2), **{name: (name, 1) for name in ("SDR2", "SDR4", "above10", "wrong_level")}}
    draw = staticmethod(draw_test_landmarks)

    @staticmethod
    def unit(dataset_name: str) -> str:
        """Of the errors on a registered data set, "mm" or "px"; raises as :func:`truth_of_data_set`."""
        return truth_of_data_set(dataset_name).unit

    def __init__(
        self, dataset_name: str, *, output_dir: str | os.PathLike | None = None, distributed: bool = True
    ) -> None:
        self._dataset_name, self._distributed = dataset_name, distributed
        self._output_dir = None if output_dir is None else os.fspath(output_dir)
        self._results: list[dict[str, Any]] = []

    def reset(self) -> None:
        self._results = []

    def process(self, inputs: Sequence[dict], outputs: Sequence[dict]) -> None:
        """Take one batch of predictions.

        Args:
            inputs: the mapper's dicts, with "image_id".
            outputs: each with "instances", whose ``pred_keypoints`` are (N, K, 3): x, y in pixels of the stored image,
                and the score. The instance with the best score counts; an image without any has no prediction.
        """
        pairs = zip(inputs, (output["instances"] for output in outputs), strict=True)
        predicted = [(one, instances) for one, instances in pairs if len(instances)]
        if not predicted:
            return
        best = [int(one.scores.argmax()) if len(one) > 1 else 0 for _, one in predicted]
        chosen = [instances.pred_keypoints[row] for (_, instances), row in zip(predicted, best, strict=True)]
        # One wait for a batch.
        points = torch.stack(chosen).detach().cpu().double()
        scores = points[:, :, 2].mean(dim=1).tolist()
        for (one, instances), values, score in zip(predicted, points.flatten(1).tolist(), scores, strict=True):
            record = {"image_id": one["image_id"], "landmarks": values, "score": score}
            self._results.append(record | {"size": list(instances.image_size)})

    def evaluate(self) -> dict:
        """Figures on the main process, an empty dict on the others.

        Raises:
            ValueError: one line: a prediction of another number of landmarks, of an unknown image, or in pixels of
                another size than the stored image's; or what :func:`truth_of_records` refuses.
        """
        results = self._results
        if self._distributed:
            comm.synchronize()
            gathered = comm.gather(results, dst=0)
            if not comm.is_main_process():
                return {}
            results = list(itertools.chain.from_iterable(gathered))
        truth = truth_of_data_set(self._dataset_name)
        _check_sizes(results, truth)
        found = predicted_points(results, truth)
        points = truth.points, found, truth.spacing
        errors, wrong = radial_errors(*points), at_wrong_level(*points)
        overall = landmark_metrics.overall_metrics(errors, wrong)
        each = landmark_metrics.landmark_metrics(errors, wrong, truth.names)
        if self._output_dir:
            kept = [{key: value for key, value in one.items() if key != "size"} for one in results]
            kept.sort(key=lambda one: one["image_id"])
            write_json(os.path.join(self._output_dir, RESULTS), kept)
            write_json(os.path.join(self._output_dir, "evaluation.json"), self._record(truth, errors, overall, each))
        self._log_table(truth, errors, {**each, "all": overall})
        flat = {f"{metric}-{name}": each[name][metric] for metric in OF_EACH for name in truth.names}
        return {"landmarks": {**overall, **flat}}

    def _record(self, truth: LandmarkTruth, errors: np.ndarray, overall: dict, each: dict) -> dict[str, Any]:
        counts = {name: landmark_counts(errors[:, index]) for index, name in enumerate(truth.names)}
        return {
            "dataset": self._dataset_name,
            "note": data_note(self._dataset_name),
            "engine": f"detectron2 {detectron2.__version__}",
            "unit": truth.unit,
            "images": len(errors),
            "patients": int(truth.patient.max(initial=-1)) + 1 if truth.patients_known else None,
            **landmark_counts(errors),
            "landmarks": {name: {**counts[name], **each[name]} for name in truth.names},
            "metrics": overall,
        }

    def _log_table(self, truth: LandmarkTruth, errors: np.ndarray, figures: dict[str, dict[str, float]]) -> None:
        shown = (
            "MRE",
            "SD",
            "median",
            *landmark_metrics.RADII,
            *landmark_metrics.OUTLIERS,
            "wrong_level",
            "missing_rate",
        )
        counts = [landmark_counts(errors[:, index])["counted"] for index in range(len(truth.names))]
        rows = [
            [name, count, *(values[metric] for metric in shown)]
            for (name, values), count in zip(figures.items(), [*counts, sum(counts)], strict=True)
        ]
        table = tabulate(rows, headers=["landmark", "counted", *shown], tablefmt="pipe", floatfmt=".2f")
        note = data_note(self._dataset_name)
        what = f"{self._dataset_name}, {len(errors)} images, errors in {truth.unit}, rates in %"
        logger.info("%s%s:\n%s", what, note and f" ({note})", table)


def truth_of_data_set(dataset_name: str) -> LandmarkTruth:
    """A registered data set's landmarks.

    Raises:
        ValueError: its metadata has no ``keypoint_names``, or as :func:`truth_of_records`.
    """
    # Before the metadata, which loading may complete.
    records = DatasetCatalog.get(dataset_name)
    names = MetadataCatalog.get(dataset_name).get("keypoint_names")
    if not names:
        raise ValueError(
            f"{dataset_name} has no keypoint_names in its metadata; register it with its landmarks' names."
        )
    return truth_of_records(records, names)


def _check_sizes(results: Sequence[dict[str, Any]], truth: LandmarkTruth) -> None:
    sizes = dict(zip(truth.image_ids, truth.sizes, strict=True))
    for one in results:
        size = sizes.get(one["image_id"])
        if size is not None and tuple(one["size"]) != tuple(size):
            raise ValueError(
                f"Image {one['image_id']} is {size[1]} x {size[0]}, but its prediction is in pixels of"
                f" {one['size'][1]} x {one['size'][0]}; give the network's output in pixels of the stored image."
            )

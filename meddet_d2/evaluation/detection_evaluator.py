"""Average precision and recall of a detector, overall and for each class.

Shape legend: T IoU thresholds 0.50:0.05:0.95, R recall levels, K classes, A ranges of box area ("all" first), M limits
on the detections per image (the largest last). pycocotools gives precision as (T, R, K, A, M) and recall as
(T, K, A, M), with -1 where a class has no box.
"""

import contextlib
import io
import logging
import math
import os
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tabulate import tabulate

import detectron2
from detectron2.evaluation import COCOEvaluator
from meddet_d2.data.registration import data_note
from meddet_d2.files import write_json

from .comparison_pictures import draw_test_images
from .evaluators import EVALUATOR_REGISTRY

logger = logging.getLogger(__name__)

METRICS = ("AP", "AP50", "AP75", "recall50")


@EVALUATOR_REGISTRY.register()
class DetectionEvaluator(COCOEvaluator):
    """COCO's average precision, recall at IoU 0.5, and both for each class.

    ``evaluate`` returns ``{"bbox": {...}}`` with ``AP`` (mean over IoU 0.50:0.95), ``AP50``, ``AP75``, ``recall50``,
    ``APs``, ``APm``, ``APl`` and, for each class, ``AP-<class>``, ``AP50-<class>``, ``AP75-<class>`` and
    ``recall50-<class>``. All are percentages in [0, 100], not rounded.

    ``recall50`` is the share of the annotated boxes that have a detection of their class at IoU >= 0.5. It is averaged
    over the classes, and takes the 100 best scored detections of an image, at no score threshold. (MedDet's tables
    print a recall next to an mAP without defining either; this pair is the likeliest reading.)

    A class without any box has no metrics: NaN, and it is left out of the means. Healthy images stay in: each detection
    on one counts as false. A detector that finds nothing has 0.0, not NaN, for every class that has boxes.

    With ``output_dir``, the metrics, the engine and the number of images and boxes are also written to
    ``<output_dir>/evaluation.json``, where NaN is null.

    Args:
        dataset_name: a registered data set in COCO's format.
        output_dir: where results are written; None for nowhere.
        distributed: gather the detections of all processes, and evaluate on the main one.
        use_fast_impl: let Detectron2 compute the metrics in its compiled code. Off by default: the official
            implementation gives the same figures on either engine.
    """

    RESULT = "boxes"
    PRIMARY = "bbox/AP50"
    SUMMARY = {"ap50": ("AP50", 1), "ap": ("AP", 1), "recall50": ("recall50", 1)}
    draw = staticmethod(draw_test_images)

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str | os.PathLike | None = None,
        distributed: bool = True,
        use_fast_impl: bool = False,
    ):
        output_dir = None if output_dir is None else os.fspath(output_dir)
        super().__init__(
            dataset_name, ("bbox",), distributed=distributed, output_dir=output_dir, use_fast_impl=use_fast_impl
        )
        # A json of the engine's own data sets stands in its metadata alone.
        data_set = self._metadata.get("data_set")
        self._coco_api: COCO = coco_of(self._coco_api.dataset if data_set is None else data_set.read())
        self._dataset_name = dataset_name
        self._image_ids: list[int] = []

    def evaluate(self, img_ids: Sequence[int] | None = None) -> dict:
        """Metrics on the main process, an empty dict on the others.

        Args:
            img_ids: the images to evaluate on; all of the data set by default.
        """
        self._image_ids = sorted(self._coco_api.imgs) if img_ids is None else list(img_ids)
        results = super().evaluate(img_ids=img_ids)
        if self._output_dir and "bbox" in results:
            write_json(os.path.join(self._output_dir, "evaluation.json"), self._record(results["bbox"]))
        return results

    def _derive_coco_results(
        self, coco_eval: COCOeval | None, iou_type: str, class_names: Sequence[str] | None = None
    ) -> dict[str, float]:
        if coco_eval is None:
            coco_eval = self._evaluate_no_detections()
        # Without class names: the engine's own table of classes has AP alone.
        results = super()._derive_coco_results(coco_eval, iou_type, class_names=None)
        names = self._class_names()
        per_class = class_metrics(coco_eval)
        results["recall50"] = _mean(per_class["recall50"])
        for metric in METRICS:
            results |= {f"{metric}-{name}": value for name, value in zip(names, per_class[metric], strict=True)}
        self._log_table(results, names)
        return results

    def _evaluate_no_detections(self) -> COCOeval:
        """COCO's evaluation against an empty list, which ``COCO.loadRes`` does not take."""
        empty = coco_of({**self._coco_api.dataset, "annotations": []})
        with contextlib.redirect_stdout(io.StringIO()):
            coco_eval = COCOeval(self._coco_api, empty, "bbox")
            coco_eval.params.imgIds = self._image_ids
            coco_eval.evaluate()
            coco_eval.accumulate()
            coco_eval.summarize()
        return coco_eval

    def _class_names(self) -> list[str]:
        """One name for each of the annotation file's categories, in the order of their ids."""
        class_names = self._metadata.get("thing_classes")
        if class_names is None:
            return [category["name"] for _, category in sorted(self._coco_api.cats.items())]
        if len(class_names) != len(self._coco_api.cats):
            raise ValueError(
                f"Data set {self._dataset_name!r} is registered with {len(class_names)} classes, but"
                f" {self._metadata.json_file} has {len(self._coco_api.cats)} categories; register it with those."
            )
        return list(class_names)

    def _boxes(self) -> list[dict]:
        """The annotated boxes of the evaluated images, without crowds."""
        return self._coco_api.loadAnns(self._coco_api.getAnnIds(imgIds=self._image_ids, iscrowd=False))

    def _counts(self) -> dict[str, dict[str, int]]:
        """``{class: {"images": with at least one box of it, "boxes": all of them}}`` of the evaluated images."""
        images = {
            name: [box["image_id"] for box in self._boxes() if box["category_id"] == category]
            for name, category in zip(self._class_names(), sorted(self._coco_api.cats), strict=True)
        }
        return {name: {"images": len(set(found)), "boxes": len(found)} for name, found in images.items()}

    def _log_table(self, results: dict[str, float], names: Sequence[str]) -> None:
        counts = self._counts()
        rows = [[name, counts[name]["boxes"], *(results[f"{metric}-{name}"] for metric in METRICS)] for name in names]
        rows.append(["all", sum(count["boxes"] for count in counts.values()), *(results[metric] for metric in METRICS)])
        table = tabulate(rows, headers=["class", "boxes", *METRICS], tablefmt="pipe", floatfmt=".2f")
        note = data_note(self._dataset_name)
        logger.info("%s, %d images%s:\n%s", self._dataset_name, len(self._image_ids), note and f" ({note})", table)

    def _record(self, metrics: dict[str, float]) -> dict:
        return {
            "dataset": self._dataset_name,
            "note": data_note(self._dataset_name),
            "engine": f"detectron2 {detectron2.__version__}",
            "images": len(self._image_ids),
            "images_without_boxes": len(set(self._image_ids) - {box["image_id"] for box in self._boxes()}),
            "classes": self._counts(),
            "metrics": metrics,
        }


def class_metrics(coco_eval: COCOeval) -> dict[str, list[float]]:
    """``METRICS`` of each class in percent, NaN for a class without boxes.

    Args:
        coco_eval: accumulated; its categories are in the order of their ids.

    Returns:
        ``{metric: K values}``.
    """
    precision = np.moveaxis(coco_eval.eval["precision"][:, :, :, 0, -1], -1, 0)  # (K, T, R)
    recall = coco_eval.eval["recall"][:, :, 0, -1].T  # (K, T)
    thresholds = np.asarray(coco_eval.params.iouThrs)
    at50, at75 = (int(np.abs(thresholds - threshold).argmin()) for threshold in (0.5, 0.75))
    values = precision, precision[:, at50], precision[:, at75], recall[:, at50]
    return {metric: [_percent(one) for one in of_classes] for metric, of_classes in zip(METRICS, values, strict=True)}


def coco_of(content: dict) -> COCO:
    """A json's content as pycocotools holds it."""
    coco = COCO()
    # pycocotools takes the id 0 for "not matched".
    annotations = enumerate(content.get("annotations", []), start=1)
    numbered = [{**annotation, "id": number} for number, annotation in annotations]
    coco.dataset = {**content, "annotations": numbered}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _percent(values: np.ndarray) -> float:
    """The mean of COCOeval's values in percent, without the -1 that stands for "no box of this class"."""
    defined = np.asarray(values)[np.asarray(values) > -1]
    return float(defined.mean()) * 100 if defined.size else math.nan


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan

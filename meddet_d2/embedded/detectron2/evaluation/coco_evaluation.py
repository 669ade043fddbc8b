"""COCO's average precision of boxes, computed by pycocotools."""

import contextlib
import io
import itertools
import json
import logging
import os
from collections.abc import Sequence

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tabulate import tabulate

from detectron2.data import MetadataCatalog
from detectron2.structures import Instances
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from .evaluator import DatasetEvaluator

_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")  # the order of COCOeval.stats


class COCOEvaluator(DatasetEvaluator):
    """AP of boxes in percent, ``{"bbox": {"AP", "AP50", "AP75", "APs", "APm", "APl"}}``; a subclass adds the classes'.

    What cannot be computed is NaN: a size that does not occur, and everything if nothing is detected or annotated.
    Only the task ``bbox`` is evaluated, always by the official implementation; ``use_fast_impl`` has no effect.
    Detections are written to ``output_dir``, as ``coco_instances_results.json``.
    """

    def __init__(self, dataset_name, tasks=None, distributed=True, output_dir=None, *, use_fast_impl=True):
        if tasks is not None and tuple(tasks) != ("bbox",):
            raise ValueError(f"COCOEvaluator evaluates boxes, tasks=('bbox',), got {tasks!r}.")
        self._logger = logging.getLogger(__name__)
        self._distributed, self._output_dir = distributed, output_dir
        self._metadata = MetadataCatalog.get(dataset_name)
        if (json_file := self._metadata.get("json_file")) is None:
            raise ValueError(f"Data set {dataset_name!r} has no json_file in its metadata; register a COCO json.")
        with contextlib.redirect_stdout(io.StringIO()):
            self._coco_api = COCO(PathManager.get_local_path(json_file))
        self.reset()

    def reset(self) -> None:
        self._predictions: list[dict] = []

    def process(self, inputs, outputs) -> None:
        """Keep the detections ``output["instances"]`` of the image ``input["image_id"]``."""
        for image, output in zip(inputs, outputs, strict=True):
            detections = instances_to_coco_json(output["instances"].to("cpu"), image["image_id"])
            self._predictions.append({"image_id": image["image_id"], "instances": detections})

    def evaluate(self, img_ids: Sequence[int] | None = None) -> dict:
        """Results on ``img_ids``, by default all images; ``{}`` on other processes and if no image was processed."""
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            predictions = list(itertools.chain(*comm.gather(predictions, dst=0)))
            if not comm.is_main_process():
                return {}
        if not predictions:
            self._logger.warning("COCOEvaluator was given no image; there is nothing to evaluate.")
            return {}
        self._results: dict[str, dict[str, float]] = {}
        self._eval_predictions(predictions, img_ids=img_ids)
        return self._results

    def _eval_predictions(self, predictions: list[dict], img_ids: Sequence[int] | None = None) -> None:
        to_contiguous = self._metadata.get("thing_dataset_id_to_contiguous_id") or {}
        to_dataset = {contiguous: dataset for dataset, contiguous in to_contiguous.items()}
        detections = [dict(d) for p in predictions for d in p["instances"]]
        for d in detections if to_dataset else ():
            if d["category_id"] not in to_dataset:
                raise ValueError(f"Image {d['image_id']}: detected class {d['category_id']} is not in the data set.")
            d["category_id"] = to_dataset[d["category_id"]]
        if self._output_dir:
            PathManager.mkdirs(self._output_dir)
            with PathManager.open(os.path.join(self._output_dir, "coco_instances_results.json"), "w") as f:
                json.dump(detections, f)
        coco_eval = None
        with contextlib.redirect_stdout(io.StringIO()):  # what it prints stands in our table
            if detections:
                coco_eval = COCOeval(self._coco_api, self._coco_api.loadRes(detections), "bbox")
                coco_eval.params.imgIds = coco_eval.params.imgIds if img_ids is None else list(img_ids)
                coco_eval.evaluate()
                coco_eval.accumulate()
                coco_eval.summarize()
        names = self._metadata.get("thing_classes")
        self._results["bbox"] = self._derive_coco_results(coco_eval, "bbox", class_names=names)

    def _derive_coco_results(self, coco_eval: COCOeval | None, iou_type: str, class_names=None) -> dict[str, float]:
        """Metrics in percent from an evaluation (None: nothing was detected). Override it to add more."""
        if coco_eval is None:
            self._logger.warning("Nothing was detected; every metric is NaN.")
            return dict.fromkeys(_METRICS, float("nan"))
        values = zip(_METRICS, coco_eval.stats, strict=False)
        results = {name: float(value) * 100 if value >= 0 else float("nan") for name, value in values}
        table = tabulate([list(results.values())], headers=list(results), tablefmt="pipe", floatfmt=".3f")
        self._logger.info("Evaluation of %s:\n%s", iou_type, table)
        return results


def instances_to_coco_json(instances: Instances, img_id: int) -> list[dict]:
    """Detections of one image, on the CPU, as COCO's result records with boxes ``[x, y, width, height]`` in pixels."""
    boxes = instances.pred_boxes.tensor.clone()
    boxes[:, 2:] -= boxes[:, :2]
    columns = zip(boxes.tolist(), instances.scores.tolist(), instances.pred_classes.tolist(), strict=True)
    return [{"image_id": img_id, "category_id": label, "bbox": box, "score": s} for box, s, label in columns]

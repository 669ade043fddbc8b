"""Evaluators and the pass over a data set, on hand-made detections and on either engine."""

import json
import math

import pytest
import torch
from torch import nn

from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.evaluation import (
    COCOEvaluator,
    DatasetEvaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Boxes, Instances

# image id -> boxes (x0, y0, x1, y1) with the category's id in the file
TRUTH = {1: [((10, 10, 30, 20), 7), ((40, 10, 60, 20), 9)], 2: [((5, 50, 25, 60), 7)], 3: []}


@pytest.fixture
def dataset(tmp_path):
    """Registers data sets made of {image id: [(box, category id), ...]}."""
    names = []

    def register(truth):
        annotations = [
            {"image_id": image, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "category_id": label}
            for image, boxes in truth.items()
            for (x0, y0, x1, y1), label in boxes
        ]
        annotations = [{**a, "id": k, "iscrowd": 0} for k, a in enumerate(annotations, start=1)]
        record = {
            "info": {},
            "images": [{"id": image, "file_name": f"{image}.png", "height": 100, "width": 100} for image in truth],
            "annotations": annotations,
            "categories": [{"id": 7, "name": "protrusion"}, {"id": 9, "name": "non-protrusion"}],
        }
        name = f"{tmp_path.name}_{len(names)}"
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(record))
        classes, ids = ["protrusion", "non-protrusion"], {7: 0, 9: 1}
        metadata = MetadataCatalog.get(name)
        metadata.set(json_file=str(path), thing_classes=classes, thing_dataset_id_to_contiguous_id=ids)
        names.append(name)
        return name

    yield register
    for name in names:
        MetadataCatalog.remove(name)


def detections(boxes, scores=None):
    """Instances of one 100 x 100 image from [(box, contiguous class), ...]."""
    instances = Instances((100, 100))
    instances.pred_boxes = Boxes(torch.tensor([box for box, _ in boxes], dtype=torch.float32).reshape(-1, 4))
    instances.pred_classes = torch.tensor([label for _, label in boxes], dtype=torch.int64)
    instances.scores = torch.tensor(scores or [0.9] * len(boxes))
    return instances


def evaluate(name, output, img_ids=None, **kwargs):
    """Results for {image id: instances}."""
    evaluator = COCOEvaluator(name, ("bbox",), distributed=False, use_fast_impl=False, **kwargs)
    evaluator.reset()
    for image, instances in output.items():
        evaluator.process([{"image_id": image}], [{"instances": instances}])
    return evaluator.evaluate(img_ids=img_ids)


def perfect(truth):
    return {image: detections([(box, {7: 0, 9: 1}[label]) for box, label in boxes]) for image, boxes in truth.items()}


def test_perfect_detections_have_ap_100(dataset, tmp_path):
    results = evaluate(dataset(TRUTH), perfect(TRUTH), output_dir=str(tmp_path / "out"))["bbox"]
    for metric in ("AP", "AP50", "AP75", "APs"):
        assert results[metric] == pytest.approx(100.0), metric
    assert math.isnan(results["APl"])  # no large box is annotated
    stored = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    assert {d["category_id"] for d in stored} == {7, 9} and stored[0]["bbox"] == [10.0, 10.0, 20.0, 10.0]


def test_a_missed_and_a_false_box_cost_what_they_should(dataset):
    output = perfect(TRUTH)
    output[2] = detections([((60, 80, 80, 90), 0)], scores=[0.95])  # elsewhere, and surest of all
    results = evaluate(dataset(TRUTH), output)["bbox"]
    # protrusion: recall stops at 1/2 with precision 1/2 there: 51 of 101 recall levels at 0.5
    assert results["AP50"] == pytest.approx((100 * 51 / 101 * 0.5 + 100) / 2, abs=1e-3)


def test_no_detection_at_all_is_nan_and_no_crash(dataset):
    results = evaluate(dataset(TRUTH), {image: detections([]) for image in TRUTH})["bbox"]
    assert results.keys() >= {"AP", "AP50", "AP75"} and all(math.isnan(v) for v in results.values())


def test_healthy_images_alone_are_nan_and_no_crash(dataset):
    results = evaluate(dataset({1: [], 2: []}), {1: detections([((1, 1, 9, 9), 0)]), 2: detections([])})["bbox"]
    assert math.isnan(results["AP"]) and math.isnan(results["AP50"])


def test_no_image_gives_no_results(dataset):
    assert evaluate(dataset(TRUTH), {}) == {}


def test_images_can_be_chosen(dataset):
    name, output = dataset(TRUTH), {**perfect(TRUTH), 2: detections([])}
    assert evaluate(name, output, img_ids=[1, 3])["bbox"]["AP"] == pytest.approx(100.0)
    assert evaluate(name, output)["bbox"]["AP"] < 80


def test_a_class_that_the_data_set_has_not_is_an_error(dataset):
    with pytest.raises((AssertionError, ValueError), match="class"):
        evaluate(dataset(TRUTH), {1: detections([((1, 1, 9, 9), 5)])})


def test_subclasses_can_add_metrics(dataset):
    class Counting(COCOEvaluator):
        def _derive_coco_results(self, coco_eval, iou_type, class_names=None):
            results = super()._derive_coco_results(coco_eval, iou_type, class_names=None)
            return {**results, "images": float(len(coco_eval.params.imgIds)), "task": iou_type, "names": class_names}

    evaluator = Counting(dataset(TRUTH), ("bbox",), distributed=False, use_fast_impl=False)
    evaluator.reset()
    for image, instances in perfect(TRUTH).items():
        evaluator.process([{"image_id": image}], [{"instances": instances}])
    results = evaluator.evaluate()["bbox"]
    assert (results["images"], results["task"], results["names"]) == (3.0, "bbox", ["protrusion", "non-protrusion"])
    assert "AP-protrusion" not in results


def test_boxes_become_coco_records():
    records = instances_to_coco_json(detections([((1, 2, 4, 8), 1)], scores=[0.25]), img_id=42)
    assert records == [{"image_id": 42, "category_id": 1, "bbox": [1.0, 2.0, 3.0, 6.0], "score": 0.25}]
    assert instances_to_coco_json(detections([]), img_id=1) == []


class Sum(DatasetEvaluator):
    def reset(self):
        self.total = 0

    def process(self, inputs, outputs):
        assert not torch.is_grad_enabled()
        self.total += sum(float(o) for o in outputs)

    def evaluate(self):
        return {"sum": {"value": self.total}}


class Doubling(nn.Linear):
    def forward(self, batch):
        assert not self.training
        return [2 * value for value in batch]


def test_inference_covers_the_loader_in_eval_mode():
    model = Doubling(1, 1).train()
    loader = [[torch.tensor(1.0), torch.tensor(2.0)], [torch.tensor(3.0)]]
    assert inference_on_dataset(model, loader, Sum()) == {"sum": {"value": 12.0}}
    assert model.training


def test_results_are_checked_against_the_config():
    cfg = get_cfg()
    results = {"bbox": {"AP": 40.2, "AP-protrusion": float("nan")}}
    print_csv_format(results)
    assert verify_results(cfg, results)
    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP", 40.0, 0.5]]
    assert verify_results(cfg, results)
    for wrong in (["bbox", "AP", 40.0, 0.1], ["bbox", "AP50", 40.0, 0.1], ["bbox", "AP-protrusion", 40.0, 50.0]):
        cfg.TEST.EXPECTED_RESULTS = [wrong]
        with pytest.raises(SystemExit) as error:
            verify_results(cfg, results)
        assert error.value.code == 1

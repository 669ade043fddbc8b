"""The evaluator against values worked out by hand and against a slow, plain recall."""

import json
import math

import numpy as np
import pytest
import torch

import meddet_d2  # noqa: F401
from meddet_d2 import files as result_files
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances
from meddet_d2.data.registration import data_note
from meddet_d2.evaluation import DetectionEvaluator

CLASSES = ("protrusion", "non-protrusion")
SIZE = 400


@pytest.fixture
def dataset(tmp_path):
    """A function that registers a data set from ``[[(x0, y0, x1, y1, class), ...] for each image]``."""
    names = []

    def register(boxes_per_image, name="evaluated_set"):
        images, annotations = [], []
        for image_id, boxes in enumerate(boxes_per_image, start=1):
            images.append({"id": image_id, "file_name": f"{image_id}.png", "height": SIZE, "width": SIZE})
            for x0, y0, x1, y1, label in boxes:
                area = (x1 - x0) * (y1 - y0)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": label + 1,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": area,
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": i + 1, "name": c} for i, c in enumerate(CLASSES)]
        file = tmp_path / f"{name}.json"
        file.write_text(
            json.dumps({"info": {}, "images": images, "annotations": annotations, "categories": categories})
        )
        ids = {i + 1: i for i in range(len(CLASSES))}
        metadata = MetadataCatalog.get(name)
        metadata.set(json_file=str(file), thing_classes=list(CLASSES), thing_dataset_id_to_contiguous_id=ids)
        names.append(name)
        return name

    yield register
    for name in names:
        MetadataCatalog.remove(name)


def evaluate(name, detections_per_image, **kwargs):
    """Metrics of ``[[(x0, y0, x1, y1, class, score), ...] for each image]``."""
    evaluator = DetectionEvaluator(name, distributed=False, **kwargs)
    evaluator.reset()
    for image_id, detections in enumerate(detections_per_image, start=1):
        table = torch.tensor(detections, dtype=torch.float64).reshape(-1, 6)
        instances = Instances((SIZE, SIZE))
        instances.pred_boxes = Boxes(table[:, :4].float())
        instances.pred_classes = table[:, 4].long()
        instances.scores = table[:, 5].float()
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    return evaluator.evaluate()["bbox"]


TRUTH = [
    [(10, 10, 50, 30, 0), (100, 100, 140, 120, 0), (200, 200, 300, 250, 1)],
    [],  # a healthy image
]
# Class 0: the best detection is right, the next two are wrong (one on the healthy image), a box is missed.
# Class 1: a box of the same height shifted so that IoU = 76 / 124 = 0.613, so right at 0.50, 0.55 and 0.60.
FOUND = [
    [(10, 10, 50, 30, 0, 0.9), (300, 10, 340, 30, 0, 0.8), (224, 200, 324, 250, 1, 0.7)],
    [(10, 10, 50, 30, 0, 0.6)],
]


@pytest.mark.parametrize("use_fast_impl", [False, True])
def test_values_worked_out_by_hand(dataset, use_fast_impl):
    metrics = evaluate(dataset(TRUTH), FOUND, use_fast_impl=use_fast_impl)
    # COCO reads precision at recalls 0.00, 0.01 ... 1.00; up to 0.50 (51 of 101) it is 1, beyond it is 0.
    half = 100 * 51 / 101
    expected = {
        "AP-protrusion": half,
        "AP50-protrusion": half,
        "AP75-protrusion": half,
        "recall50-protrusion": 50.0,
        "AP-non-protrusion": 30.0,
        "AP50-non-protrusion": 100.0,
        "AP75-non-protrusion": 0.0,
        "recall50-non-protrusion": 100.0,
        "AP": (half + 30) / 2,
        "AP50": (half + 100) / 2,
        "AP75": half / 2,
        "recall50": 75.0,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_perfect_detections_score_100(dataset):
    found = [[(*box, 0.9) for box in boxes] for boxes in TRUTH]
    metrics = evaluate(dataset(TRUTH), found)
    for metric in ("AP", "AP50", "AP75", "recall50"):
        assert metrics[metric] == pytest.approx(100.0)
        for name in CLASSES:
            assert metrics[f"{metric}-{name}"] == pytest.approx(100.0)


@pytest.mark.parametrize("first", [0, -1, 7])
def test_perfect_detections_score_100_whatever_the_annotations_numbers(dataset, tmp_path, first):
    """pycocotools takes an annotation 0 for "not matched"."""
    name = dataset(TRUTH)
    file = tmp_path / f"{name}.json"
    content = json.loads(file.read_text())
    for number, annotation in enumerate(content["annotations"], start=first):
        annotation["id"] = number
    file.write_text(json.dumps(content))
    metrics = evaluate(name, [[(*box, 0.9) for box in boxes] for boxes in TRUTH])
    assert [metrics[metric] for metric in ("AP", "AP50", "AP75", "recall50")] == pytest.approx([100.0] * 4)


def plain_recall(truth, found, label, threshold=0.5, limit=100):
    """Greedy matching, best score first, each detection to the free box it covers best."""
    total = hits = 0
    for boxes, detections in zip(truth, found, strict=True):
        free = [box[:4] for box in boxes if box[4] == label]
        total += len(free)
        best_first = sorted((d for d in detections if d[4] == label), key=lambda d: -d[5])[:limit]
        for x0, y0, x1, y1, *_ in best_first:
            ious = []
            for a0, b0, a1, b1 in free:
                inter = max(0.0, min(x1, a1) - max(x0, a0)) * max(0.0, min(y1, b1) - max(y0, b0))
                ious.append(inter / ((x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - inter))
            if ious and max(ious) >= threshold:
                free.pop(int(np.argmax(ious)))
                hits += 1
    return 100 * hits / total


@pytest.mark.parametrize("seed", range(3))
def test_recall_equals_a_plain_count(dataset, seed):
    rng = np.random.default_rng(seed)

    def boxes(count):
        corner = rng.uniform(0, SIZE - 80, (count, 2))
        return np.hstack([corner, corner + rng.uniform(20, 70, (count, 2)), rng.integers(0, 2, (count, 1))])

    truth, found = [], []
    for _ in range(12):
        real = boxes(int(rng.integers(1, 6)))
        kept = real[rng.random(len(real)) < 0.8].copy()
        kept[:, :4] += rng.normal(0, 5, (len(kept), 4))
        detections = np.vstack([kept, boxes(4)])
        truth.append([tuple(row) for row in real.tolist()])
        found.append(
            [(*row, score) for row, score in zip(detections.tolist(), rng.random(len(detections)), strict=True)]
        )
    metrics = evaluate(dataset(truth), found)
    expected = [plain_recall(truth, found, label) for label in range(2)]
    assert all(0 < value < 100 for value in expected)
    assert [metrics[f"recall50-{name}"] for name in CLASSES] == pytest.approx(expected)
    assert metrics["recall50"] == pytest.approx(sum(expected) / 2)


def test_only_the_best_100_detections_of_an_image_count(dataset):
    truth = [[(10, 10, 50, 30, 0)]]
    wrong = [(200, 200, 240, 220, 0, 0.9)] * 100
    assert evaluate(dataset(truth), [[*wrong[:99], (10, 10, 50, 30, 0, 0.1)]])["recall50-protrusion"] == 100.0
    assert evaluate("evaluated_set", [[*wrong, (10, 10, 50, 30, 0, 0.1)]])["recall50-protrusion"] == 0.0


def test_finding_nothing_is_zero_and_no_box_is_nan(dataset):
    metrics = evaluate(dataset([[(10, 10, 50, 30, 0)], []]), [[], []])
    assert metrics["AP"] == metrics["AP50"] == metrics["recall50"] == 0.0
    assert metrics["AP50-protrusion"] == metrics["recall50-protrusion"] == 0.0
    assert math.isnan(metrics["AP50-non-protrusion"]) and math.isnan(metrics["recall50-non-protrusion"])


def test_a_class_without_boxes_is_left_out_of_the_means(dataset):
    metrics = evaluate(dataset([[(10, 10, 50, 30, 0)]]), [[(10, 10, 50, 30, 0, 0.9), (90, 90, 120, 120, 1, 0.9)]])
    assert (metrics["AP50"], metrics["recall50"]) == pytest.approx((100.0, 100.0))
    assert math.isnan(metrics["AP-non-protrusion"])


@pytest.mark.parametrize("found", [[[], []], [[(10, 10, 50, 30, 0, 0.9)], []]])
def test_healthy_images_only(dataset, tmp_path, found):
    metrics = evaluate(dataset([[], []]), found, output_dir=tmp_path / "out")
    assert all(math.isnan(value) for value in metrics.values())
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert set(record["metrics"].values()) == {None}
    assert record["images"] == record["images_without_boxes"] == 2


def test_json_holds_every_digit_and_the_counts(dataset, tmp_path):
    metrics = evaluate(dataset(TRUTH, "phantom_like"), FOUND, output_dir=tmp_path / "out")
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    finite = {name: value for name, value in metrics.items() if not math.isnan(value)}
    assert {name: value for name, value in record["metrics"].items() if value is not None} == finite
    assert record["dataset"] == "phantom_like" and "phantom" in record["note"]
    assert record["engine"].startswith("detectron2 ")
    assert (record["images"], record["images_without_boxes"]) == (2, 1)
    assert record["classes"] == {
        "protrusion": {"images": 1, "boxes": 2},
        "non-protrusion": {"images": 1, "boxes": 1},
    }


def test_chosen_images_are_the_ones_counted(dataset, tmp_path):
    name = dataset([[(10, 10, 50, 30, 0)], [(10, 10, 50, 30, 0), (60, 60, 90, 90, 1)]])
    evaluator = DetectionEvaluator(name, distributed=False, output_dir=tmp_path)
    evaluator.reset()
    nothing = Instances((SIZE, SIZE), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0))
    nothing.pred_classes = torch.zeros(0, dtype=torch.int64)
    evaluator.process([{"image_id": 1}, {"image_id": 2}], [{"instances": nothing}] * 2)
    metrics = evaluator.evaluate(img_ids=[1])["bbox"]
    assert metrics["recall50"] == 0.0 and math.isnan(metrics["recall50-non-protrusion"])
    assert json.loads((tmp_path / "evaluation.json").read_text())["classes"]["protrusion"] == {"images": 1, "boxes": 1}


def test_other_classes_than_the_file_are_refused(dataset):
    known = MetadataCatalog.get(dataset(TRUTH))
    MetadataCatalog.get("three_classes").set(json_file=known.json_file, thing_classes=["a", "b", "c"])
    try:
        with pytest.raises(ValueError, match=r"three_classes.*3 classes.*2 categories"):
            evaluate("three_classes", [[], []])
    finally:
        MetadataCatalog.remove("three_classes")


def test_a_failed_write_leaves_the_former_file(tmp_path):
    path = tmp_path / "evaluation.json"
    result_files.write_json(path, {"AP": 1.0})
    with pytest.raises(TypeError):
        result_files.write_json(path, {"AP": object()})
    with pytest.raises(RuntimeError), result_files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"AP": 1.0}
    assert [file.name for file in tmp_path.iterdir()] == ["evaluation.json"]


@pytest.mark.parametrize(
    ("name", "word"), [("cdh_phantom_test", "phantom"), ("spider_lumbar_val", "not CDH-1848"), ("cdh1848_test", "")]
)
def test_results_say_what_they_must_not_be_taken_for(name, word):
    note = data_note(name)
    assert word in note and bool(note) == bool(word)

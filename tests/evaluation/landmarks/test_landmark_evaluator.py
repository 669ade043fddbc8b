"""The evaluator on a registered set: figures, files, several processes, and mistakes told in one line."""

import json
import math

import numpy as np
import pytest
import torch
from landmark_truths import HEIGHT, NAMES, WIDTH, landmark_json, random_points

import meddet_d2  # noqa: F401
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Instances
from detectron2.utils import comm
from meddet_d2.evaluation import DetectionEvaluator, LandmarkEvaluator, unit_of
from meddet_d2.evaluation.landmarks.landmark_truth import records_of_json

POINTS = random_points(np.random.default_rng(0))


@pytest.fixture
def dataset():
    """A function that registers a landmark json's content."""
    name = "landmarks_to_evaluate"

    def register(content, names=NAMES):
        DatasetCatalog.register(name, lambda: records_of_json(content))
        MetadataCatalog.get(name).set(keypoint_names=names)
        return name

    yield register
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def outputs_of(found, size=(HEIGHT, WIDTH)):
    """What a network returns for (I, K, 2) points."""
    outputs = []
    for one in torch.as_tensor(found, dtype=torch.float32):
        instances = Instances(size)
        instances.pred_keypoints = torch.cat([one, torch.full((len(one), 1), 0.5)], dim=1)[None]
        instances.scores, instances.pred_classes = torch.full((1,), 0.5), torch.zeros(1, dtype=torch.int64)
        outputs.append({"instances": instances})
    return outputs


def process(evaluator, found, first=1, **options):
    inputs = [{"image_id": first + index} for index in range(len(found))]
    evaluator.process(inputs, outputs_of(found, **options))


def evaluate(name, found, **options):
    evaluator = LandmarkEvaluator(name, **options)
    evaluator.reset()
    process(evaluator, found)
    return evaluator.evaluate()["landmarks"]


def shifted(dx=0.0, dy=0.0):
    return POINTS + np.array([dx, dy])


def test_figures_and_files(dataset, tmp_path):
    visible = np.full((4, 4), 2)
    visible[0, 3] = 0
    name = dataset(landmark_json(POINTS, spacing=(0.5, 0.4), patients=["a", "a", "b", "c"], visible=visible))
    found = shifted(dy=6)  # 3 mm
    found[1, 0] = POINTS[1, 1]
    figures = evaluate(name, found, output_dir=tmp_path)
    far = np.linalg.norm((POINTS[1, 1] - POINTS[1, 0]) * (0.4, 0.5))
    assert figures["MRE"] == pytest.approx((14 * 3 + far) / 15, abs=1e-5)
    assert figures["MRE-C2/3"] == pytest.approx((3 * 3 + far) / 4, abs=1e-5)
    assert (figures["SDR2.5"], figures["SDR4"]) == (0, pytest.approx(100 * 14 / 15))
    assert figures["wrong_level"] == pytest.approx(100 / 15) and figures["wrong_level-C2/3"] == 25
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["unit"] == "mm" and (content["images"], content["patients"]) == (4, 3)
    assert (content["counted"], content["left_out"], content["missing"]) == (15, 1, 0)
    assert content["landmarks"][NAMES[3]]["left_out"] == 1 and content["landmarks"]["C2/3"]["wrong_level"] == 25
    assert content["metrics"]["MRE"] == pytest.approx(figures["MRE"])
    results = json.loads((tmp_path / "landmark_results.json").read_text())
    assert [one["image_id"] for one in results] == [1, 2, 3, 4]
    assert results[2]["landmarks"] == pytest.approx(np.insert(found[2], 2, 0.5, axis=1).flatten(), abs=1e-4)
    assert {key for one in results for key in one} == {"image_id", "landmarks", "score"}


def test_pixels_without_spacing(dataset, tmp_path):
    name = dataset(landmark_json(POINTS, spacing=None))
    assert evaluate(name, shifted(dx=3), output_dir=tmp_path)["MRE"] == pytest.approx(3, abs=1e-5)
    assert json.loads((tmp_path / "evaluation.json").read_text())["unit"] == "px"


def test_an_image_without_a_prediction_is_missing(dataset, tmp_path):
    name = dataset(landmark_json(POINTS))
    evaluator = LandmarkEvaluator(name, output_dir=tmp_path)
    process(evaluator, POINTS[:3])
    evaluator.process([{"image_id": 4}], [{"instances": outputs_of(POINTS[3:])[0]["instances"][:0]}])
    figures = evaluator.evaluate()["landmarks"]
    assert math.isnan(figures["MRE"]) and figures["MRE_found"] == pytest.approx(0, abs=1e-5)
    assert (figures["SDR2"], figures["above10"], figures["missing_rate"]) == (75, 25, 25)
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert content["metrics"]["MRE"] is None and content["missing"] == 4
    assert (content["landmarks"]["C2/3"]["missing"], content["landmarks"]["C2/3"]["missing_rate"]) == (1, 25)


def test_a_prediction_that_is_not_finite_is_missing(dataset):
    found = shifted()
    found[0, 0, 1] = np.nan
    figures = evaluate(dataset(landmark_json(POINTS)), found)
    assert math.isnan(figures["MRE"]) and figures["missing_rate"] == pytest.approx(100 / 16)
    assert math.isnan(figures["MRE-C2/3"]) and figures["MRE-C3/4"] == pytest.approx(0, abs=1e-5)


def test_the_best_of_several_instances_counts(dataset):
    evaluator = LandmarkEvaluator(dataset(landmark_json(POINTS)))
    wrong, right = (outputs_of(points)[0]["instances"] for points in (shifted(dx=9), POINTS))
    both = Instances((HEIGHT, WIDTH), scores=torch.tensor([0.4, 0.5]))
    both.pred_keypoints = torch.cat([wrong.pred_keypoints, right.pred_keypoints])
    evaluator.process([{"image_id": 1}], [{"instances": both}])
    process(evaluator, POINTS[1:], first=2)
    assert evaluator.evaluate()["landmarks"]["MRE"] == pytest.approx(0, abs=1e-5)


def test_all_processes_share_the_images(dataset, monkeypatch):
    name = dataset(landmark_json(POINTS))
    other, main = LandmarkEvaluator(name), LandmarkEvaluator(name)
    process(main, POINTS[:2])
    process(other, shifted(dy=8)[2:], first=3)
    gathered = []
    monkeypatch.setattr(comm, "gather", lambda results, dst: gathered.append(results) or gathered[::-1])
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert other.evaluate() == {}
    monkeypatch.setattr(comm, "is_main_process", lambda: True)
    figures = main.evaluate()["landmarks"]
    assert figures["MRE"] == pytest.approx(2, abs=1e-5) and figures["missing_rate"] == 0


@pytest.mark.parametrize(
    ("found", "options", "text"),
    [
        (POINTS[:, :3], {}, "Image 1 has 9 numbers of predicted landmarks; the test set's 4 landmarks"),
        (POINTS, {"size": (WIDTH, HEIGHT)}, "Image 1 is 90 x 120, but its prediction is in pixels of 120 x 90"),
    ],
)
def test_predictions_of_another_network_are_refused(dataset, found, options, text):
    evaluator = LandmarkEvaluator(dataset(landmark_json(POINTS)))
    process(evaluator, found, **options)
    with pytest.raises(ValueError, match=text):
        evaluator.evaluate()


def test_a_set_without_names_is_refused(dataset):
    evaluator = LandmarkEvaluator(dataset(landmark_json(POINTS), names=()))
    with pytest.raises(ValueError, match="no keypoint_names"):
        evaluator.evaluate()


def test_errors_in_two_units_have_no_mean():
    contents = {
        "necks_in_mm": landmark_json(POINTS, spacing=(0.5, 0.4)),
        "necks_in_px": landmark_json(POINTS, spacing=None),
    }
    for name, content in contents.items():
        DatasetCatalog.register(name, lambda content=content: records_of_json(content))
        MetadataCatalog.get(name).set(keypoint_names=NAMES)
    try:
        assert [unit_of(LandmarkEvaluator, [name]) for name in contents] == ["mm", "px"]
        with pytest.raises(ValueError, match=r"no mean over these data sets \(necks_in_mm in mm, necks_in_px in px\)"):
            unit_of(LandmarkEvaluator, list(contents))
        assert unit_of(DetectionEvaluator, list(contents)) is None
    finally:
        for name in contents:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)

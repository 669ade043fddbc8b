"""The landmarks' picture: drawn where they are, for every case, and without anyone's name."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from landmark_truths import HEIGHT, NAMES, WIDTH, landmark_json, random_points, write_landmark_set
from PIL import Image
from torch import nn

from meddet_d2 import drawing
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Instances
from meddet_d2.drawing import short_names
from meddet_d2.evaluation import LandmarkEvaluator
from meddet_d2.evaluation import comparison_pictures as pictures
from meddet_d2.evaluation.landmarks import truth_of_json
from meddet_d2.evaluation.landmarks.landmark_pictures import draw_landmark_cases, landmarks_of, mean_text
from meddet_d2.evaluation.landmarks.landmark_truth import records_of_json

PATIENT = "CANARY_PATIENT_77"
POINTS = random_points(np.random.default_rng(0), images=10)


@pytest.fixture
def records(tmp_path):
    names = [f"{PATIENT}_{index}.png" for index in range(10)]
    content = landmark_json(POINTS, patients=[PATIENT] * 10)
    write_landmark_set(tmp_path, content, POINTS, names=names)
    for image in content["images"]:
        image["file_name"] = str(tmp_path / "images" / image["file_name"])
    return records_of_json(content)


def instances(points):
    found = torch.as_tensor(points, dtype=torch.float32)
    keypoints = torch.cat([found, torch.ones(len(found), 1)], dim=1)[None]
    return Instances((HEIGHT, WIDTH), pred_keypoints=keypoints, scores=torch.ones(1))


def colored(image, color):
    """Rows and columns of the pixels that have about this colour."""
    wanted = np.array(list(bytes.fromhex(color[1:])))
    return np.nonzero(np.abs(np.asarray(image).astype(int) - wanted).sum(axis=2) < 60)


def test_landmarks_are_drawn_where_they_are():
    image = np.zeros((100, 80, 3), np.uint8)
    panel = drawing.draw_landmarks(image, [drawing.Landmark("a", (20.0, 30.0), (60.0, 80.0))], 400)
    assert panel.size == (320, 400)
    for color, (x, y) in ((drawing.TRUE_COLOR, (20, 30)), (drawing.FOUND_COLOR, (60, 80))):
        rows, columns = colored(panel, color)
        assert ((columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2) == pytest.approx(
            (4 * x, 4 * y), abs=1.5
        )
    rows, columns = colored(panel, drawing.ERROR_COLOR)
    assert rows.min() >= 4 * 30 - 1 and np.isin(4 * 55, rows) and columns.max() <= 4 * 60 + 30
    # A ring is hollow: the image is seen in it.
    assert panel.getpixel((80, 118)) != (0, 158, 115)


def test_names_cover_no_landmark_and_no_other_name():
    image = np.zeros((100, 100, 3), np.uint8)
    crowd = [drawing.Landmark(f"name{index}", (50.0, 50.0)) for index in range(6)]
    panels = (np.asarray(drawing.draw_landmarks(image, ones, 300)) for ones in (crowd[:1], crowd))
    alone, all_ = ((panel.min(axis=2) > 100).sum() for panel in panels)
    # Of six names there is room for four: each on another side.
    assert alone > 50 and 3.5 * alone < all_ < 4.5 * alone
    right = drawing.Landmark("", (55.0, 50.0))
    moved = np.asarray(drawing.draw_landmarks(image, [crowd[0], right], 300)).min(axis=2) > 100
    assert not moved[140:160, 165:].any() and moved[:, :150].any()


def test_the_greatest_error_is_first():
    truth = truth_of_json(landmark_json(POINTS))
    errors = np.array([1.0, np.nan, 5.0, np.inf])
    found = POINTS[0].copy()
    found[3] = np.nan
    drawn = landmarks_of(truth, 0, found, errors)
    assert [one.name for one in drawn] == ["C7lrc", "C4/5", "C2/3", "C3/4"]
    assert drawn[0].found is None and drawn[0].truth == pytest.approx(POINTS[0, 3])


def test_short_names_are_of_different_landmarks():
    names = ["C3", "C3 top left", "C3 tall lamp", "C7/T1 disc", "C7/T1 upper rear corner", "centroid"]
    assert short_names(names) == ("C3", "2", "3", "C7/T1d", "5", "6")
    assert short_names(NAMES) == (*NAMES[:3], "C7lrc")


def test_what_a_case_says():
    assert mean_text(np.array([1.0, 2.0, np.nan]), "px") == "mean error 1.50 px"
    assert mean_text(np.array([1.0, np.inf]), "mm") == "1 missing"
    assert mean_text(np.array([np.nan]), "mm") == "no landmark labelled"


def test_the_evaluator_draws_some_test_images(records, tmp_path):
    class Network(nn.Module):
        def forward(self, inputs):
            return [{"instances": instances(POINTS[one["image_id"] - 1])} for one in inputs]

    name = "landmarks_to_draw"
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(keypoint_names=NAMES)
    try:
        path = tmp_path / "out" / "picture.png"
        LandmarkEvaluator.draw(Network(), SimpleNamespace(dataset=records), name, path)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    sheet = Image.open(path)
    assert sheet.height > 2 * pictures.PANEL and sheet.width > 4 * 300
    assert PATIENT.encode() not in path.read_bytes()


def test_a_case_without_a_prediction_has_its_truth_alone(records, tmp_path):
    path = tmp_path / "picture.png"
    draw_landmark_cases(records[:1], [instances(POINTS[0])[:0]], NAMES, "some", path)
    sheet = Image.open(path)
    below = sheet.crop((0, pictures.MARGIN + 3 * drawing.CAPTION, *sheet.size))
    assert len(colored(below, drawing.TRUE_COLOR)[0]) and not len(colored(below, drawing.FOUND_COLOR)[0])

"""What this project relies on in ``detectron2.utils.visualizer``, on either engine."""

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.visualizer import ColorMode, Visualizer

GREY = np.full((60, 80, 3), 90, dtype=np.uint8)


@pytest.fixture
def metadata():
    yield MetadataCatalog.get("engine_api_picture").set(thing_classes=["protrusion", "non-protrusion"])
    MetadataCatalog.remove("engine_api_picture")


def coloured(picture: np.ndarray) -> np.ndarray:
    """(n, 2) rows and columns of pixels that are not grey."""
    picture = picture.astype(int)
    return np.argwhere(picture.max(axis=2) - picture.min(axis=2) > 25)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_a_box_is_drawn_where_it_is(scale):
    output = Visualizer(GREY, scale=scale).overlay_instances(boxes=Boxes([[20.0, 10, 60, 50]]), assigned_colors=["red"])
    picture = output.get_image()
    assert picture.shape == (60 * scale, 80 * scale, 3) and picture.dtype == np.uint8
    points = coloured(picture) / scale
    np.testing.assert_allclose(points.min(axis=0), [10, 20], atol=2)
    np.testing.assert_allclose(points.max(axis=0), [50, 60], atol=2)
    inside = (np.abs(points - [30, 40]) < [15, 15]).all(axis=1)
    assert not inside.any(), "the inside stays free"
    assert (picture[int(30 * scale), int(40 * scale)] == 90).all()


def test_predictions(metadata):
    boxes = Boxes(torch.tensor([[20.0, 20, 60, 40], [5, 5, 15, 15]]))
    instances = Instances(
        (60, 80), pred_boxes=boxes, scores=torch.tensor([0.9, 0.4]), pred_classes=torch.tensor([0, 1])
    )
    plain = Visualizer(GREY, metadata, scale=2.0).overlay_instances(boxes=boxes, assigned_colors=["red", "red"])
    visualizer = Visualizer(GREY, metadata=metadata, scale=2.0, instance_mode=ColorMode.IMAGE)
    labelled = visualizer.draw_instance_predictions(instances).get_image()
    assert labelled.shape == (120, 160, 3)
    changed = (labelled != 90).any(axis=2).sum(), (plain.get_image() != 90).any(axis=2).sum()
    assert changed[0] > changed[1], "labels are drawn as well"


def test_dataset_dict_and_file(metadata, tmp_path):
    annotation = {"bbox": [20, 20, 40, 20], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, "iscrowd": 0}
    output = Visualizer(GREY, metadata).draw_dataset_dict({"annotations": [annotation]})
    output.save(str(tmp_path / "picture.png"))
    saved = np.asarray(Image.open(tmp_path / "picture.png").convert("RGB"))
    np.testing.assert_array_equal(saved, output.get_image())
    assert len(coloured(saved)) > 0


@pytest.mark.parametrize("record", [{}, {"annotations": []}])
def test_healthy_images_stay_as_they_are(metadata, record):
    assert (Visualizer(GREY, metadata).draw_dataset_dict(record).get_image() == 90).all()


def test_no_predictions(metadata):
    empty = Instances(
        (60, 80), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0), pred_classes=torch.zeros(0).long()
    )
    assert (Visualizer(GREY, metadata).draw_instance_predictions(empty).get_image() == 90).all()


def test_the_input_is_not_changed(metadata):
    image = GREY.copy()
    Visualizer(image, metadata).overlay_instances(boxes=np.array([[1.0, 1, 30, 30]]), labels=["a"])
    assert (image == 90).all()

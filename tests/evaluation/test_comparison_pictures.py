"""The comparison picture: drawn where it should be, for every shape of image, and without anyone's name."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from meddet_d2 import drawing
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances
from meddet_d2.evaluation import comparison_pictures as pictures
from meddet_d2.evaluation import draw_comparison, draw_test_images

PATIENT = "CANARY_PATIENT_77"
METADATA = SimpleNamespace(name="some_phantom", thing_classes=["protrusion", "non-protrusion"])


@pytest.fixture
def make_record(tmp_path):
    def make(index=0, height=200, width=200, boxes=((40, 60, 100, 90, 0),)):
        path = tmp_path / f"{PATIENT}_{index}.png"
        Image.fromarray(np.full((height, width), 60, np.uint8)).save(path)
        annotations = [
            {"bbox": [x0, y0, x1 - x0, y1 - y0], "bbox_mode": BoxMode.XYWH_ABS, "category_id": label, "iscrowd": 0}
            for x0, y0, x1, y1, label in boxes
        ]
        return {
            "file_name": str(path),
            "image_id": index,
            "patient_id": PATIENT,
            "height": height,
            "width": width,
            "annotations": annotations,
        }

    return make


def instances(*detections, size=(200, 200)):
    table = torch.tensor(detections, dtype=torch.float32).reshape(-1, 6)
    return Instances(size, pred_boxes=Boxes(table[:, :4]), pred_classes=table[:, 4].long(), scores=table[:, 5])


def colored(image, color):
    """Which pixels have about this colour."""
    pixels = np.asarray(image).astype(int)
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return np.abs(pixels - wanted).sum(axis=2) < 120


def panels(path, height=480, width=480):
    """The first case's two panels."""
    sheet = Image.open(path)
    top = pictures.MARGIN + 2 * drawing.CAPTION + pictures.MARGIN // 2 + drawing.CAPTION
    left = pictures.MARGIN
    right = left + width + pictures.GAP
    return (sheet.crop((x, top, x + width, top + height)) for x in (left, right))


def test_boxes_are_drawn_where_they_are(make_record, tmp_path):
    path = tmp_path / "out" / "picture.png"
    found = instances((120, 20, 160, 40, 1, 0.9), (10, 150, 60, 190, 0, 0.1))
    draw_comparison([make_record()], [found], METADATA, path, score_threshold=0.3)
    truth, prediction = panels(path)
    scale = 480 / 200
    rows, columns = np.nonzero(colored(truth, drawing.COLORS[0]))
    assert (columns.min(), columns.max()) == pytest.approx((40 * scale, 100 * scale), abs=4)
    assert (rows.min(), rows.max()) == pytest.approx((60 * scale, 90 * scale), abs=4)
    assert not colored(truth, drawing.COLORS[1]).any()
    # The prediction of the other class is on the other side; the one below the threshold is not there.
    assert not colored(prediction, drawing.COLORS[0]).any()
    rows, columns = np.nonzero(colored(prediction, drawing.COLORS[1]))
    assert (columns.max(), rows.min()) == pytest.approx((160 * scale, 20 * scale), abs=4)
    # The inside of a box is the image, untouched.
    inside = np.asarray(truth)[round(64 * scale) : round(86 * scale), round(44 * scale) : round(96 * scale)]
    assert np.abs(inside.astype(int) - 60).max() <= 2


def test_no_name_gets_into_the_picture(make_record, tmp_path, caplog, capsys):
    path = tmp_path / "picture.png"
    draw_comparison([make_record()], [instances()], METADATA, path)
    assert PATIENT.encode() not in path.read_bytes()
    assert Image.open(path).info == {} and Image.open(path).mode == "RGB"
    assert PATIENT not in caplog.text + capsys.readouterr().out
    other = tmp_path / "other.png"
    record = make_record()
    renamed = tmp_path / "a_much_longer_and_different_name_of_the_same_image.png"
    renamed.write_bytes((tmp_path / f"{PATIENT}_0.png").read_bytes())
    draw_comparison([{**record, "file_name": str(renamed), "patient_id": "x"}], [instances()], METADATA, other)
    assert other.read_bytes() == path.read_bytes()


def test_a_leftover_panel_shape_mix_and_healthy_images(make_record, tmp_path):
    records = [
        make_record(0),
        make_record(1, 90, 40, boxes=()),
        make_record(2, 700, 1100, boxes=((5, 5, 1090, 690, 1),)),
    ]
    found = [instances(), instances(size=(90, 40)), instances((900, 20, 1095, 60, 0, 1.0), size=(700, 1100))]
    long = SimpleNamespace(name="t" * 40, thing_classes=METADATA.thing_classes)
    draw_comparison(records, found, long, tmp_path / "mixed.png")
    sheet = Image.open(tmp_path / "mixed.png")
    assert sheet.width >= 2 * (2 * 480 + pictures.GAP) and sheet.height >= 2 * 306
    assert [file.name for file in tmp_path.glob(".*")] == []


def test_bad_input_is_named(make_record, tmp_path):
    path = tmp_path / "picture.png"
    with pytest.raises(ValueError, match="1 images and 2 predictions"):
        draw_comparison([make_record()], [instances(), instances()], METADATA, path)
    with pytest.raises(ValueError, match="0 images"):
        draw_comparison([], [], METADATA, path)
    with pytest.raises(ValueError, match="class 7"):
        draw_comparison([make_record()], [instances((1, 1, 9, 9, 7, 0.9))], METADATA, path)
    assert not path.exists()


def test_test_images_are_spread_over_the_set_and_the_mode_is_restored(make_record, tmp_path, monkeypatch):
    records = [make_record(i) for i in range(10)]
    name = "pictured_set"
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).thing_classes = METADATA.thing_classes
    drawn = []
    monkeypatch.setattr(pictures, "draw_comparison", lambda images, *rest, **_: drawn.extend(images))

    class Blind(nn.Module):
        def forward(self, inputs):
            assert not self.training and not torch.is_grad_enabled()
            return [{"instances": instances()} for _ in inputs]

    loader = SimpleNamespace(dataset=[{"image_id": record["image_id"]} for record in records])
    try:
        model = Blind().train()
        monkeypatch.setattr(pictures, "MOST", 4)
        draw_test_images(model, loader, name, tmp_path / "x.png")
        assert [image["image_id"] for image in drawn] == [0, 3, 6, 9] and model.training
        drawn.clear()
        monkeypatch.setattr(pictures, "MOST", 20)
        draw_test_images(model, loader, name, tmp_path / "x.png")
        assert [image["image_id"] for image in drawn] == list(range(10))
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)

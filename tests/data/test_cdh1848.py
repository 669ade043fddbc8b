"""CDH-1848's layout: what loads, and every mistake as one line that names file, image and annotation."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from meddet_d2.data import load_cdh_layout, register_cdh_layout
from meddet_d2.layout.data_set import CDH_CLASSES


def split(first_patient: int = 1) -> dict:
    """Two patients, three images; the last is healthy (no box)."""
    images = [
        {"id": 1, "file_name": "a.png", "width": 64, "height": 48, "patient_id": first_patient, "spacing": [0.5, 0.5]},
        {"id": 2, "file_name": "b.png", "width": 64, "height": 48, "patient_id": first_patient},
        {"id": 3, "file_name": "c.png", "width": 64, "height": 48, "patient_id": first_patient + 1},
    ]
    annotation = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 8], "area": 160, "iscrowd": 0, "level": "C5/6"}
    annotations = [
        {"id": 1, **annotation},
        {"id": 2, **annotation, "category_id": 2, "bbox": [44.0, 40.0, 20.0, 8.0]},
        {"id": 3, **annotation, "image_id": 2},
    ]
    categories = [{"id": 1, "name": "protrusion"}, {"id": 2, "name": "non-protrusion"}]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    for name in "abc":
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(tmp_path / "images" / f"{name}.png")
    return tmp_path


@pytest.fixture
def load(folder):
    def write_and_load(content: dict) -> list[dict]:
        (folder / "train.json").write_text(json.dumps(content))
        MetadataCatalog.pop("layout_under_test", None)
        return load_cdh_layout(folder / "train.json", folder / "images", "layout_under_test")

    return write_and_load


def test_records_keep_patient_level_spacing_and_healthy_images(load, folder):
    records = load(split())
    assert [len(record["annotations"]) for record in records] == [2, 1, 0]
    assert [record["patient_id"] for record in records] == [1, 1, 2]
    assert records[0]["spacing"] == [0.5, 0.5] and "spacing" not in records[1]
    assert records[0]["file_name"] == str(folder / "images" / "a.png")
    assert [annotation["category_id"] for annotation in records[0]["annotations"]] == [0, 1]
    assert records[0]["annotations"][0]["level"] == "C5/6"
    assert MetadataCatalog.get("layout_under_test").thing_classes == list(CDH_CLASSES)


def test_boxes_of_whole_numbers_stay_exact_when_an_image_is_resized(load):
    (annotation, _), *_ = (record["annotations"] for record in load(split()))
    resize = T.ResizeTransform(48, 64, 60, 80)
    resized = utils.transform_instance_annotations(annotation, T.TransformList([resize]), (60, 80))
    assert resized["bbox"] == pytest.approx([12.5, 12.5, 37.5, 22.5])


def test_a_split_of_healthy_patients_only_loads(load):
    assert len(load({**split(), "annotations": []})) == 3


MISTAKES = {
    "no images list": (lambda c: c.pop("images"), "'images' is not a list"),
    "images of something else": (lambda c: c.update(images=[1]), "'images' is not a list"),
    "no image": (lambda c: c.update(images=[]), "lists no images"),
    "other classes": (lambda c: c["categories"][0].update(name="herniation"), "they must be"),
    "classes the other way round": (lambda c: c["categories"][0].update(id=5), "they must be"),
    "one category": (lambda c: c["categories"].pop(), "they must be"),
    "category twice": (lambda c: c["categories"][0].update(id=2), "category ids"),
    "category without a name": (lambda c: c["categories"][0].pop("name"), "no 'id' or no 'name'"),
    "patient missing": (lambda c: c["images"][1].pop("patient_id"), r"image 2 \(b.png\) has no patient_id"),
    "patient empty": (lambda c: c["images"][1].update(patient_id=""), r"image 2 \(b.png\) has no patient_id"),
    "image id missing": (lambda c: c["images"][1].pop("id"), "image b.png has id None"),
    "image id twice": (lambda c: c["images"][1].update(id=1), r"image id 1 \(b.png\) is used twice"),
    "file twice": (lambda c: c["images"][1].update(file_name="a.png"), "file a.png is listed twice"),
    "no file name": (lambda c: c["images"][1].pop("file_name"), "image 2 has no 'file_name'"),
    "no size": (lambda c: c["images"][1].update(height=0), r"image 2 \(b.png\) has height 0"),
    "annotation id missing": (lambda c: c["annotations"][1].pop("id"), "an annotation has id None"),
    "annotation id twice": (lambda c: c["annotations"][1].update(id=1), "annotation id 1 is used twice"),
    "of no image": (lambda c: c["annotations"][1].update(image_id=9), "annotation 2 is of image 9"),
    "unknown category": (lambda c: c["annotations"][1].update(category_id=3), "2 of a.png has unknown category 3"),
    "no box": (lambda c: c["annotations"][1].pop("bbox"), "2 of a.png has bbox None"),
    "half a box": (lambda c: c["annotations"][1].update(bbox=[1, 2]), r"2 of a.png has bbox \[1, 2\]"),
    "text in a box": (lambda c: c["annotations"][1].update(bbox=[1, 2, "3", 4]), "2 of a.png has bbox"),
    "no width": (lambda c: c["annotations"][1].update(bbox=[1, 2, 0, 4]), "2 of a.png .* has no area"),
    "negative height": (lambda c: c["annotations"][1].update(bbox=[1, 2, 3, -4]), "2 of a.png .* has no area"),
    "nan": (lambda c: c["annotations"][1].update(bbox=[float("nan"), 2, 3, 4]), "2 of a.png .* four finite numbers"),
    "beyond the right": (lambda c: c["annotations"][1].update(bbox=[50, 2, 15, 4]), "2 of a.png .* 64 x 48"),
    "below": (lambda c: c["annotations"][1].update(bbox=[5, 45, 15, 4]), "2 of a.png .* 64 x 48"),
    "left of it": (lambda c: c["annotations"][1].update(bbox=[-1, 2, 15, 4]), "2 of a.png .* 64 x 48"),
    "no area key": (lambda c: c["annotations"][1].pop("area"), "2 of a.png has area None"),
    "no iscrowd": (lambda c: c["annotations"][1].pop("iscrowd"), "2 of a.png has iscrowd None"),
    "ignore": (lambda c: c["annotations"][1].update(ignore=1), "2 of a.png has 'ignore' set"),
    "bad polygon": (lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3, 4]]), "2 of a.png has no polygon"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(load, mistake):
    change, message = MISTAKES[mistake]
    content = copy.deepcopy(split())
    change(content)
    with pytest.raises(ValueError, match=message) as caught:
        load(content)
    assert "\n" not in str(caught.value) and "train.json" in str(caught.value)


def test_missing_files_are_named(load, folder):
    with pytest.raises(FileNotFoundError, match=r"train\.json: no such file.*DETECTRON2_DATASETS"):
        load_cdh_layout(folder / "train.json", folder / "images", "x")
    (folder / "images" / "b.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"b\.png: not there, but .*train\.json needs it: image 2 \(b\.png\): no such file"
    ):
        load(split())
    for file in (folder / "images").iterdir():
        file.unlink()
    (folder / "images").rmdir()
    with pytest.raises(FileNotFoundError, match=r"images: not there, but .*its folder of images is not there"):
        load(split())


def test_broken_json_is_named(folder):
    (folder / "train.json").write_text('{"images": [')
    with pytest.raises(ValueError, match=r"train\.json: not a json file") as caught:
        load_cdh_layout(folder / "train.json", folder / "images", "x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sibling", ["test.json", "val.json"])
def test_a_patient_on_both_sides_is_refused(load, folder, sibling):
    (folder / sibling).write_text(json.dumps(split(first_patient=2)))
    with pytest.raises(ValueError, match=rf"train\.json: 1 patients are also in {sibling} \(2\); split by patient"):
        load(split(first_patient=1))
    (folder / sibling).write_text(json.dumps(split(first_patient=3)))
    assert len(load(split(first_patient=1))) == 3


def test_patient_7_is_patient_7_as_text_too(load, folder):
    other = split(first_patient=7)
    for image in other["images"]:
        image["patient_id"] = str(image["patient_id"])
    (folder / "test.json").write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"2 patients .*\(7, 8\)"):
        load(split(first_patient=7))


def test_at_most_ten_patients_are_listed(load, folder):
    content = split()
    for number in range(20):
        name = f"{number}.png"
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(folder / "images" / name)
        content["images"].append(
            {"id": 100 + number, "file_name": name, "width": 64, "height": 48, "patient_id": f"p{number:02d}"}
        )
    (folder / "test.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="22 patients") as caught:
        load(content)
    assert caught.value.args[0].count(",") == 10 and ", ...)" in str(caught.value)


def test_registering_again_is_harmless_and_another_place_replaces(folder):
    (folder / "train.json").write_text(json.dumps(split()))
    name = "layout_registered_twice"
    calls = []
    for _ in range(2):
        register_cdh_layout(name, folder / "train.json", folder / "images", prepare=lambda: calls.append(1))
    assert not calls, "nothing is made before it is asked for"
    assert len(DatasetCatalog.get(name)) == 3 and calls == [1]
    metadata = MetadataCatalog.get(name)
    assert (
        metadata.evaluator_type == "coco"
        and metadata.thing_classes == list(CDH_CLASSES)
        and len(metadata.thing_colors) == 2
    )
    assert metadata.json_file == str(folder / "train.json")
    register_cdh_layout(name, folder / "elsewhere.json", folder / "images")
    assert MetadataCatalog.get(name).json_file == str(folder / "elsewhere.json")
    with pytest.raises(FileNotFoundError, match=r"elsewhere\.json"):
        DatasetCatalog.get(name)


@pytest.mark.skipif("MEDDET_SPIDER_LUMBAR" not in os.environ, reason="MEDDET_SPIDER_LUMBAR names no folder")
def test_spider_lumbar_loads():
    folder = Path(os.environ["MEDDET_SPIDER_LUMBAR"])
    counts = {
        name: len(load_cdh_layout(folder / f"{name}.json", folder / "images", f"spider_{name}"))
        for name in ("train", "val")
    }
    assert counts == {"train": 79, "val": 30}

"""Which files belong together, and what is kept of a json that is partly wrong."""

import json
import random

import pytest
from layouts import Layout, split

from meddet_d2.curation.checking.annotation_checks import find_json_files, read_splits, split_names
from meddet_d2.curation.checking.box_checks import check_boxes
from meddet_d2.curation.checking.data_statistics import compare_splits, count_split


def read(folder):
    return read_splits([(file, folder / "images") for file in find_json_files([folder])])


def test_splits_beside_each_other_are_found_once_each(tmp_path):
    Layout(tmp_path)
    (tmp_path / "fold.json").write_text("{}")
    train, test, fold = (tmp_path / name for name in ("train.json", "test.json", "fold.json"))
    assert find_json_files([tmp_path]) == [train, test]
    assert find_json_files([test]) == [train, test]
    assert find_json_files([fold, train, tmp_path]) == [fold, train, test]
    # What is not there is reported later, by its name.
    assert find_json_files([tmp_path / "val.json"]) == [train, tmp_path / "val.json", test]
    assert find_json_files([tmp_path / "images"]) == [tmp_path / "images" / "train.json"]


def test_names_of_splits_are_unique(tmp_path):
    one, other = tmp_path / "a" / "train.json", tmp_path / "b" / "train.json"
    assert split_names([one, one.with_name("test.json")]) == ["train", "test"]
    assert split_names([one, other]) == ["a/train", "b/train"]
    assert split_names([one, tmp_path / "x" / "a" / "train.json"]) == ["a/train (1)", "a/train (2)"]


def test_each_patient_of_two_splits_is_named_by_its_images_in_both(tmp_path):
    layout = Layout(tmp_path)
    layout.change(lambda content: [image.update(patient_id="secret-2") for image in content["images"][:3]], "test")
    _, findings = read(tmp_path)
    assert [finding.line() for finding in findings] == [
        "E121 leak test image 20 (020.png): the patient of images 4, 5 of train is also that of images 20, 21, 22 of "
        "test; move all images of a patient to one side."
    ]


def test_boxes_of_wrong_annotations_are_left_out_and_the_others_kept(tmp_path):
    layout = Layout(tmp_path)

    def spoil(content):
        content["annotations"][0]["bbox"] = [0, 0, -1, 5]
        content["annotations"][1]["category_id"] = 9
        content["annotations"][2]["image_id"] = 77
        content["images"][1].pop("width")

    layout.change(spoil)
    (train, _), _ = read(tmp_path)
    first, second, third = train.images[:3]
    assert [(box.number, box.label) for box in first.boxes] == [(2, None), (4, 1), (5, 0), (6, 1)]
    assert second.boxes == [] and second.size is None and len(third.boxes) == 6
    assert third.boxes[0].corners == (30.0, 5.0, 55.0, 15.0)


@pytest.mark.parametrize(
    ("change", "region"),
    [
        (lambda c: None, ""),
        (lambda c: c.update(info={"phantom": True}), "phantom"),
        (lambda c: c.update(info={"description": "SPIDER Lumbar slices"}), "lumbar"),
        (lambda c: c["annotations"][0].update(level="L4/5"), "lumbar"),
        (lambda c: c.update(info="lumbar?"), ""),
    ],
)
def test_phantoms_and_lumbar_images_are_told_apart(change, region, tmp_path):
    Layout(tmp_path).change(change)
    (train, test), _ = read(tmp_path)
    assert (train.region, test.region) == (region, "")


def test_no_json_makes_a_check_fail(tmp_path):
    """A hundred jsons, each spoilt in one or more values."""
    layout = Layout(tmp_path)
    draw = random.Random(0)
    odd = [
        None,
        "",
        "x",
        -1,
        0,
        1.5,
        True,
        [],
        {},
        [1],
        [1, 2, 3, 4],
        [1e308] * 4,
        float("nan"),
        10**30,
        "../x",
        "\ud800",
    ]
    for _ in range(100):
        content = split(2, 4)
        for _ in range(draw.choice((1, 2, 5))):
            record = draw.choice(content[draw.choice(("images", "annotations", "categories"))])
            record[draw.choice([*record, "ignore", "segmentation"])] = draw.choice(odd)
        content["info"] = draw.choice(odd)
        layout.contents["train"] = content
        layout.write()
        splits, findings = read(tmp_path)
        findings += [*check_boxes(splits), *compare_splits(splits)]
        json.dumps([count_split(split) for split in splits], allow_nan=False)
        assert all(finding.line().isprintable() for finding in findings)

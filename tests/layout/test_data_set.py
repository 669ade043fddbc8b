"""Data sets of any classes: names from categories or from an attribute, patients by any key or by none."""

import json

import pytest
from class_sets import FIVE_NAMES, write_coco

from meddet_d2.layout.data_set import CDH_CLASSES, DataSet, choose_findings, value_text


def of(path, **keys) -> DataSet:
    return DataSet(json_file=path, images=path.parent / "slices", **{"patient_key": "case", **keys})


def change(path, function) -> None:
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


def test_classes_come_from_the_categories_by_rising_id(tmp_path):
    data_set = of(write_coco(tmp_path, "a"))
    assert data_set.names() == tuple(FIVE_NAMES)
    content = data_set.read()
    assert [category["name"] for category in content["categories"]] == FIVE_NAMES
    assert [image["patient_id"] for image in content["images"]] == ["p0", "p1", "p1", "p2", "p2"]


def test_names_are_read_again_when_the_json_has_changed(tmp_path):
    path = write_coco(tmp_path, "a")
    data_set = of(path)
    assert "mass" in data_set.names()
    change(path, lambda content: content["categories"][0].update(name="another mass"))
    assert "another mass" in data_set.names() and "mass" not in data_set.names()
    path.unlink()
    assert data_set.names() is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cyst", "is the name of two categories"),
        ("mean", "mean of all classes"),
        ("=1+1", "spreadsheet"),
        ("", "no name"),
        (" mass", "no name"),
        ("a\nb", "no name"),
        (3, "no name"),
        (None, "no name"),
    ],
)
def test_a_name_that_cannot_be_used_is_told_in_one_line(tmp_path, name, words):
    path = write_coco(tmp_path, "a")
    change(path, lambda content: content["categories"][0].update(name=name))
    for call in (of(path).names, of(path).read):
        with pytest.raises(ValueError, match=words) as caught:
            call()
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_json_without_categories_is_refused(tmp_path):
    path = write_coco(tmp_path, "a")
    change(path, lambda content: content.update(categories=[], annotations=[]))
    with pytest.raises(ValueError, match="lists no categories"):
        of(path).read()


RULE = {"class_from": "original.grade of it", "class_names": (("1", "mild"), ("2", "severe"), ("3", "severe"))}


def graded(tmp_path, grade):
    return of(write_coco(tmp_path, "a", original=lambda count: {"grade of it": grade(count)}), **RULE)


@pytest.mark.parametrize("kind", [int, float, str])
def test_classes_come_from_an_attribute_and_two_values_may_be_one_class(tmp_path, kind):
    data_set = graded(tmp_path, lambda count: kind(1 + count % 3))
    assert data_set.names() == ("mild", "severe")
    content = data_set.read()
    assert content["categories"] == [{"id": 1, "name": "mild"}, {"id": 2, "name": "severe"}]
    assert [annotation["category_id"] for annotation in content["annotations"][:4]] == [1, 2, 2, 1]


def test_annotations_without_a_grading_are_counted_and_named(tmp_path):
    data_set = graded(tmp_path, lambda count: None if count in (2, 3, 4, 5, 7) else 1)
    with pytest.raises(ValueError, match=r"5 annotations have no original\.grade of it") as caught:
        data_set.read()
    assert "annotation 2 of 1.png, annotation 3 of 2.png" in str(caught.value) and ", ...)" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_grading_that_is_no_class_is_counted_and_named(tmp_path):
    with pytest.raises(ValueError, match=r"5 annotations .* 4 \(5\).*1 = mild, 2 = severe, 3 = severe"):
        graded(tmp_path, lambda count: 4 if count % 3 == 0 else 1).read()


def test_a_rule_that_makes_no_classes_is_refused(tmp_path):
    for keys, words in (
        ({"class_from": "grade"}, "belong together"),
        ({"class_names": (("1", "a"),)}, "belong together"),
        ({"class_from": "g", "class_names": (("1", "=a"),)}, "spreadsheet"),
        ({"class_from": "g", "class_names": (("1", "a"), ("1", "b"))}, "not all different"),
    ):
        with pytest.raises(ValueError, match=words):
            of(tmp_path / "a.json", **keys)


def test_values_are_compared_as_text():
    assert [value_text(value) for value in (2, 2.0, 2.5, True, "2")] == ["2", "2", "2.5", "true", "2"]


def test_a_wrong_patient_key_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"image 1 \(1.png\) has no patient_id.*DATASETS.PATIENT_KEY"):
        of(write_coco(tmp_path, "a"), patient_key="patient_id").read()


def test_without_patients_no_image_may_be_on_both_sides(tmp_path):
    path = write_coco(tmp_path, "train", patients=None)
    assert all("patient_id" not in image for image in of(path, patient_key="").read()["images"])
    write_coco(tmp_path, "test", patients=None, first=5)
    with pytest.raises(ValueError, match=r"1 images are also in test.json \(5.png\)"):
        of(path, patient_key="").read()


def test_a_patient_on_both_sides_is_found_by_the_key(tmp_path):
    path = write_coco(tmp_path, "train")
    write_coco(tmp_path, "test", first=5)
    with pytest.raises(ValueError, match=r"1 patients are also in test.json \(p2\)"):
        of(path).read()


def test_findings_are_the_chosen_the_declared_or_all():
    assert choose_findings(FIVE_NAMES, ["mass", "cyst"], ["nodule"]) == ("cyst", "mass")
    assert choose_findings(CDH_CLASSES, [], CDH_CLASSES[:1]) == ("protrusion",)
    assert choose_findings(FIVE_NAMES, [], []) == tuple(FIVE_NAMES)
    with pytest.raises(ValueError, match="'tumour' is no class of the test set, whose are cyst, lymph node, calc"):
        choose_findings(FIVE_NAMES, ["tumour"], [])

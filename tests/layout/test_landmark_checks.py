"""A landmark set's json: every mistake is one line that names the file and the image."""

import pytest
from class_sets import write_coco
from landmark_sets import NAMES, LandmarkSet

from meddet_d2.layout.data_set import DataSet
from meddet_d2.layout.landmarks import LandmarkNames


def data_set(made: LandmarkSet, name: str = "train", **values) -> DataSet:
    return DataSet(json_file=made.folder / f"{name}.json", images=made.folder / "images", **values)


def values(*changes, index=1):
    """Puts numbers into the landmarks of image 2, each at its place."""

    def change(content):
        for place, value in changes:
            content["annotations"][index]["landmarks"][place] = value

    return change


def category(**keys):
    return lambda content: content["categories"][0].update(keys)


def without(kind, index, key):
    return lambda content: content[kind][index].pop(key)


def image(**keys):
    return lambda content: content["images"][1].update(keys)


def test_a_sound_set_is_read_and_its_landmarks_are_known(tmp_path):
    made = LandmarkSet(tmp_path / "set", flip_pairs=[["left horn", "right horn"]])
    content = data_set(made).read()
    assert content["annotations"][0]["landmarks"][:3] == [11.5, 20.25, 2]
    pairs = (("left horn", "right horn"),)
    expected = LandmarkNames("beetle", tuple(NAMES), (("front", "back"),), pairs)
    assert data_set(made).landmark_names() == expected
    assert LandmarkNames.from_category(expected.category()) == expected
    made.change(without("categories", 0, "flip_pairs"))
    assert data_set(made).landmark_names().flip_pairs is None
    made.change(category(flip_pairs=[]))
    assert data_set(made).landmark_names().flip_pairs == ()


def structures(parts):
    def change(content):
        content["categories"][0]["structures"] = ["disc"]
        content["annotations"][1]["structures"] = parts

    return change


MISTAKES = {
    "a name twice": (category(keypoints=["a", "b", "a", "c"]), r"'a' as the name of landmark 3, .* landmark 1 as well"),
    "a formula": (category(keypoints=["a", "b", "=c", "d"]), "spreadsheet"),
    "no names": (without("categories", 0, "keypoints"), "no list 'keypoints'"),
    "two categories": (lambda content: content["categories"].append({"id": 2, "name": "x"}), "lists 2 categories"),
    "a bone to nowhere": (category(skeleton=[[0, 1]]), "skeleton that is not pairs of numbers from 1 to 4"),
    "a flip of a stranger": (category(flip_pairs=[["front", "rear"]]), "flip_pairs that are not pairs"),
    "a flip of two": (category(flip_pairs=[["front", "back"], ["back", "left horn"]]), "'back' in flip_pairs twice"),
    "too few numbers": (
        lambda content: content["annotations"][1]["landmarks"].pop(),
        r"annotation 2 of 2\.png has 11 numbers in landmarks; 4 keypoints need 12",
    ),
    "no list": (lambda content: content["annotations"][1].update(landmarks="x"), r"of 2\.png has no list 'landmarks'"),
    "none of an image": (lambda c: c["annotations"][1].pop("landmarks"), r"of 2\.png has no list|bbox"),
    "not a number": (values((0, float("nan"))), r"2\.png has 'front' at \[nan, 20.25, 2\]"),
    "a text": (values((4, "30")), r"2\.png has 'back' at"),
    "visibility 3": (values((2, 3)), r"2\.png has 'front' at \[12.5, 20.25, 3\]; .* v of 0, 1 or 2"),
    "visibility true": (values((2, True)), r"2\.png has 'front' at"),
    "outside": (values((3, 80.5)), r"2\.png has 'back' at \(80.5, 30\), outside its image of 80 x 60"),
    "above": (values((4, -3)), r"2\.png has 'back' at \(60, -3\), outside"),
    "none labelled": (values((2, 0), (5, 0), (8, 0), (11, 0)), r"2\.png has no labelled landmark"),
    "fractions": (values(*((i, 0.4) for i in (0, 1, 3, 4, 6, 7, 9, 10))), r"2\.png .*fractions"),
    "no box": (without("annotations", 1, "bbox"), r"2\.png has bbox None"),
    "an image without": (lambda content: content["annotations"].pop(1), r"image 2\.png has no annotations"),
    "an image with two": (
        lambda content: content["annotations"].append({**content["annotations"][1], "id": 9}),
        r"image 2\.png has 2 annotations",
    ),
    "a structure twice": (category(structures=["disc", "disc"]), r"has structures \['disc', 'disc'\]"),
    "structures of no name": (
        lambda content: content["annotations"][1].update(structures=[[]]),
        r"2\.png has structures that are not",
    ),
    "a line for a polygon": (structures([[[1, 2, 3, 4]]]), r"2\.png has a 'disc' that is not polygons"),
    "two spacings": (without("images", 1, "spacing"), r"image 1\.png has a spacing and image 2\.png has none"),
    "centimetres": (
        image(spacing=[0.04, 0.04]),
        r"image 2\.png has a spacing of 0.04 and image 1\.png one of 0.5; are these two",
    ),
    "a spacing of 0": (image(spacing=[0.5, 0]), r"image 2\.png has spacing \[0.5, 0\]"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_file_and_image(name, tmp_path):
    change, words = MISTAKES[name]
    made = LandmarkSet(tmp_path / "set")
    made.change(change)
    with pytest.raises(ValueError, match=words) as caught:
        data_set(made).read()
    assert str(made.folder / "train.json") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        values((3, 80), (4, 60)),  # on the border
        values((3, -500), (4, 900), (5, 0)),  # not labelled: wherever it lies
        values((2, 0), (5, 0), (8, 0)),  # one point, whose box has no area
        image(spacing=[0.7, 0.7]),  # another pixel size
        lambda content: [one.pop("spacing") for one in content["images"]],
        structures([[[1, 2, 3, 4, 5, 6], [-9, 0, 900, 3, 4, 5]]]),
        structures([[]]),
    ],
)
def test_what_is_no_mistake(change, tmp_path):
    made = LandmarkSet(tmp_path / "set")
    made.change(change)
    content = made.contents["train"]
    content["annotations"][1]["bbox"] = [35, 50, 0, 0]
    made.write()
    assert len(data_set(made).read()["images"]) == 4


def test_splits_have_the_same_names_in_the_same_order(tmp_path):
    made = LandmarkSet(tmp_path / "set")
    made.change(category(keypoints=["front", "back", "right horn", "left horn"]), "test")
    with pytest.raises(ValueError, match=r"landmark 3 is 'left horn' here and 'right horn' there") as caught:
        data_set(made).read()
    assert "test.json" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"landmark 3 is 'right horn' here"):
        data_set(made, "test").read()
    made.change(category(keypoints=NAMES[:3]), "test")
    with pytest.raises(ValueError, match="4 landmarks here and 3 there"):
        data_set(made).read()


def test_a_patient_on_both_sides_is_refused(tmp_path):
    made = LandmarkSet(tmp_path / "set")
    made.change(lambda content: content["images"][0].update(patient_id="p1"), "test")
    with pytest.raises(ValueError, match=r"1 patients are also in test\.json \(p1\)"):
        data_set(made).read()


def test_declared_landmarks_must_be_there(tmp_path):
    made = LandmarkSet(tmp_path / "set")
    declared = LandmarkNames("beetle", ("front", "back", "horn", "right horn"))
    with pytest.raises(ValueError, match="landmark 3 is 'left horn' here and 'horn' there"):
        data_set(made, landmarks=declared).read()
    boxes = write_coco(tmp_path, "boxes")
    of = DataSet(json_file=boxes, images=boxes.parent / "slices", patient_key="case", landmarks=declared)
    with pytest.raises(ValueError, match="categories; a landmark set has one"):
        of.read()


def test_boxes_with_coco_s_key_points_stay_boxes(tmp_path):
    """Of COCO's persons: 'keypoints' in the category and the annotation, which nothing here reads."""
    path = write_coco(tmp_path, "persons", categories={1: "person"})
    of = DataSet(json_file=path, images=path.parent / "slices", patient_key="case")
    assert of.landmark_names() is None and of.read()["annotations"]

"""datasets/prepare_images.py --landmarks: points of every labelling tool become the same landmark set."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from meddet_d2.cli import prepare_images
from meddet_d2.data.registration import load_data_set
from meddet_d2.layout.data_set import DataSet

NAMES = ["C2/3", "C3/4", "front corner"]
WIDTH, HEIGHT = 60, 80
# By image: x, y, v of the landmarks that are marked.
POINTS = {
    "a": {"C2/3": (10.25, 20.5, 2), "C3/4": (12.75, 40.25, 2), "front corner": (30.5, 60.75, 2)},
    "b": {"front corner": (31.25, 61.5, 2), "C2/3": (11.25, 21.5, 1)},
    "c": {"C3/4": (1.5, 2.25, 2)},
    "d": {"C3/4": (9.5, 8.25, 2), "C2/3": (5.5, 6.5, 2)},
}


def labelme(folder, points):
    for image, marked in points.items():
        shapes = [{"label": name, "points": [[x, y]], "shape_type": "point"} for name, (x, y, _) in marked.items()]
        content = {"shapes": shapes, "imagePath": f"{image}.png", "imageWidth": WIDTH, "imageHeight": HEIGHT}
        (folder / f"{image}.json").write_text(json.dumps(content))
    return "labelme", folder


def cvat(folder, points, skeleton=False):
    root = ElementTree.Element("annotations")
    for image, marked in points.items():
        item = ElementTree.SubElement(
            root, "image", name=f"p/{image}.png", width=str(WIDTH), height=str(HEIGHT), id=image
        )
        parent = ElementTree.SubElement(item, "skeleton", label="spine") if skeleton else item
        for name in NAMES if skeleton else marked:
            x, y, v = marked.get(name, (0, 0, 0))
            flags = {"occluded": str(int(v == 1)), "outside": str(int(v == 0))}
            ElementTree.SubElement(parent, "points", label=name, points=f"{x},{y}", **flags)
    (folder / "annotations.xml").write_bytes(ElementTree.tostring(root))
    return "cvat", folder


def coco(folder, points, whole=False):
    images, annotations = [], []
    for number, (image, marked) in enumerate(points.items(), start=1):
        images.append({"id": number, "file_name": f"{image}.png", "width": WIDTH, "height": HEIGHT})
        values = [value for name in NAMES for value in marked.get(name, (0, 0, 0))]
        values = [int(value) for value in values] if whole else values
        annotations.append({"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "keypoints": values})
    categories = [{"id": 1, "name": "spine", "keypoints": NAMES}]
    (folder / "all.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return "coco", folder


def skeletons(folder, points):
    return cvat(folder, points, skeleton=True)


@pytest.fixture
def prepare(tmp_path):
    """``prepare(writer, points, *options)`` gives the status, the landmarks by image in the order of POINTS."""
    (tmp_path / "images").mkdir()
    for index, name in enumerate(POINTS):
        (tmp_path / "images" / f"patient_{name}").mkdir()
        pixels = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) % (50 + index)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / f"patient_{name}" / f"{name}.png")

    def run(writer, points, *options, names=NAMES, output="set", **keywords):
        folder = tmp_path / writer.__name__
        folder.mkdir(exist_ok=True)
        kind, annotations = writer(folder, points, **keywords)
        arguments = [tmp_path / "images", "--annotations", annotations, "--format", kind, "--patient-folder", 1]
        arguments += ["--output", tmp_path / output, "--landmarks", *names, "--split", 0.5, 0.5, "--force", *options]
        status = prepare_images.main(list(map(str, arguments)))
        return status, landmarks_of(tmp_path / output) if status == 0 else None

    return run


def landmarks_of(output):
    """By what tells the images apart: their second row."""
    found = {}
    for split in ("train", "test"):
        content = json.loads((output / f"{split}.json").read_text())
        assert content["categories"] == [{"id": 1, "name": "landmarks", "keypoints": NAMES}]
        names = {image["id"]: image["file_name"] for image in content["images"]}
        for annotation in content["annotations"]:
            pixels = np.asarray(Image.open(output / "images" / names[annotation["image_id"]]))
            found["abcd"[int(pixels.max()) - 49]] = annotation["landmarks"]
    return found


def expected(points, hidden=True):
    def values(mark):
        return [0.0, 0.0, 0] if mark is None else [*mark[:2], mark[2] if hidden else 2]

    return {image: [v for name in NAMES for v in values(marked.get(name))] for image, marked in points.items()}


@pytest.mark.parametrize("writer", [labelme, cvat, skeletons, coco])
def test_all_tools_give_the_same_landmarks(prepare, writer, capsys, tmp_path):
    status, found = prepare(writer, POINTS)
    # LabelMe cannot say that a point is hidden.
    assert status == 0 and found == expected(POINTS, hidden=writer is not labelme)
    told = capsys.readouterr().out
    assert "landmarks: C2/3, C3/4, front corner" in told
    data_set = DataSet(json_file=tmp_path / "set" / "train.json", images=tmp_path / "set" / "images")
    assert len(load_data_set("prepared_points", data_set)) == 2 and data_set.landmark_names().names == tuple(NAMES)


def test_whole_numbers_of_coco_count_pixels(prepare):
    points = {image: {name: (int(x), int(y), v) for name, (x, y, v) in of.items()} for image, of in POINTS.items()}
    _, found = prepare(coco, points, whole=True)
    middles = {image: {name: (x + 0.5, y + 0.5, v) for name, (x, y, v) in of.items()} for image, of in points.items()}
    assert found == expected(middles)


def test_labels_are_renamed_and_others_ignored(prepare):
    points = {image: {("upper disc" if name == "C2/3" else name): mark for name, mark in marked.items()}
              for image, marked in POINTS.items()}  # fmt: skip
    points["a"]["scratch"] = (1.0, 1.0, 2)
    options = "--ignore-label", "scratch"
    status, found = prepare(labelme, points, *options, names=["upper disc=C2/3", *NAMES[1:]])
    assert status == 0 and found == expected(POINTS, hidden=False)


def test_a_point_outside_is_not_labelled(prepare, capsys):
    points = {**POINTS, "a": {**POINTS["a"], "C3/4": (61.0, 5.0, 2)}}
    status, found = prepare(labelme, points)
    assert status == 0 and found["a"][3:6] == [0.0, 0.0, 0]
    assert "outside" in "".join(capsys.readouterr())


def twice(shapes):
    shapes.append(dict(shapes[0]))


def box(shapes):
    shapes[0] |= {"shape_type": "rectangle", "points": [[1, 1], [9, 9]]}


def several(shapes):
    shapes[0]["points"] = [[1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("change", "text"), [(twice, "'C2/3' is marked twice"), (box, "a shape is no point"), (several, "several points")]
)
def test_what_is_no_landmark_leaves_its_image_out(prepare, capsys, change, text):
    def changed(folder, points):
        kind, folder = labelme(folder, points)
        content = json.loads((folder / "a.json").read_text())
        change(content["shapes"])
        (folder / "a.json").write_text(json.dumps(content))
        return kind, folder

    status, found = prepare(changed, POINTS)
    assert status == 0 and sorted(found) == ["b", "c", "d"]
    assert text in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--classes", "x"], "--landmarks and --classes exclude each other"),
        (["--healthy-without-annotation"], "--landmarks and --healthy-without-annotation exclude"),
        (["--format", "yolo"], "yolo has no points"),
        (["--output", "cdh1848"], "cdh1848 is a data set of boxes"),
    ],
)
def test_wrong_options_are_one_line(prepare, capsys, options, text):
    status, _ = prepare(labelme, POINTS, *options)
    told = capsys.readouterr().err.strip()
    assert status == 1 and text in told and "\n" not in told


def test_labels_that_are_no_landmark_are_listed(prepare, capsys):
    """A level in a label is no mere addition here: "front corner C5/6" is another landmark."""
    points = {**POINTS, "a": {**POINTS["a"], "front corner C5/6": (3.0, 3.0, 2)}}
    status, _ = prepare(labelme, points)
    told = capsys.readouterr().err
    assert status == 1 and "'front corner C5/6' (1)" in told and "--landmarks" in told

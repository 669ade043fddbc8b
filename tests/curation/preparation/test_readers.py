"""The readers of annotations: random boxes come back from every format, and what cannot be used says why."""

import json
from pathlib import PurePosixPath

import pytest
from annotation_files import write_scene
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meddet_d2.curation.preparation.annotation_files import FORMATS, read_annotations
from meddet_d2.curation.preparation.omissions import Findings

NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters='/\\<>:"|?*.'), min_size=1
)
NAMES = NAMES.map(lambda name: name.strip()[:40]).filter(lambda name: name and name != "classes")


@st.composite
def scenes(draw):
    found = []
    for stem in draw(st.lists(NAMES, min_size=1, max_size=3, unique_by=str.casefold)):
        width, height = draw(st.tuples(st.integers(8, 4000), st.integers(8, 4000)))
        boxes = []
        for _ in range(draw(st.integers(0, 4))):
            left = draw(st.integers(0, 100 * width - 1))
            right = draw(st.integers(left + 1, 100 * width))
            top = draw(st.integers(0, 100 * height - 1))
            bottom = draw(st.integers(top + 1, 100 * height))
            label = draw(st.sampled_from(["protrusion", "non-protrusion", "Bandscheibe (gesund)"]))
            level = draw(st.sampled_from([None, "C5/6", "C7/T1", "L5/S1"]))
            boxes.append((label, (left / 100, top / 100, right / 100, bottom / 100), level))
        found.append((f"{stem}.png", (width, height), boxes))
    return found


@pytest.mark.parametrize("kind", list(FORMATS))
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(scene=scenes(), polygons=st.booleans())
def test_random_boxes_come_back(kind, tmp_path_factory, scene, polygons):
    options = {"polygons": polygons} if kind != "voc" else {}
    path = write_scene(tmp_path_factory.mktemp("scene"), kind, scene, **options)
    if kind == "yolo" and not any(boxes for _, _, boxes in scene):
        (path / "classes.txt").write_text("protrusion\n")
    read = {
        annotation.image.removesuffix(".png"): annotation for annotation in read_annotations(path, kind, Findings())
    }
    assert len(read) == len(scene)
    for name, (width, height), boxes in scene:
        annotation = read[name.removesuffix(".png")]
        assert annotation.problem is None
        assert annotation.size == (None if kind == "yolo" else (width, height))
        scale = (width, height) * 2 if annotation.normalized else (1, 1, 1, 1)
        for shape, (label, box, level) in zip(annotation.shapes, boxes, strict=True):
            assert [a * b for a, b in zip(shape.box, scale, strict=True)] == pytest.approx(box, abs=1e-4)
            assert shape.level == level
            assert shape.label in (label, f"{label} {level}")


def one(kind, tmp_path, text, name="a"):
    suffix = FORMATS[kind][0]
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if kind == "yolo":
        (tmp_path / "classes.txt").write_text("protrusion\nnon-protrusion\n")
    (annotation,) = read_annotations(path, kind, Findings())
    return annotation


def labelme(**shape) -> str:
    shape = {"label": "protrusion", "points": [[1, 2], [3, 4]], "shape_type": "rectangle", **shape}
    return json.dumps({"shapes": [shape], "imagePath": "a.png"})


def voc(inside: str, box: str = "<xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>") -> str:
    return f"<annotation><object><name>protrusion</name><bndbox>{box}</bndbox>{inside}</object></annotation>"


def cvat(inside: str) -> str:
    return f'<annotations><image name="a.png" width="9" height="9">{inside}</image></annotations>'


def coco(**annotation) -> str:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], **annotation}
    images, categories = [{"id": 1, "file_name": "a.png"}], [{"id": 1, "name": "protrusion"}]
    return json.dumps({"images": images, "annotations": [annotation], "categories": categories})


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("labelme", labelme(shape_type="rotation", points=[[1, 1], [2, 2], [3, 3], [4, 4]]), "is a 'rotation'"),
        ("labelme", labelme(shape_type="point", points=[[1, 1]]), "is a 'point'"),
        ("labelme", labelme(points=[[1, "x"], [2, 3]]), "not a finite number"),
        ("labelme", labelme(points=[[1, float("nan")], [2, 3]]), "not a finite number"),
        ("labelme", labelme(points=[[1, True], [2, 3]]), "not a finite number"),
        ("labelme", labelme(points=[[1, 2]]), "fewer than two points"),
        ("labelme", labelme(points=None), "fewer than two points"),
        ("labelme", labelme(label=None), "no label"),
        ("labelme", labelme(shape_type="circle", points=[[1, 2], [3, 4], [5, 6]]), "circle"),
        ("labelme", json.dumps({"shapes": [7]}), "not an object"),
        ("labelme", json.dumps({"images": []}), "not LabelMe's"),
        ("labelme", "[]", "not an object"),
        ("labelme", "{", "is no json"),
        ("labelme", "[" * 100000, "is no json"),
        ("labelme", '{"shapes": "Müller"}'.encode("latin-1"), "not UTF-8"),
        ("voc", voc("<robndbox/>"), "rotated"),
        ("voc", voc("", "<xmin>1</xmin><ymin>2</ymin><xmax>3</xmax>"), "not a finite number"),
        ("voc", "<annotation><object><name>protrusion</name></object></annotation>", "no <bndbox>"),
        ("voc", voc("<attributes><attribute><name>rotation</name><value>30</value></attribute></attributes>"),
         "rotated"),
        ("voc", "<kml/>", "neither Pascal VOC's nor CVAT's"),
        ("voc", "<annotation>", "is no xml"),
        ("voc", "", "is no xml"),
        ("voc", '<?xml version="1.0" encoding="nowhere"?><annotation/>', "is no xml"),
        ("voc", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "DOCTYPE"),
        ("cvat", cvat('<box label="protrusion" xtl="1" ytl="1" xbr="3" ybr="3" rotation="12.5"/>'), "rotated"),
        ("cvat", cvat('<ellipse label="protrusion" cx="1" cy="1" rx="3" ry="3"/>'), "is a <ellipse>"),
        ("cvat", cvat('<polygon label="protrusion" points="1,2;3"/>'), "a point that is not"),
        ("cvat", '<annotations><track id="0"/></annotations>', "CVAT for video"),
        ("yolo", "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2\n", "rotated box (OBB)"),
        ("yolo", "0 0.5 0.5 0.1 0.1 0.98\n", "a line has 6 numbers"),
        ("yolo", "2 0.5 0.5 0.1 0.1\n", "class '2' is none of the 2"),
        ("yolo", "-1 0.5 0.5 0.1 0.1\n", "class '-1' is none"),
        ("yolo", "0 50 60 10 10\n", "no fraction of the image"),
        ("yolo", "0 0.5 nan 0.1 0.1\n", "not a finite number"),
        ("coco", coco(bbox=[1, 2, 3, 4, 30]), "rotated"),
        ("coco", coco(attributes={"rotation": 30.0}), "rotated"),
        ("coco", coco(iscrowd=1), "crowd"),
        ("coco", coco(bbox=None, segmentation={"counts": "abc", "size": [9, 9]}), "neither bbox nor polygons"),
        ("coco", coco(category_id=7), "category 7 is none"),
        ("coco", json.dumps({"images": [], "annotations": []}), "no list 'categories'"),
        ("coco", json.dumps({"images": [{"id": 1}, {"id": 1}], "annotations": [], "categories": []}), "twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(tmp_path, kind, text, words):
    annotation = one(kind, tmp_path, text)
    assert words in annotation.problem and "\n" not in annotation.problem
    assert annotation.image in ("a", "a.png") and annotation.shapes == ()


def test_an_entity_bomb_is_refused_before_it_grows(tmp_path):
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 30))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "ha">{entities}]><annotation><filename>&e29;</filename></annotation>'
    assert "DOCTYPE" in one("voc", tmp_path, bomb).problem
    outside = (
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><annotation><filename>&x;</filename></annotation>'
    )
    assert "DOCTYPE" in one("voc", tmp_path, outside, "b").problem


def test_a_circle_is_the_box_around_it_and_a_mask_its_corners(tmp_path):
    circle = one("labelme", tmp_path, labelme(shape_type="circle", points=[[10, 20], [13, 24]]))
    assert circle.shapes[0].box == (5, 15, 15, 25)
    mask = one("labelme", tmp_path, labelme(shape_type="mask", points=[[1, 2], [3, 4]]), "b")
    assert mask.shapes[0].box == (1, 2, 3, 4)


def test_an_annotation_of_an_image_that_is_not_listed_is_kept_as_a_problem(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(coco(image_id=9))
    annotations = read_annotations(path, "coco", Findings())
    assert [annotation.problem for annotation in annotations] == [None, "no image has this id"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("data.yaml", "names: [protrusion, non-protrusion]\nnc: 2\n", ["protrusion", "non-protrusion"]),
        ("data.yaml", "names:\n  1: non-protrusion\n  0: protrusion\n", ["protrusion", "non-protrusion"]),
        ("obj.names", "protrusion\r\nnon-protrusion\r\n\r\n", ["protrusion", "non-protrusion"]),
    ],
)
def test_the_names_of_yolos_classes_are_found(tmp_path, name, text, expected):
    labels = tmp_path / "labels" if name == "data.yaml" else tmp_path
    labels.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    (labels / "train.txt").write_text("images/a.png\n")
    (labels / "a.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    (annotation,) = read_annotations(labels, "yolo", Findings())
    assert (annotation.image, annotation.shapes[0].label) == ("a", expected[1])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (None, "", "need the names of their classes"),
        ("data.yaml", "names: 7\n", "no list or table 'names'"),
        ("data.yaml", "names: [a\n", "is not valid yaml"),
        ("classes.txt", "\n", "no names of classes"),
    ],
)
def test_yolos_names_are_needed(tmp_path, name, text, words):
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    if name:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        read_annotations(tmp_path, "yolo", Findings())
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_folders_are_walked_and_hidden_files_are_not(tmp_path):
    for place in ("b", "a/c", ".git", "a/.hidden"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "x.json").write_text(labelme())
    folders = [annotation.folder for annotation in read_annotations(tmp_path, "labelme", Findings())]
    assert folders == [PurePosixPath("a/c"), PurePosixPath("b")]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_annotations(tmp_path / "nowhere", "labelme", Findings())
    with pytest.raises(ValueError, match=r"no \.xml file in it, but --format is voc"):
        read_annotations(tmp_path, "voc", Findings())

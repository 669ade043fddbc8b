"""The readers of annotations: random boxes come back from every format, and what cannot be used says why."""

import json
from pathlib import PurePosixPath

import numpy as np
import pytest
from annotation_files import write_scene
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as masks

from meddet_d2.curation.preparation.annotation_files import FORMATS, read_annotations
from meddet_d2.curation.preparation.coco_masks import mask_box
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
        ("labelme", labelme(shape_type="rotation", points=[[1, 1], [2, 2], [3, 3], [4, 4]]), "rotated (OBB)"),
        ("labelme", labelme(shape_type="point", points=[[1, 1]]), "is a 'point'"),
        ("labelme", labelme(points=[[1, "x"], [2, 3]]), "not a finite number"),
        ("labelme", labelme(points=[[1, float("nan")], [2, 3]]), "not a finite number"),
        ("labelme", labelme(points=[[1, True], [2, 3]]), "not a finite number"),
        ("labelme", labelme(points=[[1, 2]]), "fewer than two points"),
        ("labelme", labelme(points=[[1, 2], [1, 9]]), "has no area"),
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
        ("voc", voc("", "<xmin>9</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>"), "has no area"),
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
        ("cvat", cvat('<hexagon label="protrusion"/>'), "is a <hexagon>"),
        ("cvat", '<annotations><track id="0"/></annotations>', "CVAT for video"),
        ("yolo", "0 0.1 0.1 0.2 0.15 0.15 0.25 0.05 0.2\n", "rotated (OBB)"),
        ("yolo", "0 0.5 0.5 -0.1 0.1\n", "has no area"),
        ("yolo", "0.5 0.5 0.5 0.1 0.1\n", "class '0.5' is none"),
        ("yolo", "protrusion 0.5 0.5 0.1 0.1\n", "no line begins with the number"),
        ("yolo", "0 0.5 0.5 0.1 0.1 0.98\n", "a line has 6 numbers"),
        ("yolo", "2 0.5 0.5 0.1 0.1\n", "class '2' is none of the 2"),
        ("yolo", "-1 0.5 0.5 0.1 0.1\n", "class '-1' is none"),
        ("yolo", "0 50 60 10 10\n", "no fraction of the image"),
        ("yolo", "0 0.5 nan 0.1 0.1\n", "not a finite number"),
        ("coco", coco(bbox=[1, 2, 3, 4, 30]), "rotated"),
        ("coco", coco(attributes={"rotation": 30.0}), "rotated"),
        ("coco", coco(iscrowd=1), "crowd"),
        ("coco", coco(iscrowd=1, segmentation=[[1, 1, 5, 1, 5, 5]]), "crowd"),
        ("coco", coco(bbox=None), "neither a bbox with an area nor polygons nor a mask"),
        ("coco", coco(bbox=[1, 2, 0, 4]), "neither a bbox with an area"),
        ("coco", coco(bbox=[1, 2, -3, -4]), "neither a bbox with an area"),
        ("coco", coco(bbox=[1, float("nan"), 3, 4]), "not a finite number"),
        ("coco", coco(bbox=None, segmentation=[[1, 1, 5, 1, 5]]), "no list of x, y"),
        ("coco", coco(bbox=None, keypoints=[1, 2, 2]), "neither a bbox with an area"),
        ("coco", coco(category_id=7), "no category 7, which is the category_id of annotation 1"),
        ("coco", coco(category_id=None), "no category None"),
        ("coco", coco(image_id=9), "no image 9, which is the image_id of annotation 1"),
        ("coco", coco(image_id=1.5), "no image 1.5"),
        ("coco", coco(image_id=True), "no image True"),
        ("coco", json.dumps({"images": [{"id": "7"}, {"id": "007"}], "annotations": [], "categories": []}), "7 twice"),
        ("coco", json.dumps({"images": [{}], "annotations": [], "categories": []}), "image ids that are none"),
        ("coco", '{"images": [], "annotations": [1], "annotations": [], "categories": []}', "stands twice"),
        ("coco", json.dumps({"images": [], "annotations": []}), "no list 'categories'"),
        ("coco", json.dumps({"images": [{"id": 1}, {"id": 1}], "annotations": [], "categories": []}), "twice"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(tmp_path, kind, text, words):
    annotation = one(kind, tmp_path, text)
    (problem,) = filter(None, [annotation.problem, *(shape.problem for shape in annotation.shapes)])
    assert words in problem and "\n" not in problem
    assert annotation.image in ("a", "a.png") and all(shape.box is None for shape in annotation.shapes)


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
    upright = labelme(shape_type="rotation", points=[[1, 2], [9, 2.2], [9, 5], [1, 5]])
    assert one("labelme", tmp_path, upright, "c").shapes[0].box == (1, 2, 9, 5)
    mask = one("labelme", tmp_path, labelme(shape_type="mask", points=[[1, 2], [3, 4]]), "b")
    assert mask.shapes[0].box == (1, 2, 3, 4)


@pytest.mark.parametrize("identity", [12, 12.0, "12", "0012", " 12\u00a0", "12.0"])
def test_an_id_is_the_same_as_number_and_as_text(tmp_path, identity):
    content = json.loads(coco(image_id=identity, category_id=str(identity)))
    content["images"][0]["id"] = content["categories"][0]["id"] = 12
    assert one("coco", tmp_path, json.dumps(content)).shapes[0].box == (1, 2, 4, 6)


def test_an_empty_box_beside_a_polygon_is_the_polygons(tmp_path):
    for name, box in enumerate(([0, 0, 0, 0], [5, 5, -2, -2], [])):
        annotation = one(
            "coco", tmp_path, coco(bbox=box, segmentation=[[2, 3, 8, 4, 6, 9], [1, 5, 2, 6, 1, 7]]), str(name)
        )
        assert annotation.shapes[0].box == (1, 3, 8, 9)


def boxes_of(tmp_path, *annotations, size=(100, 100)) -> str | None:
    """The problem of a json with annotations of one image."""
    content = json.loads(coco())
    content["images"][0].update(width=size[0], height=size[1])
    content["annotations"] = [{**content["annotations"][0], "id": n, **more} for n, more in enumerate(annotations)]
    return one("coco", tmp_path, json.dumps(content)).problem


def test_corners_in_place_of_sizes_are_seen_by_place_area_and_polygon(tmp_path):
    words = "has boxes [left, top, right, bottom]"
    near, far = [5, 6, 20, 30], [40, 50, 70, 80]
    assert words in boxes_of(tmp_path, {"bbox": near}, {"bbox": far})
    assert words in boxes_of(tmp_path, {"bbox": near, "area": 15 * 24})
    assert words in boxes_of(tmp_path, {"bbox": near, "segmentation": [[5, 6, 20, 6, 20, 30, 5, 30]]})
    assert boxes_of(tmp_path, {"bbox": near}) is None
    assert boxes_of(tmp_path, {"bbox": near, "area": 20 * 30}) is None
    assert boxes_of(tmp_path, {"bbox": near, "segmentation": [[5, 6, 25, 6, 25, 36, 5, 36]]}) is None
    # One box leaves its image, and another is no pair of corners.
    assert boxes_of(tmp_path, {"bbox": far}, {"bbox": [50, 50, 20, 10]}) is None


def packed(*places) -> dict:
    """A mask of 20 x 30 with ones at [rows, columns]."""
    mask = np.zeros((20, 30), np.uint8, order="F")
    for rows, columns in places:
        mask[rows, columns] = 1
    encoded = masks.encode(mask)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def test_a_mask_is_the_box_around_it_and_several_parts_are_a_crowd(tmp_path):
    disc, other = (slice(3, 9), slice(5, 17)), (slice(12, 15), slice(2, 4))
    runs = [5 * 20 + 3, *([6, 14] * 12)[:-1], 20 * 30 - (16 * 20 + 9)]
    for name, mask in enumerate((packed(disc), {"size": [20, 30], "counts": runs})):
        for crowd in (0, 1):
            annotation = one("coco", tmp_path, coco(bbox=None, segmentation=mask, iscrowd=crowd), f"{name}{crowd}")
            assert annotation.shapes[0].box == (5, 3, 17, 9)
    both = packed(disc, other)
    assert one("coco", tmp_path, coco(bbox=None, segmentation=both), "both").shapes[0].box == (2, 3, 17, 15)
    crowd = one("coco", tmp_path, coco(segmentation=both, iscrowd=1), "crowd")
    assert "crowd (iscrowd 1) of 2 parts" in crowd.shapes[0].problem


@pytest.mark.parametrize(("size", "words"), [((30, 20), None), ((20, 30), "another size"), ((60, 40), "another size")])
def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path, size, words):
    content = json.loads(coco(bbox=None, segmentation=packed((slice(3, 9), slice(5, 17)))))
    content["images"][0].update(width=size[0], height=size[1])
    (shape,) = one("coco", tmp_path, json.dumps(content)).shapes
    assert shape.box == (5, 3, 17, 9) if words is None else words in shape.problem


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.02, 0.5, 0.98]))
def test_masks_are_unpacked_as_pycocotools_does(seed, share):
    draw = np.random.default_rng(seed)
    mask = np.asfortranarray(draw.random(draw.integers(1, 200, 2)) < share, dtype=np.uint8)
    mask[-1, -1] = 1
    encoded = masks.encode(mask)
    left, top, width, height = masks.toBbox(encoded)
    box = mask_box({"size": encoded["size"], "counts": encoded["counts"].decode()}, single=False)
    assert box == (left, top, left + width, top + height)


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        ([20, 30], "5"), ([20, 30], "P"), ([20, 30], "oooooooooo"), ([20, 30], "Ä"), ([20, 30], ""),
        ([20, 30], "0" * 99),
        ([20, 30], [5, 5]), ([20, 30], [605, -5]), ([20, 30], [600.0]), ([20, 30], [True]), ([20, 30], None),
        ([20, -30], [600]), ([20], [20]), (None, [600]), ([0, 30], []), ([10**6, 10**6], [10**12]), ("ab", [600]),
    ],
)  # fmt: skip
def test_damaged_masks_are_refused(size, counts):
    with pytest.raises(ValueError, match=r"a mask \(RLE\) is damaged"):
        mask_box({"size": size, "counts": counts}, single=False)
    with pytest.raises(ValueError, match=r"a mask \(RLE\) is empty"):
        mask_box({"size": [20, 30], "counts": [600]}, single=False)


POSE = "0 0.6 0.18 0.14 0.09 0.55 0.15 {v}0.65 0.15 {v}0.65 0.21 {v}0.55 0.21 {v}\n"


@pytest.mark.parametrize(
    ("line", "names", "box"),
    [
        (POSE.format(v="2 "), "names: [protrusion]\nkpt_shape: [4, 3]\n", (0.53, 0.135, 0.67, 0.225)),
        (POSE.format(v=""), "names: [protrusion]\nkpt_shape: [4, 2]\n", (0.53, 0.135, 0.67, 0.225)),
        ("0 0.6 0.18 0.14 0.09 0.6 0.18\n", "names: {0: protrusion}\nkpt_shape: [1, 2]\n", (0.53, 0.135, 0.67, 0.225)),
        ("0 0.6 0.18 0.14 0.09\n", "names: {'0': protrusion}\nkpt_shape: [4, 3]\n", (0.53, 0.135, 0.67, 0.225)),
        ("0.0 0.6 0.18 0.14 0.09\n", "names: [protrusion]\n", (0.53, 0.135, 0.67, 0.225)),
        ("0 0.55 0.15 0.65 0.15 0.65 0.21 0.55 0.21\n", "names: [protrusion]\n", (0.55, 0.15, 0.65, 0.21)),
        ("0 0.55 0.15 0.65 0.15 0.66 0.2 0.6 0.21 0.55 0.2\n", "names: [protrusion]\n", (0.55, 0.15, 0.66, 0.21)),
        ("0 0.1 0.1 0.2 0.15 0.15 0.3 0.05 0.2\n", "names: [protrusion]\n", (0.05, 0.1, 0.2, 0.3)),
        ("0 0.1 0.1 0.2 0.15 0.15 0.3 0.05 0.2\n", None, (0.05, 0.1, 0.2, 0.3)),
        (POSE.format(v="2 "), "names: [protrusion]\n", "may be key points (pose) or polygons"),
        (POSE.format(v="2 "), None, "may be key points (pose) or polygons"),
        (POSE.format(v=""), None, "may be key points (pose) or polygons"),
        ("0 0.6 0.18 0.14 0.09 0.6 0.18\n", None, "may be key points (pose) or polygons"),
        ("0 0.55 0.15 0.65 0.15 0.66 0.2 0.6 0.21 0.55 0.2\n", None, (0.55, 0.15, 0.66, 0.21)),
        ("0 0.6 0.18 0.14 0.09 0.6 0.18\n", "names: [a]\nkpt_shape: [4, 3]\n", "a box and its key points have 17"),
        ("0 0.6 0.18 0.14 0.09 0.6 0.18\n", "names: [a]\nkpt_shape: 4\n", "'kpt_shape' that is not"),
    ],
)  # fmt: skip
def test_yolos_key_points_are_no_polygon(tmp_path, line, names, box):
    (tmp_path / "a.txt").write_text(line)
    (tmp_path / ("data.yaml" if names else "classes.txt")).write_text(names or "protrusion\n")
    try:
        (annotation,) = read_annotations(tmp_path, "yolo", Findings())
        (found,) = [shape.problem or shape.box for shape in annotation.shapes]
    except ValueError as error:
        found = str(error)
    if isinstance(box, str):
        assert box in found
    else:
        assert found == pytest.approx(box)


def test_texts_of_exporters_beside_yolos_labels_are_noted_and_labels_of_their_name_read(tmp_path):
    (tmp_path / "classes.txt").write_text("protrusion\n")
    for name in ("README.roboflow.txt", "readme.txt", "notes.txt", "train.txt"):
        (tmp_path / name).write_text("Exported on a date, 5 images\n")
    for name in ("a.txt", "test.txt"):
        (tmp_path / name).write_text("0 0.5 0.5 0.1 0.1\n")
    findings = Findings()
    assert [annotation.image for annotation in read_annotations(tmp_path, "yolo", findings)] == ["a", "test"]
    assert findings.counts() == {"other_files": 4}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_does_not_count(tmp_path, encoding):
    for kind, text in (("coco", coco()), ("labelme", labelme()), ("yolo", "0 0.5 0.5 0.1 0.1\n")):
        (tmp_path / kind).mkdir()
        assert one(kind, tmp_path / kind, text.encode(encoding)).shapes[0].label == "protrusion"


def test_what_cvat_paints_with_a_brush_is_the_box_around_it(tmp_path):
    mask = '<mask label="protrusion" rle="1, 2" left="4" top="5" width="3" height="2"/><tag label="seen"/>'
    assert [shape.box for shape in one("cvat", tmp_path, cvat(mask)).shapes] == [(4, 5, 7, 7)]


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

"""datasets/prepare_landmarks.py on tiny folders of each public set: points, millimetres, splits, and mistakes."""

import json
import re
import shutil

import numpy as np
import point_files
import pytest
from PIL import Image
from tiny_runs import load_tool

from meddet_d2.curation.landmarks.aasce import NAMES as AASCE_NAMES
from meddet_d2.layout.csxa_names import CSXA_NAMES
from meddet_d2.layout.data_set import DataSet


@pytest.fixture(scope="module")
def prepare():
    return load_tool("prepare_landmarks")


def read(folder, split: str) -> dict[str, tuple[dict, np.ndarray]]:
    """Of a prepared set, by the images' names: the record and the points (K, 3). As a training would read it."""
    content = DataSet(json_file=folder / f"{split}.json", images=folder / "images").read()
    points = {one["image_id"]: np.reshape(one["landmarks"], (-1, 3)) for one in content["annotations"]}
    return {one["file_name"]: (one, points[one["id"]]) for one in content["images"]}


def everything(folder) -> dict[str, tuple[dict, np.ndarray]]:
    return {k: v for split in ("train", "val", "test") if (folder / f"{split}.json").is_file()
            for k, v in read(folder, split).items()}  # fmt: skip


@pytest.mark.parametrize(("wrist", "ends"), [(None, (1, 5)), ("1-5", (1, 5)), ("0-4", (0, 4))])
def test_hands_have_both_conventions_of_millimetres(prepare, tmp_path, wrist, ends):
    points = point_files.hand_atlas(tmp_path / "hands")
    options = [] if wrist is None else ["--wrist", wrist]
    assert prepare.main(["hand", str(tmp_path / "hands"), "--output", str(tmp_path / "out"), *options]) == 0
    found = everything(tmp_path / "out")
    assert set(found) == {f"hand_{identity}.png" for identity in points}
    for identity, expected in points.items():
        image, got = found[f"hand_{identity}.png"]
        # A whole pixel's middle.
        assert np.array_equal(got[:, :2], expected + 0.5) and (got[:, 2] == 2).all()
        width = np.linalg.norm(expected[ends[0]] - expected[ends[1]])
        assert image["spacing"] == [pytest.approx(50 / width, abs=1e-6)] * 2
        assert image["patient_id"] == f"hand_{identity}" and (image["width"], image["height"]) == (200, 300)
    assert len(read(tmp_path / "out", "train")) == 3 and len(read(tmp_path / "out", "test")) == 1
    content = json.loads((tmp_path / "out" / "train.json").read_text())
    assert len(content["categories"][0]["keypoints"]) == 37 and content["categories"][0]["flip_pairs"] == []
    account = json.loads((tmp_path / "out" / "preparation.json").read_text())
    assert account["splits"]["test"] == {"patients": 1, "images": 1, "landmarks": 37}


def test_a_list_of_ids_is_the_test_split(prepare, tmp_path):
    point_files.hand_atlas(tmp_path / "hands")
    (tmp_path / "test.txt").write_text("3143\n3145\n")
    arguments = ["hand", str(tmp_path / "hands"), "--output", str(tmp_path / "out")]
    assert prepare.main([*arguments, "--test-list", str(tmp_path / "test.txt")]) == 0
    assert set(read(tmp_path / "out", "test")) == {"hand_3143.png", "hand_3145.png"}
    assert (
        prepare.main([*arguments, "--force", "--test-list", str(tmp_path / "test.txt"), "--split", "0.5", "0.5"]) == 1
    )


@pytest.mark.parametrize("form", ["texts", "csv"])
@pytest.mark.parametrize("doctor", ["junior", "senior", None])
def test_cephalograms_of_each_doctor_and_of_both(prepare, tmp_path, form, doctor):
    points = point_files.cephalograms(tmp_path / "ceph", form)
    options = [] if doctor is None else ["--doctor", doctor]
    assert prepare.main(["cephalograms", str(tmp_path / "ceph"), "--output", str(tmp_path / "out"), *options]) == 0
    assert set(read(tmp_path / "out", "train")) == {"ceph_001.png", "ceph_002.png"}
    assert set(read(tmp_path / "out", "test")) == {"ceph_003.png", "ceph_004.png"}
    for name, (image, got) in everything(tmp_path / "out").items():
        one = [of[name[5:8]] for of in points.values()]
        expected = points[doctor][name[5:8]] if doctor else (one[0] + one[1]) / 2
        assert np.abs(got[:, :2] - (expected + 0.5)).max() < 1e-3 and image["spacing"] == [0.1, 0.1]


def test_aasce_is_in_fractions_and_without_dates_and_spacing(prepare, tmp_path):
    points = point_files.aasce(tmp_path / "aasce")
    assert prepare.main(["aasce", str(tmp_path / "aasce"), "--output", str(tmp_path / "out")]) == 0
    train, test = read(tmp_path / "out", "train"), read(tmp_path / "out", "test")
    assert set(train) == {f"aasce_training_000{number}.png" for number in (1, 2, 3)}
    assert set(test) == {"aasce_test_0001.png"}
    for number, (key, expected) in enumerate(points.items()):
        image, got = (train | test)[f"aasce_{key.partition('/')[0]}_000{1 + number % 3}.png"]
        assert np.abs(got[:, :2] - expected * (200, 300)).max() < 1e-3 and "spacing" not in image
    content = json.loads((tmp_path / "out" / "train.json").read_text())
    (category,) = content["categories"]
    assert category["keypoints"] == list(AASCE_NAMES) and category["keypoints"][4] == "T2 top left"
    assert ["L5 bottom left", "L5 bottom right"] in category["flip_pairs"] and len(category["flip_pairs"]) == 34
    assert "2017" not in "".join(path.read_text() for path in (tmp_path / "out").glob("*.json"))


def test_csxa_by_label_with_a_table_of_pixel_sizes(prepare, tmp_path):
    points = point_files.csxa(tmp_path / "csxa", CSXA_NAMES)
    table = tmp_path / "sizes.csv"
    table.write_text("image,mm\n1001.png,0.15\n1002,0.125\nSmith,0.2\n")
    arguments = ["csxa", str(tmp_path / "csxa"), "--output", str(tmp_path / "out"), "--force"]
    assert prepare.main([*arguments, "--pixel-size", str(table)]) == 0
    found = everything(tmp_path / "out")
    assert set(found) == {"csxa_1001.png", "csxa_1002.png", "csxa_image_0003.png"}
    for name, stem, mm in (("csxa_1002.png", "1002", 0.125), ("csxa_image_0003.png", "Smith", 0.2)):
        image, got = found[name]
        # LabelMe's points are continuous already.
        assert got[:, :2].tolist() == [points[stem][label] for label in CSXA_NAMES]
        assert image["spacing"] == [mm, mm]
    assert "Smith" not in "".join(path.read_text() for path in (tmp_path / "out").glob("*.json"))
    assert prepare.main([*arguments, "--pixel-size", "0.3"]) == 0
    assert {tuple(image["spacing"]) for image, _ in everything(tmp_path / "out").values()} == {(0.3, 0.3)}
    assert prepare.main(arguments) == 0
    assert not any("spacing" in image for image, _ in everything(tmp_path / "out").values())


def discs(folder, spacing=True) -> None:
    """Boxes of three levels in two splits; the last image of train lacks one."""
    (folder / "images").mkdir(parents=True)
    for split, patients in (("train", ("a", "b")), ("val", ("c",))):
        images, annotations = [], []
        for number, patient in enumerate(patients, start=1):
            name = f"{patient}.png"
            point_files.picture(folder / "images" / name, number)
            image = {"id": number, "file_name": name, "width": 200, "height": 300, "patient_id": patient}
            images.append({**image, "spacing": [0.6, 0.5]} if spacing else image)
            for place, level in enumerate(("L3/4", "L4/5", "L5/S1")):
                if (patient, level) == ("b", "L3/4"):
                    continue
                box = [20 + 10 * place, 30 + 50 * place, 41, 15]
                annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": 1 + place % 2, "bbox": box}
                annotations.append({**annotation, "area": 615, "iscrowd": 0, "level": level})
        categories = [{"id": 1, "name": "protrusion"}, {"id": 2, "name": "non-protrusion"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(content))


def test_disc_centres_of_boxes_keep_splits_patients_and_spacing(prepare, tmp_path, capsys):
    discs(tmp_path / "spider")
    arguments = ["discs", str(tmp_path / "spider"), "--output", str(tmp_path / "out")]
    assert prepare.main([*arguments, "--levels", "L3/4", "L4-L5", "L5S1"]) == 0
    train, val = read(tmp_path / "out", "train"), read(tmp_path / "out", "val")
    assert train["a.png"][1].tolist() == [[40.5, 37.5, 2], [50.5, 87.5, 2], [60.5, 137.5, 2]]
    assert train["b.png"][1].tolist() == [[0, 0, 0], [50.5, 87.5, 2], [60.5, 137.5, 2]]
    assert val["c.png"][0]["patient_id"] == "c" and val["c.png"][0]["spacing"] == [0.6, 0.5]
    content = json.loads((tmp_path / "out" / "val.json").read_text())
    assert content["categories"][0]["keypoints"] == ["L3/4 disc", "L4/5 disc", "L5/S1 disc"]
    assert "b.png: L3/4 disc" in capsys.readouterr().err
    pixels = [np.asarray(Image.open(folder / "images" / "a.png")) for folder in (tmp_path / "spider", tmp_path / "out")]
    assert np.array_equal(*pixels)


def test_discs_without_levels_are_counted_from_below(prepare, tmp_path):
    discs(tmp_path / "spider")
    for split in ("train", "val"):
        path = tmp_path / "spider" / f"{split}.json"
        rewrite(path, lambda text: text.replace('"level": "L', '"shown": "L'))
    arguments = ["discs", str(tmp_path / "spider"), "--output", str(tmp_path / "out"), "--from-below"]
    assert prepare.main([*arguments, "--levels", "L3/4", "L4/5", "L5/S1"]) == 0
    train = read(tmp_path / "out", "train")
    assert train["a.png"][1].tolist() == [[40.5, 37.5, 2], [50.5, 87.5, 2], [60.5, 137.5, 2]]
    assert train["b.png"][1].tolist() == [[0, 0, 0], [50.5, 87.5, 2], [60.5, 137.5, 2]]
    assert prepare.main([*arguments, "--force", "--levels", "L5/S1"]) == 0
    assert read(tmp_path / "out", "train")["a.png"][1].tolist() == [[60.5, 137.5, 2]]


def rewrite(path, change):
    path.write_text(change(path.read_text()))


def first_row(change):
    """Changes the cells of the second row of a hand csv."""

    def spoil(root):
        rows = (root / "all.csv").read_text().splitlines()
        rows[1] = ",".join(change(rows[1].split(",")))
        (root / "all.csv").write_text("\n".join(rows))

    return spoil


def shapes(change):
    def spoil(root):
        path = root / "json" / "1002.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return spoil


def point(label, x=30, y=30):
    return {"label": label, "points": [[x, y]]}


MISTAKES = {
    "too few columns": ("hand", first_row(lambda c: c[:-1]), "all.csv, row 2: 74 columns; .* need 75"),
    "too many columns": ("hand", first_row(lambda c: [*c, "1"]), "all.csv, row 2: 76 columns"),
    "an id twice": ("hand", first_row(lambda c: ["3142", *c[1:]]), "row 2: the id '3142' is there twice"),
    "no number": ("hand", first_row(lambda c: [*c[:-1], "x"]), "row 2: something that is no finite number"),
    "infinite": ("hand", first_row(lambda c: [*c[:-1], "inf"]), "row 2: something that is no finite number"),
    "no width": ("hand", first_row(lambda c: [*c[:11], *c[3:5], *c[13:]]), "id 3143: landmarks 1 and 5 are one point"),
    "no table": ("hand", lambda root: (root / "all.csv").unlink(), "all.csv: no such file"),
    "an empty table": ("hand", lambda root: (root / "all.csv").write_text("\n"), "all.csv: holds no row"),
    "no image": ("hand", lambda root: [p.unlink() for p in root.glob("*.jpg")], "no image"),
    "others' images": (
        "hand", lambda root: [p.rename(p.with_stem("x" + p.stem)) for p in root.glob("*.jpg")], "none of its 4 ids"
    ),
    "one name twice": (
        "hand", lambda root: shutil.copy(root / "3142.jpg", root / "3142.png"), "two images of one name"
    ),
    "damaged images": ("hand", lambda root: [p.write_bytes(b"x") for p in root.glob("*.jpg")], "no image can be used"),
    "one doctor": (
        "cephalograms", lambda root: (root / "AnnotationsByMD/400_junior/002.txt").unlink(), "no points of 002"
    ),
    "18 lines": (
        "cephalograms",
        lambda root: (root / "AnnotationsByMD/400_senior/002.txt").write_text("1,2\n" * 18),
        "002.txt: its first 19 lines",
    ),
    "no doctor": ("cephalograms", lambda root: shutil.rmtree(root / "AnnotationsByMD"), "neither all_junior.csv nor"),
    "a row less": (
        "aasce",
        lambda root: rewrite(root / "labels/training/landmarks.csv", lambda text: text.partition("\n")[2]),
        "landmarks.csv: 2 rows, but filenames.csv beside it names 3",
    ),
    "a file twice": (
        "aasce",
        lambda root: rewrite(root / "labels/training/filenames.csv", lambda text: 3 * (text.partition("\n")[0] + "\n")),
        "filenames.csv, row 2: .* is there already, in row 1",
    ),
    "137 columns": (
        "aasce",
        lambda root: rewrite(root / "labels/test/landmarks.csv", lambda text: "0.5," + text),
        "landmarks.csv, row 1: 137 columns; .* need 136",
    ),
    "no labels": ("aasce", lambda root: shutil.rmtree(root / "labels"), "no labels/training or labels/test"),
    "a label twice": ("csxa", shapes(lambda c: c["shapes"].append(point("C4 top left"))), "'C4 top left' twice"),
    "a stranger": ("csxa", shapes(lambda c: c["shapes"].append(point("T1"))), "has a point 'T1', which is none"),
    "another image": ("csxa", shapes(lambda c: c.update(imagePath="1001.png")), "1002.json: is of another image"),
    "another size": ("csxa", shapes(lambda c: c.update(imageWidth=100)), "1002.png: 200 x 300 .* of 100 x 300"),
    "no shapes": ("csxa", shapes(lambda c: c.pop("shapes")), "1002.json: has no list 'shapes'"),
    "no levels": (
        "discs", lambda root: rewrite(root / "train.json", lambda text: text.replace('"L5/S1"', '"sacrum"')),
        "a.png: a box without a level",
    ),
}  # fmt: skip
MAKE = {
    "hand": point_files.hand_atlas,
    "cephalograms": point_files.cephalograms,
    "aasce": point_files.aasce,
    "csxa": lambda root: point_files.csxa(root, CSXA_NAMES),
    "discs": discs,
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(prepare, tmp_path, capsys, name):
    source, spoil, words = MISTAKES[name]
    MAKE[source](tmp_path / "in")
    spoil(tmp_path / "in")
    arguments = [source, str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--strict"]
    assert prepare.main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert any(re.search(words, line) for line in lines), lines
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_is_named(prepare, tmp_path, capsys):
    points = point_files.hand_atlas(tmp_path / "hands")
    (tmp_path / "hands" / "3144.jpg").unlink()
    point_files.picture(tmp_path / "hands" / "9999.jpg")
    points["3143"][7] = (500, 20)
    rows = [point_files.row(identity, of) for identity, of in points.items()]
    (tmp_path / "hands" / "all.csv").write_text("\n".join(rows))
    arguments = ["hand", str(tmp_path / "hands"), "--output", str(tmp_path / "out")]
    assert prepare.main(arguments) == 0
    err = capsys.readouterr().err
    assert "1 annotations of images that are not there" in err and "all.csv: 3144" in err
    assert "9999.jpg" in err and "3143.jpg: hand 07 at (500.5, 20.5) of 200 x 300" in err
    assert everything(tmp_path / "out")["hand_3143.png"][1][7].tolist() == [0, 0, 0]
    assert prepare.main([*arguments, "--force", "--strict"]) == 1


def test_a_pixel_size_that_is_missing_or_none(prepare, tmp_path, capsys):
    point_files.csxa(tmp_path / "csxa", CSXA_NAMES)
    table = tmp_path / "sizes.csv"
    arguments = ["csxa", str(tmp_path / "csxa"), "--output", str(tmp_path / "out"), "--pixel-size"]
    for text, words in (
        ("image,mm\n1001,0.15\n1002,0.125\n", "has no pixel size of"),
        ("image,mm\n1001,0\n", "row 2: '0' is no size of a pixel"),
        ("image,mm\n1001,0.1\n1001.png,0.2\n", "row 3: 1001 is there twice"),
        ("image,px\n1001,0.1\n", "no column 'mm'"),
    ):
        table.write_text(text)
        assert prepare.main([*arguments, str(table)]) == 1
        assert words in capsys.readouterr().err
    assert prepare.main([*arguments, "-1"]) != 0


def test_an_option_of_another_set_is_refused(prepare, tmp_path, capsys):
    with pytest.raises(SystemExit):
        prepare.main(["aasce", str(tmp_path), "--doctor", "junior"])
    assert "--doctor is not an option of aasce" in capsys.readouterr().err

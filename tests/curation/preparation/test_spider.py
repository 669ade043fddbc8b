"""datasets/prepare_spider.py on a release of a few voxels: what a box, a class, a level and a split are."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_runs import default_cfg, load_tool

from detectron2.data import DatasetCatalog, MetadataCatalog
from meddet_d2.data import load_cdh_layout, register_datasets

sitk = pytest.importorskip("SimpleITK", reason="the extra 'noise' is not installed")
pytest.importorskip("torchio", reason="the extra 'noise' is not installed")

ROOT = Path(__file__).resolve().parents[3]
HEADER = "Patient,IVD label,Modic,UP endplate,LOW endplate,Spondylolisthesis,Disc herniation,Disc narrowing"
# A volume in the patient's directions: left to right, front to back, above to below. Discs of 6 x 3 pixels.
SHAPE = (9, 40, 60)
DISCS = {201: 48, 202: 38, 203: 28, 204: 18, 205: 8}


@pytest.fixture(scope="module")
def prepare_spider():
    return load_tool("prepare_spider")


def volume(seed: int = 0, *, discs=DISCS, slices=range(2, 7)) -> tuple[np.ndarray, np.ndarray]:
    """Values and labels by (left to right, front to back, above to below); discs lie 10 to 16 pixels from the front."""
    values = np.random.default_rng(seed).integers(0, 300, SHAPE).astype(np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    for label, top in discs.items():
        labels[slices.start : slices.stop, 10:16, top : top + 3] = label
    labels[4, 20:24, :] = 100
    return values, labels


def write(path: Path, array: np.ndarray, orientation: str = "LPS") -> None:
    """Write as .mha in any storage order. DICOM's L, P, I are the directions in which our axes grow, reversed for L."""
    # SimpleITK's arrays are (z, y, x) for x to the left, y to the back, z to above.
    image = sitk.GetImageFromArray(np.ascontiguousarray(array[::-1, :, ::-1].transpose(2, 1, 0)))
    image.SetSpacing((4.0, 0.5, 0.6))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(path))


def release(root: Path, patients: dict[int, dict[int, int]], *, sequences=("t2",)) -> Path:
    """Patients with a herniation grade for each disc."""
    rows = []
    for patient, grades in patients.items():
        for number, sequence in enumerate(sequences):
            values, labels = volume(1000 * number + patient)
            write(root / "images" / f"{patient}_{sequence}.mha", values)
            write(root / "masks" / f"{patient}_{sequence}.mha", labels)
        rows += [f"{patient},{disc},0,0,0,0,{grade},0" for disc, grade in grades.items()]
    (root / "radiological_gradings.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    overview = [f"{p}_{s},{'validation' if p % 4 == 0 else 'training'}" for p in patients for s in sequences]
    (root / "overview.csv").write_text("\n".join(["new_file_name,subset", *overview]) + "\n")
    return root


GRADES = {1: 1, 2: 0, 3: 0, 4: 0, 5: 0}
PATIENTS = {patient: {**GRADES, 1: patient % 2} for patient in range(1, 9)}


def told(capsys) -> str:
    return capsys.readouterr().err


def test_boxes_classes_levels_and_pixels_are_those_of_the_middle_slice(prepare_spider, tmp_path, capsys):
    source = release(tmp_path / "a release", PATIENTS)
    output = tmp_path / "out" / "spider_lumbar"
    assert prepare_spider.main([str(source), "--output", str(output)]) == 0
    said = capsys.readouterr()
    assert f"meddet check-data {output}" in said.out
    assert f"DETECTRON2_DATASETS={output.parent} meddet train" in said.out
    assert """DATASETS.TRAIN "('spider_lumbar_train',)" DATASETS.TEST "('spider_lumbar_val',)\"""" in said.out
    contents = {split: json.loads((output / f"{split}.json").read_text()) for split in ("train", "val")}
    assert {split: len(content["images"]) for split, content in contents.items()} == {"train": 6, "val": 2}
    for content in contents.values():
        for image in content["images"]:
            found = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            assert [a["bbox"] for a in found] == [[10, top, 6, 3] for top in DISCS.values()]
            assert [a["level"] for a in found] == ["L5/S1", "L4/5", "L3/4", "L2/3", "L1/2"]
            herniated = int(image["patient_id"].removeprefix("spider_")) % 2 == 1
            assert [a["category_id"] for a in found] == [1 if herniated else 2, 2, 2, 2, 2]
            assert image["spacing"] == [0.6, 0.5] and (image["width"], image["height"]) == (40, 60)
    # Upright, the front on the left, and the middle one of the slices 2 to 6.
    with Image.open(output / "images" / "spider_003_t2.png") as image:
        assert (image.mode, image.info) == ("L", {})
        pixels = np.asarray(image)
    plane = volume(3)[0][4].T.astype(float)
    low, high = np.percentile(np.maximum(plane, np.unique(plane)[1]), (0.5, 99.5))
    assert np.abs(pixels - np.clip((plane - low) / (high - low), 0, 1) * 255).max() <= 0.5
    for split in contents:
        assert len(load_cdh_layout(output / f"{split}.json", output / "images", f"spider_test_{split}"))
    account = json.loads((output / "preparation.json").read_text())
    assert account["splits"]["val"]["patients"] == 2 and account["settings"]["split_by"]["seed"] == 1848
    assert str(tmp_path) not in "".join(path.read_text() for path in output.glob("*.json"))


@pytest.mark.parametrize("orientation", ["PIR", "RAS", "LPS"])
def test_storage_order_does_not_matter(prepare_spider, tmp_path, orientation):
    source = release(tmp_path / "release", {1: GRADES, 2: GRADES})
    values, labels = volume(1)
    write(source / "images" / "1_t2.mha", values, orientation)
    write(source / "masks" / "1_t2.mha", labels, "RIA")
    output = tmp_path / "out"
    assert prepare_spider.main([str(source), "--output", str(output), "--split", "0.5", "0.5"]) == 0
    plain = release(tmp_path / "plain", {1: GRADES, 2: GRADES})
    assert prepare_spider.main([str(plain), "--output", str(tmp_path / "same"), "--split", "0.5", "0.5"]) == 0
    for name in ("train.json", "val.json", "images/spider_001_t2.png"):
        assert (output / name).read_bytes() == (tmp_path / "same" / name).read_bytes()


def test_sequences_central_slices_and_the_official_split(prepare_spider, tmp_path):
    source = release(tmp_path / "release", PATIENTS, sequences=("t1", "t2", "t2_SPACE"))
    output = tmp_path / "out"
    common = [str(source), "--output", str(output), "--official-split"]
    assert prepare_spider.main(common) == 0
    val = json.loads((output / "val.json").read_text())
    assert {image["patient_id"] for image in val["images"]} == {"spider_004", "spider_008"}
    assert len(val["images"]) == 6 and len(json.loads((output / "train.json").read_text())["images"]) == 18
    assert prepare_spider.main([*common, "--sequences", "t2_SPACE", "--slices", "central", "--force"]) == 0
    # 10 mm are two slices of 4 mm: all five that show a disc.
    val = json.loads((output / "val.json").read_text())
    assert len(val["images"]) == 10 and len(list((output / "images").iterdir())) == 40
    names = {f"spider_{patient:03d}_t2_SPACE_{number:03d}.png" for patient in (4, 8) for number in range(3, 8)}
    assert {image["file_name"] for image in val["images"]} == names


def test_what_is_left_out_is_counted_and_named(prepare_spider, tmp_path, capsys):
    source = release(tmp_path / "release", PATIENTS)
    (source / "masks" / "1_t2.mha").unlink()
    (source / "images" / "2_t2.mha").write_bytes((source / "images" / "2_t2.mha").read_bytes()[:400])
    write(source / "masks" / "3_t2.mha", volume()[1][:, :30])
    write(source / "masks" / "4_t2.mha", volume(discs={})[1])
    (source / "images" / "notes.mha").write_bytes(b"")
    table = source / "radiological_gradings.csv"
    rows = [row for row in table.read_text().splitlines() if not row.startswith(("5,", "6,1,"))]
    rows += ["6,1,0,0,0,0,,0", "7,2,0,0,0,0,1,0", "8,0,0,0,0,0,0,0"]
    table.write_text("\n".join(rows))
    output = tmp_path / "out"
    assert prepare_spider.main([str(source), "--output", str(output), "--split", "0.5", "0.5"]) == 0
    said = told(capsys)
    for line in (
        "1 volumes left out, because they have no mask:",
        "3 volumes left out, because they or their mask cannot be used:",
        "2_t2.mha: cannot be read as a volume",
        "3_t2.mha: (9, 40, 60) voxels, but its mask has (9, 30, 60)",
        "4_t2.mha: no disc in it",
        "1 patients left out, because the gradings do not name them:",
        "5_t2.mha: patient 5",
        "2 rows of the gradings that cannot be used:",
        "row 36: no whole numbers",
        "patient 7 has two grades of a disc",
        "6_t2.mha, slice 5: disc 201",
        "7_t2.mha, slice 5: disc 202",
        "patient 8 (8_t2.mha): a disc 0",
        "notes.mha",
    ):
        assert line in said, line
    account = json.loads((output / "preparation.json").read_text())
    assert account["findings"]["unusable_volumes"] == 3 and account["findings"]["uncertain_levels"] == 1
    contents = [json.loads((output / f"{split}.json").read_text()) for split in ("train", "val")]
    images = {(n, i["id"]): i["patient_id"] for n, content in enumerate(contents) for i in content["images"]}
    assert sorted(images.values()) == ["spider_006", "spider_007", "spider_008"]
    boxes = [(images[n, a["image_id"]], a.get("level")) for n, c in enumerate(contents) for a in c["annotations"]]
    assert [patient for patient, level in boxes if level is None] == ["spider_008"] * 5
    assert sorted(boxes).count(("spider_006", "L5/S1")) == 0 and ("spider_007", "L4/5") not in boxes
    assert prepare_spider.main([str(source), "--output", str(tmp_path / "strict"), "--strict"]) == 1
    assert "--strict: nothing was written" in told(capsys) and not (tmp_path / "strict").exists()


def test_discs_that_the_slice_or_the_border_cuts_have_no_box(prepare_spider, tmp_path, capsys):
    source = release(tmp_path / "release", {1: GRADES, 2: GRADES})
    _, labels = volume(1)
    labels[4, 10:14, 48:51] = 0  # a third of disc 201 is left on the middle slice
    labels[:, :, 8:11] = 0
    labels[2:7, 10:16, 0:1] = 205  # one row of disc 205 at the upper border
    write(source / "masks" / "1_t2.mha", labels)
    output = tmp_path / "out"
    assert prepare_spider.main([str(source), "--output", str(output), "--split", "0.5", "0.5"]) == 0
    said = told(capsys)
    assert "2 discs left out, because the slice or the border shows too little" in said
    assert "1_t2.mha, slice 5: disc 201" in said and "1_t2.mha, slice 5: disc 205" in said


def test_padding_does_not_darken_the_picture(prepare_spider, tmp_path):
    source = release(tmp_path / "release", {1: GRADES, 2: GRADES})
    values, _ = volume(1)
    values[:, :, :20] = -1000
    write(source / "images" / "1_t2.mha", values)
    output = tmp_path / "out"
    assert prepare_spider.main([str(source), "--output", str(output), "--split", "0.5", "0.5"]) == 0
    pixels = np.asarray(Image.open(output / "images" / "spider_001_t2.png"))
    assert pixels[:20].max() == 0 and 100 < pixels[20:].mean() < 150 and pixels[20:].std() > 60


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: (root / "radiological_gradings.csv").unlink(), "radiological_gradings.csv: no such table"),
        (lambda root: (root / "radiological_gradings.csv").write_text("a,b\n"), "no column 'Patient'"),
        (lambda root: [path.unlink() for path in (root / "images").iterdir()], "no volume N_t1 or N_t2"),
        (lambda root: (root / "images").rename(root / "pictures"), "no folder images/"),
        (lambda root: (root / "masks").rename(root / "labels"), "no folder masks/"),
        (lambda root: [path.unlink() for path in (root / "masks").iterdir()], "no image can be used"),
        (lambda root: (root / "overview.csv").write_text("new_file_name,subset\n1_t2,some\n"), "is not SPIDER's"),
    ],
)
def test_mistakes_are_told_in_one_line(prepare_spider, tmp_path, capsys, change, words):
    source = release(tmp_path / "release", {1: GRADES})
    change(source)
    options = ["--official-split"] if "SPIDER's" in words else []
    assert prepare_spider.main([str(source), "--output", str(tmp_path / "out"), *options]) == 1
    (line,) = [line for line in told(capsys).splitlines() if line.startswith("error: ")]
    assert words in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release"], "nothing half-written stays"


def test_the_extra_is_named_where_torchio_is_missing(prepare_spider, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchio", None)
    source = release(tmp_path / "release", {1: GRADES})
    assert prepare_spider.main([str(source), "--output", str(tmp_path / "out")]) == 1
    assert "[noise]" in told(capsys)


def test_all_gradings_are_kept_and_make_the_data_sets_of_the_same_files(prepare_spider, tmp_path, capsys, monkeypatch):
    source = release(tmp_path / "release", PATIENTS)
    table = source / "radiological_gradings.csv"
    head, *rows = table.read_text().splitlines()
    rows = [f"{row},{number % 2},{1 + number % 5}" for number, row in enumerate(rows)]
    rows[3] = rows[3].rpartition(",")[0] + ","
    rows.append(rows[10].rpartition(",")[0] + ",5")
    table.write_text("\n".join([f"{head},Disc bulging,Pfirrman grade", *rows]) + "\n")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert prepare_spider.main([str(source), "--split", "0.5", "0.5"]) == 0
    said = told(capsys)
    assert "2 gradings left out, because they are blank, no whole number or two of one disc" in said
    assert "row 5: '' is no whole number (Pfirrman grade)" in said
    assert "row 42: patient 3 has two grades of a disc (Pfirrman grade)" in said
    contents = [json.loads((tmp_path / "spider_lumbar" / f"{split}.json").read_text()) for split in ("train", "val")]
    originals = {
        (image["patient_id"], annotation["level"]): annotation["original"]
        for content in contents
        for image in content["images"]
        for annotation in content["annotations"]
        if annotation["image_id"] == image["id"]
    }
    zeros = dict.fromkeys(head.split(",")[2:], 0)
    assert originals["spider_001", "L5/S1"] == {**zeros, "Disc herniation": 1, "Disc bulging": 0, "Pfirrman grade": 1}
    assert originals["spider_001", "L2/3"] == {**zeros, "Disc bulging": 1}
    for catalog in (DatasetCatalog, MetadataCatalog):  # what was registered before is put back
        monkeypatch.setattr(catalog, "data", dict(catalog.data))
    cfg = default_cfg()
    register_datasets(cfg)
    graded = [box for split in ("train", "val") for box in boxes_of(f"spider_bulging_{split}")]
    assert len(graded) == 40 and sum(box["category_id"] == 0 for box in graded) == 20
    with pytest.raises(ValueError, match=r"annotations have no original\.Pfirrman grade"):
        boxes_of("spider_pfirrmann_train") + boxes_of("spider_pfirrmann_val")


def boxes_of(name: str) -> list[dict]:
    return [box for record in DatasetCatalog.get(name) for box in record["annotations"]]

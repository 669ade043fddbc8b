"""Names in a stranger's files: none leads a tool to a file elsewhere, and none becomes markup."""

import json
from pathlib import Path

import fuzzing
import numpy as np
import pytest
from clinical_sets import make_case, write_set
from dicom_files import write_dicom
from labelled_study import BOXES, SIZE, Study, write_png
from layouts import Layout
from tiny_runs import load_tool

from meddet_d2.formats.quiet import quiet

SECRET = "secret.png"


def hostile_names(outside: Path) -> list[str]:
    """Names of a picture that lies above a folder of images, as annotations could write them."""
    return [
        f"../{SECRET}",
        f"images/../../{SECRET}",
        f"Patient 0/../../{SECRET}",
        f"..\\{SECRET}",
        str(outside / SECRET),
        f"C:\\{SECRET}",
        f"//{outside}/{SECRET}",
        f"file://{outside / SECRET}",
        f"~/{SECRET}",
        f"{SECRET}\0.png",
        f"\n../{SECRET}",
    ]


def assert_kept_out(names: list[str], root: Path, *, written: Path) -> None:
    """The secret was not opened, and what was written lies in one folder."""
    paths = [Path(name).absolute() for name in names if str(root) in name]
    assert paths, "nothing was seen of what the tool opens"
    assert not [path for path in paths if path.name == SECRET]
    before = {path for path in root.rglob("*") if path.is_file() and written not in path.parents}
    assert {path.name for path in before if "evil" in path.name} == set()


@pytest.fixture
def study(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDDET_SALT", "a salt for tests")
    return Study(tmp_path, load_tool("prepare_images"), capsys)


@pytest.mark.parametrize("kind", ["coco", "cvat", "voc", "labelme"])
def test_prepare_images_stays_in_its_folder(study, kind):
    write_png(study.root / SECRET, 1)
    names = hostile_names(study.root)
    if kind in ("cvat", "voc"):
        names = [name for name in names if "\0" not in name]  # no xml can hold it
    plain = len(study.scene)
    for number in range(len(names)):
        # VOC and LabelMe have a file for each image, which the writer of tests names by the image.
        study.scene.append((f"stranger {number}.png", SIZE, BOXES))
    study.annotate(kind)
    for path in [study.annotations] if study.annotations.is_file() else sorted(study.annotations.iterdir()):
        text = path.read_text(encoding="utf-8")
        for number, name in reversed(list(enumerate(names))):
            told = json.dumps(name)[1:-1] if path.suffix == ".json" else name.replace("\n", "&#10;")
            text = text.replace(f"stranger {number}.png", told)
        path.write_text(text, encoding="utf-8")
    with fuzzing.opened() as opened:
        study.run("--key", study.root / "out" / "key.csv")
    assert_kept_out(opened, study.root, written=study.output)
    assert study.counts()["missing_images"] == len(names) and len(study.images_in()) == plain


def test_yolo_names_and_tables_stay_in_the_folder(study):
    write_png(study.root / SECRET, 1)
    names = hostile_names(study.root)
    study.annotate("yolo")
    for number in range(3):
        (study.annotations / f"..{number}{SECRET}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    listed = ["protrusion C5/6", "non-protrusion C7/T1", *names]
    (study.annotations / "classes.txt").unlink()
    (study.annotations / "data.yaml").write_text(json.dumps({"names": listed, "path": str(study.root), "train": names}))
    rows = [f'"Ä {p} b{n}.png","../../{p}"' for p in range(6) for n in range(2)]
    rows += ['"' + name.replace("\n", " ").replace("\0", "") + '",evil' for name in names]
    (study.root / "table.csv").write_text("\n".join(["image,patient", *rows]), encoding="utf-8")
    with fuzzing.opened() as opened:
        study.run("--patients", study.root / "table.csv", owner=())
    assert_kept_out(opened, study.root, written=study.output)
    assert study.counts()["unknown_images_in_table"] == len(names) and len(study.images_in()) == 12
    assert all(image["patient_id"].startswith("p") and "/" not in image["file_name"] for image in study.images_in())


def test_check_data_stays_in_its_folder(tmp_path, capsys):
    layout = Layout(tmp_path / "set")
    write_png(tmp_path / "set" / SECRET, 1)
    names = hostile_names(tmp_path / "set")

    def change(content):
        for image, name in zip(content["images"], names, strict=False):
            image["file_name"] = name

    layout.change(change)
    layout.contents["test"]["images"][0]["file_name"] = names[-3]
    layout.write()
    with fuzzing.opened() as opened:
        assert load_tool("check_data").main([str(layout.folder), "--output", str(tmp_path / "out")]) == 1
    assert_kept_out(opened, tmp_path, written=tmp_path / "out")


@pytest.mark.parametrize("number", range(len(hostile_names(Path("x")))))
def test_evaluate_stays_in_its_folder(tmp_path, capsys, number):
    cases = [make_case(n, n, [(10, 10, 20, 10, 0)], [(10, 10, 20, 10, 0, 0.9)]) for n in (1, 2)]
    truth, images, detections = write_set(tmp_path / "set", cases)
    write_png(tmp_path / "set" / SECRET, 1)
    name = hostile_names(tmp_path / "set")[number]
    arguments = ["--ground-truth", str(truth), "--images", str(images), "--detections", str(detections)]
    content, found = json.loads(truth.read_text()), json.loads(detections.read_text())
    tool = load_tool("evaluate")
    for place in (content["images"], [dict(image) for image in content["images"]]):
        kept, place[0]["file_name"] = place[0]["file_name"], name
        truth.write_text(json.dumps(content))
        detections.write_text(json.dumps({"images": place, "annotations": found}))
        with fuzzing.opened() as opened:
            assert tool.main([*arguments, "--output", str(tmp_path / "out")]) == 1
        assert_kept_out(opened, tmp_path, written=tmp_path / "out")
        assert not (tmp_path / "out").exists()
        content["images"][0]["file_name"] = kept


def test_predict_names_its_files_itself(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEDDET_SALT", "a salt for tests")
    (tmp_path / "in").mkdir()
    evil = {"PatientID": "../../evil", "PatientName": "/tmp/evil", "SeriesInstanceUID": "../../evil"}
    for number, instance in enumerate(("../../../evil", "/tmp/evil", "..\\evil", "1.2/../evil")):
        pixels = np.full((40, 44), number, np.uint16) + np.arange(44, dtype=np.uint16)
        with quiet():
            write_dicom(tmp_path / "in" / f"{number}.dcm", pixels, SOPInstanceUID=instance, **evil)
    arguments = [str(tmp_path / "in"), "--slices", "all", "--onnx", str(exported[0] / "model.onnx")]
    with fuzzing.opened() as opened:
        assert load_tool("predict").main([*arguments, "--output", str(tmp_path / "out")]) == 0
    assert_kept_out(opened, tmp_path, written=tmp_path / "out")
    assert len(list((tmp_path / "out" / "overlays").iterdir())) == 4
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name]

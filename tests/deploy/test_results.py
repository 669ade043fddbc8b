"""Readings as files: every number where it belongs, nothing overwritten by an accident, no path in any of them."""

import contextlib
import csv
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from meddet_d2.deploy import Finding, Reading, overlay
from meddet_d2.deploy.results import NAMES, Results, save_overlay, staged, without_paths, write_table
from meddet_d2.formats import MRSlice

CLASSES = ("protrusion", "non-protrusion")
UPPER = Finding((10.0, 20.0, 30.5, 28.0), "non-protrusion", 0.81234567, (5.125, 4.0))
LOWER = Finding((12.0, 40.0, 32.0, 50.0), "protrusion", 0.4, (5.0, 5.0))


def reading(*findings, number=1, spacing=(0.5, 0.25), warnings=()) -> Reading:
    pixels = np.zeros((64, 96, 3), np.uint8)
    name = f"i{number:016x}"
    return Reading(MRSlice(pixels, name, "p1", spacing, {"EchoTime": 90}, warnings, Path("x.png")), findings, CLASSES)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def written(tmp_path):
    results = Results(CLASSES)
    results.add(reading(UPPER, LOWER, number=1, warnings=("not sagittal", "odd")))
    results.add(reading(number=2))
    results.add(reading(Finding(LOWER.box, "protrusion", 0.9, None), number=3, spacing=None))
    results.problems.append({"file": "i00ff", "image_id": "", "reason": "is empty"})
    results.write(tmp_path, {"model": {"name": "m"}, "version": "1"})
    return tmp_path


def test_one_line_a_disc(written):
    lines = table(written / "findings.csv")
    assert lines[0] == {
        "image_id": "i0000000000000001", "patient_id": "p1", "disc": "1", "level": "",
        "label": "non-protrusion", "score": "0.8123",
        "x0_px": "10.0", "y0_px": "20.0", "x1_px": "30.5", "y1_px": "28.0",
        "x0_mm": "2.5", "y0_mm": "10.0", "x1_mm": "7.62", "y1_mm": "14.0", "width_mm": "5.12", "height_mm": "4.0",
        "row_spacing_mm": "0.5", "column_spacing_mm": "0.25",
    }  # fmt: skip
    assert [(line["image_id"][-1], line["disc"]) for line in lines] == [("1", "1"), ("1", "2"), ("3", "1")]
    empty = {name for name, value in lines[2].items() if value == ""}
    assert empty == {"level", *(name for name in lines[2] if name.endswith("_mm"))}


def test_one_line_an_image_also_without_a_finding(written):
    lines = table(written / "images.csv")
    assert [line["findings"] for line in lines] == ["2", "0", "1"] == [line["discs"] for line in lines]
    assert lines[0]["findings_protrusion"] == "1" and lines[0]["best_score_protrusion"] == "0.4"
    assert lines[0]["warnings"] == "not sagittal; odd" and lines[0]["width_px"] == "96"
    assert lines[1]["findings_protrusion"] == "0" and lines[1]["best_score_protrusion"] == ""
    assert table(written / "problems.csv") == [{"file": "i00ff", "image_id": "", "reason": "is empty"}]


def test_the_json_is_coco(written):
    content = json.loads((written / "predictions.json").read_text())
    with contextlib.redirect_stdout(None):
        truth = COCO(str(written / "predictions.json"))
        results = truth.loadRes(content["annotations"])
    assert len(results.anns) == 3 and len(truth.imgs) == 3
    first, second, third = content["annotations"]
    assert first["bbox"] == [10.0, 20.0, 20.5, 8.0] and first["area"] == 164.0 and first["score"] == 0.81234567
    assert [first["category_id"], second["category_id"]] == [2, 1] and third["size_mm"] is None
    assert content["categories"] == [{"id": 1, "name": "protrusion"}, {"id": 2, "name": "non-protrusion"}]
    assert content["images"][1] == {
        "id": 2, "file_name": "i0000000000000002", "width": 96, "height": 64, "patient_id": "p1",
        "spacing": [0.5, 0.25], "tags": {"EchoTime": 90}, "warnings": [],
    }  # fmt: skip
    assert content["info"]["problems"] == 1 and "Research only" in content["info"]["intended_use"]


def test_the_picture_has_no_metadata(tmp_path):
    picture = overlay(reading(UPPER))
    picture.info["Author"] = "nobody"
    save_overlay(picture, "i0000000000000001", tmp_path)
    (path,) = (tmp_path / "overlays").iterdir()
    assert path.name == "i0000000000000001.png"
    with Image.open(path) as image:
        assert image.info == {} and image.getexif() == {}
        assert image.size[0] >= 640


def test_no_path_stays_in_a_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = Path("data") / "Müller Hans" / "scan 7.dcm"
    for message in (
        f"{source}: cannot be read",
        f"[Errno 13] Permission denied: '{source.absolute()}'",
        "scan 7.dcm is odd",
        f"the folder {source.parent} and {source.parent.absolute()}",
    ):
        text = without_paths(message, source, "i1")
        assert "Hans" not in text and "scan 7" not in text and str(tmp_path) not in text and "i1" in text
    assert without_paths("a broken image", Path("a"), "i1") == "i1 broken image"
    assert without_paths("a damaged image", Path("image.png"), "i1") == "a damaged image"


def fill(folder: Path, text: str) -> None:
    for name in NAMES:
        if "." in name:
            (folder / name).write_text(text)
        else:
            (folder / name).mkdir()
            (folder / name / "a.png").write_text(text)


def test_results_come_all_at_once_or_not_at_all(tmp_path):
    output = tmp_path / "deep" / "out"
    with pytest.raises(KeyboardInterrupt), staged(output) as folder:
        fill(folder, "half")
        assert not output.exists()
        raise KeyboardInterrupt
    assert list(output.parent.iterdir()) == []
    with staged(output) as folder:
        fill(folder, "one")
    (output / "mine.txt").write_text("mine")
    with pytest.raises(RuntimeError), staged(output) as folder:
        fill(folder, "two")
        raise RuntimeError
    assert (output / "findings.csv").read_text() == "one" == (output / "overlays" / "a.png").read_text()
    with staged(output) as folder:
        (folder / "predictions.json").write_text("three")
    assert sorted(path.name for path in output.iterdir()) == ["mine.txt", "predictions.json"], "nothing old is left"
    assert [path.name for path in output.parent.iterdir()] == ["out"]


def test_the_key_is_its_owners_alone(tmp_path):
    path = tmp_path / "key.csv"
    path.write_text("old")
    path.chmod(0o644)
    source = Path(os.fsdecode(b"M\xfcller.dcm"))
    write_table(path, ("pseudonym", "patient_id", "source"), [{"pseudonym": "i1", "source": source}], mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"i1,,M\xfcller.dcm" in path.read_bytes()

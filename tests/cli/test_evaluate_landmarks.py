"""tools/evaluate.py on landmarks: its files and figures, two runs, nobody's name, and mistakes told in one line."""

import csv
import json
import re

import numpy as np
import pytest
from landmark_truths import NAMES, landmark_json, random_points, results_of, write_landmark_set
from tiny_runs import load_tool

from meddet_d2.evaluation.landmarks import truth_of_json
from meddet_d2.evaluation.landmarks.landmark_metrics import overall_metrics
from meddet_d2.evaluation.landmarks.radial_errors import at_wrong_level, radial_errors

RNG = np.random.default_rng(0)
POINTS = random_points(RNG, images=8)
FOUND = POINTS + RNG.normal(0, 2, POINTS.shape)
FOUND[5, 0] = POINTS[5, 1]
PATIENTS = ["a", "a", "b", "b", "c", "d", "e", "e"]
FILES = {"landmarks.json", "landmarks.csv", "images.csv", "report.html"}
CANARY = "CANARY_PATIENT"


@pytest.fixture(scope="module")
def tool():
    return load_tool("evaluate")


@pytest.fixture
def evaluate(tool, tmp_path):
    """``evaluate(*options, ...)`` runs the tool on the set's files; gives its status and the folder."""

    def run(*options, content=None, found=FOUND, names=None, output="out"):
        content = landmark_json(POINTS, patients=PATIENTS) if content is None else content
        truth, images, results = write_landmark_set(tmp_path / "set", content, found, names=names)
        arguments = ["--ground-truth", truth, "--images", images, "--detections", results, "--bootstrap", 40]
        return tool.main([*map(str, arguments), "--output", str(tmp_path / output), *map(str, options)]), (
            tmp_path / output
        )

    return run


def table(path):
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_files_and_figures(evaluate, capsys):
    visible = np.full((8, 4), 2)
    visible[2, 1] = 0
    content = landmark_json(POINTS, patients=PATIENTS, visible=visible)
    status, folder = evaluate(content=content)
    assert status == 0 and {path.name for path in folder.iterdir()} == FILES
    record = json.loads((folder / "landmarks.json").read_text())
    truth = truth_of_json(content)
    points = truth.points, FOUND, truth.spacing
    expected = overall_metrics(radial_errors(*points), at_wrong_level(*points))
    assert record["overall"] == pytest.approx(expected) and record["unit"] == "mm"
    counts = record["counts"]
    assert (counts["images"], counts["patients"], counts["counted"], counts["left_out"]) == (8, 5, 31, 1)
    interval = record["intervals"]["MRE"]
    assert interval["value"] == pytest.approx(expected["MRE"])
    assert interval["low"] < interval["value"] < interval["high"]
    rows = table(folder / "landmarks.csv")
    assert [row["landmark"] for row in rows] == list(NAMES) and rows[1]["left_out"] == "1"
    assert float(rows[0]["MRE"]) == pytest.approx(record["landmarks"]["C2/3"]["MRE"])
    images = table(folder / "images.csv")
    assert [row["patient"] for row in images] == [f"patient {number}" for number in (1, 1, 2, 2, 3, 4, 5, 5)]
    assert images[2]["C3/4"] == "" and images[5]["wrong_level"] == "1"
    assert float(images[0]["C2/3"]) == pytest.approx(radial_errors(*points)[0, 0])
    told = capsys.readouterr().out
    assert f"{expected['MRE']:.2f}\u00a0mm" in told and "landmarks.csv" in told


def test_two_runs_on_the_same_images(evaluate, tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text(json.dumps(results_of(POINTS + 2 * (FOUND - POINTS))))
    status, folder = evaluate("--compare", other)
    assert status == 0
    record = json.loads((folder / "landmarks.json").read_text())
    difference, mean = record["comparison"]["difference"]["MRE"], record["overall"]["MRE"]
    assert difference["value"] == pytest.approx(-mean) and difference["high"] < 0
    assert record["comparison"]["compared"]["MRE"]["value"] == pytest.approx(2 * mean)
    assert "Two runs on the same images" in (folder / "report.html").read_text()
    assert "difference to the compared run" in capsys.readouterr().out


def test_the_page_says_what_cannot_be_said(evaluate):
    content = landmark_json(POINTS, spacing=None, patients=PATIENTS)
    for image in content["images"]:
        del image["patient_id"]
    found = FOUND.copy()
    found[3, 2] = np.nan
    status, folder = evaluate("--patient-key", "", content=content, found=found)
    page = (folder / "report.html").read_text()
    assert status == 0
    for text in ("in pixels", "does not name its patients", "1 landmark of 32 have no prediction", "not defined"):
        assert text in page, text
    images = table(folder / "images.csv")
    assert images[3]["C4/5"] == images[3]["mean"] == "missing" and images[3]["patient"] == "image 4"
    assert json.loads((folder / "landmarks.json").read_text())["overall"]["MRE"] is None


def test_nobody_is_named_in_any_output(evaluate, capfd):
    names = [f"{CANARY}_{index}.png" for index in range(8)]
    content = landmark_json(POINTS, patients=[f"{CANARY}_{one}" for one in PATIENTS])
    status, folder = evaluate(content=content, names=names)
    assert status == 0
    for path in folder.iterdir():
        assert CANARY.encode() not in path.read_bytes(), path.name
    assert CANARY not in "".join(capfd.readouterr())


def test_the_worst_cases_are_of_different_patients_and_names_are_escaped(evaluate):
    content = landmark_json(POINTS, patients=PATIENTS)
    content["categories"][0]["keypoints"][0] = "<script>alert(1)</script>"
    status, folder = evaluate("--name", "<b>us</b>", content=content)
    page = (folder / "report.html").read_text()
    assert status == 0 and "<script>alert" not in page and "<b>us" not in page
    cases = [int(number) for number in re.findall(r"<strong>Case (\d+)</strong>", page)]
    assert cases[0] == 6 and sorted(PATIENTS[number - 1] for number in cases) == ["a", "b", "c", "d", "e"]


def test_a_seed_is_a_result(evaluate):
    (_, one), (_, two) = evaluate(), evaluate(output="again")
    assert [(one / name).read_bytes() for name in FILES] == [(two / name).read_bytes() for name in FILES]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--iou", "0.7"], "--iou is for boxes"),
        (["--threshold", "0.5"], "--threshold is for boxes"),
        (["--finding", "x"], "--finding is for boxes"),
        (["--seed", "-1"], "neither may be negative"),
        (["--compare", "none.json"], "none.json: no such file"),
    ],
)
def test_wrong_options_are_one_line(evaluate, capsys, options, text):
    status, folder = evaluate(*options)
    told = capsys.readouterr().err.strip()
    assert status == 1 and text in told and "\n" not in told and not folder.exists()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda one: one["images"][1].pop("spacing"), "never mixed"),
        (lambda one: one["annotations"][0]["landmarks"].pop(), "11 numbers in landmarks"),
        (lambda one: one["categories"][0]["keypoints"].__setitem__(0, NAMES[1]), "the name of landmark"),
    ],
)
def test_a_wrong_set_is_one_line_with_its_file(evaluate, capsys, change, text):
    content = landmark_json(POINTS, patients=PATIENTS)
    change(content)
    status, folder = evaluate(content=content)
    told = capsys.readouterr().err.strip()
    assert status == 1 and text in told and "test.json" in told and not folder.exists()

"""One pass over inputs with a detector of the test's own: what is read, noted, refused and said at the end."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from prediction_files import coco, files_of, save, table
from tiny_runs import smooth_noise

from meddet_d2.deploy import Detections, ModelCard
from meddet_d2.deploy.opened_detector import OpenedDetector
from meddet_d2.deploy.prediction_run import PredictionRun, PredictionSettings, counted

CLASSES = ("cyst", "mass")


class Detector:
    """A mass and a weak cyst on every picture but those of ``refused``, for which it gives an error."""

    classes, least_score = CLASSES, 0.2

    def __init__(self, **refused: Exception) -> None:
        self.refused = {int(name.removeprefix("seed_")): error for name, error in refused.items()}

    def __call__(self, image: np.ndarray) -> Detections:
        for seed, error in self.refused.items():
            if np.array_equal(image, smooth_noise(seed=seed)):
                raise error
        boxes = np.array([[10, 20, 40, 50], [60, 20, 80, 40]], np.float32)
        return Detections(boxes, np.array([0.9, 0.4], np.float32), np.array([1, 0]))


@pytest.fixture(autouse=True)
def salt(monkeypatch):
    monkeypatch.setenv("MEDDET_SALT", "salt of the tests")


@pytest.fixture
def start(tmp_path):
    """``start(inputs, **settings)`` is a run whose results go to tmp_path / "out"."""

    def begin(*inputs: Path, detector: Detector | None = None, **settings) -> PredictionRun:
        card = ModelCard("tiny", CLASSES)
        opened = OpenedDetector(detector or Detector(), card, "model.onnx", "digits")
        return PredictionRun(PredictionSettings(inputs, tmp_path / "out", **settings), opened)

    return begin


def finish(run: PredictionRun) -> Path:
    """Read and write everything; the folder."""
    folder = run.settings.output
    folder.mkdir()
    run.read_all(folder)
    run.write(folder)
    return folder


def test_a_network_that_fails_on_one_image_loses_that_one_alone(start, tmp_path, capsys):
    names = [save(tmp_path / "in" / f"Hans {seed}.png", seed) for seed in range(3)]
    errors = {"seed_0": FloatingPointError("NaN\n of it"), "seed_2": ValueError(f"{names[2]} is odd")}
    run = start(tmp_path / "in", detector=Detector(**errors), key=tmp_path / "key.csv")
    folder = finish(run)
    (image,), problems = table(folder / "images.csv"), table(folder / "problems.csv")
    assert (image["findings_cyst"], image["findings_mass"]) == ("1", "1")
    assert [problem["reason"] for problem in problems] == ["NaN of it", f"{problems[1]['file']} is odd"]
    assert len({image["image_id"], *(problem["image_id"] for problem in problems)}) == 3
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("problem: ")]
    assert told == [f"problem: {names[0]}: NaN of it", f"problem: {names[2]}: {names[2]} is odd"]
    assert {path.stem for path in (folder / "overlays").iterdir()} == {image["image_id"]}
    # The key knows all three, and nothing else does.
    assert {line["source"] for line in table(tmp_path / "key.csv")} == {str(name) for name in names}
    for name, data in files_of(folder).items():
        assert b"Hans" not in data and "Hans" not in name


def test_thresholds_of_all_and_of_one_class(start, tmp_path):
    run = start(save(tmp_path / "a.png"), threshold=0.5, class_thresholds={"cyst": 0.4}, overlays=False)
    # 0.4 as single precision is above 0.4.
    folder = finish(run)
    assert [line["label"] for line in table(folder / "findings.csv")] == ["cyst", "mass"]
    info = coco(folder)["info"]
    assert info["thresholds"] == {"cyst": 0.4, "mass": 0.5}
    assert info["model"] == {"name": "tiny", "file": "model.onnx", "sha256": "digits"}
    assert not (folder / "overlays").exists()


def test_a_threshold_that_the_model_does_not_reach(start, tmp_path):
    for settings in ({"threshold": 0.1}, {"class_thresholds": {"mass": 0.1}}):
        with pytest.raises(ValueError, match=r"A threshold is 0\.1, but this model gives no score below 0\.2"):
            start(tmp_path, **settings)
    start(tmp_path, threshold=0.2)


def test_what_is_said_at_the_end(start, tmp_path, capsys):
    run = start(save(tmp_path / "a.png", 0), save(tmp_path / "b.png", 1), detector=Detector(seed_1=ValueError("odd")))
    run.settings.output.mkdir()
    run.read_all(run.settings.output)
    run.remarks.update(["no spacing"])
    capsys.readouterr()
    run.tell()
    said = capsys.readouterr().out
    rows = [line.split() for line in said.splitlines()]
    assert ["cyst", "0.3", "1", "1"] in rows and ["mass", "0.3", "1", "1"] in rows
    assert "1 image read, 0 without a finding; 1 problem, named above and in" in said
    assert "Remark on 1 image: no spacing" in said and "Research use only" in said
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_without_highdicom_one_line_says_what_to_install(start, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "meddet_d2.deploy.dicom_report", raising=False)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ValueError, match=r"pip install -c constraints\.txt -e \"\.\[dicom\]\"") as caught:
        start(tmp_path, dicom="sr")
    assert "\n" not in str(caught.value)
    start(tmp_path, dicom=None)


def test_places_that_would_do_harm(tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    key = tmp_path / "key.csv"
    key.write_text("an older one")

    def check(**settings):
        PredictionSettings(**{"inputs": [folder], "output": output, **settings}).check_places()

    check()
    check(inputs=[folder / "a.png"], output=folder / "out")
    check(key=key, force=True)
    for settings, message in (
        ({"output": folder / "deep" / "out"}, "lies in the input folder"),
        ({"output": tmp_path / "link" / "out"}, "lies in the input folder"),
        ({"inputs": [tmp_path / "link"], "output": folder}, "lies in the input folder"),
        ({"output": key}, "is a file"),
        ({"key": output / ".." / "out" / "key.csv"}, "which is to be passed on"),
        ({"key": key}, "is there already; add --force"),
    ):
        with pytest.raises(ValueError, match=message):
            check(**settings)
    assert key.read_text() == "an older one" and not output.exists()


def test_a_name_that_is_no_text_reaches_the_key(start, tmp_path):
    source = Path(str(save(tmp_path / "a.png")).replace("a.png", "M\udcfcller.png"))
    (tmp_path / "a.png").rename(source)
    finish(start(source, key=tmp_path / "key.csv", overlays=False))
    with open(tmp_path / "key.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        assert [line["source"] for line in csv.DictReader(file)] == [str(source)]

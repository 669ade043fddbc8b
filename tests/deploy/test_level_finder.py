"""Levels of a reading's discs by a landmark network of the test's own, from the reading to every file."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from prediction_files import coco, save, table
from tiny_runs import smooth_noise

from meddet_d2.deploy import Detections, ModelCard, overlay
from meddet_d2.deploy.found import Landmarks
from meddet_d2.deploy.level_finder import LevelFinder, with_levels
from meddet_d2.deploy.opened_detector import OpenedDetector
from meddet_d2.deploy.prediction_run import PredictionRun, PredictionSettings
from meddet_d2.deploy.reading import Finding, Reading
from meddet_d2.deploy.results import MEASURES
from meddet_d2.formats import MRSlice
from meddet_d2.layout.csxa_names import CSXA_NAMES
from meddet_d2.layout.spine_measures import MEASURE_COLUMNS

CLASSES = ("protrusion", "non-protrusion")
LEVELS = ("C4/5", "C5/6", "C6/7")
NAMES = tuple(f"{level} disc" for level in LEVELS)
# Boxes around (30, 20), (30, 50) and (30, 80), and one on the first disc, of the other class.
BOXES = np.array([[20, 15, 40, 25], [20, 45, 40, 55], [20, 75, 40, 85], [21, 15, 40, 25]], np.float32)
POINTS = np.array([[31, 20, 0.9], [31, 50, 0.9], [31, 80, 0.9]], np.float32)


class Network:
    """Gives the same for every image, or raises it."""

    least_score = 0.0

    def __init__(self, classes, found, result="boxes"):
        self.classes, self.found, self.result = tuple(classes), found, result

    def __call__(self, image):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def finder(points=POINTS, names=NAMES, **settings):
    found = points if isinstance(points, Exception) else Landmarks(points)
    network = Network(names, found, "landmarks")
    return LevelFinder(OpenedDetector(network, ModelCard("marks", names), "m.onnx", "ab"), **settings)


def a_reading(boxes=BOXES, spacing=(0.6, 0.6)):
    pixels = np.full((100, 80, 3), 90, np.uint8)
    image = MRSlice(pixels, "i0123456789abcdef", "p0123456789abcdef", spacing, {}, ("old",), "secret.png")
    findings = [Finding(tuple(box), CLASSES[0], 0.9, None) for box in np.asarray(boxes, float).tolist()]
    findings.sort(key=lambda finding: (finding.box[1] + finding.box[3], finding.box[0]))
    return Reading(image, tuple(findings), CLASSES)


@pytest.fixture(autouse=True)
def salt(monkeypatch):
    monkeypatch.setenv("MEDDET_SALT", "salt of the tests")


@pytest.fixture
def finished(tmp_path):
    """``finished(finder)`` is the folder of a run over one picture, and the run."""

    def run(levels):
        boxes = Detections(BOXES, np.array([0.9, 0.8, 0.7, 0.6], np.float32), np.array([0, 1, 0, 1]))
        opened = OpenedDetector(Network(CLASSES, boxes), ModelCard("tiny", CLASSES), "model.onnx", "cd")
        picture = save(tmp_path / "one.png", smooth_noise(seed=1))
        made = PredictionRun(PredictionSettings([picture], tmp_path / "out"), opened, levels)
        made.settings.output.mkdir()
        made.read_all(made.settings.output)
        made.write(made.settings.output)
        return made.settings.output, made

    return run


@pytest.mark.parametrize("spacing", [(0.6, 0.6), None])
def test_each_box_has_the_level_of_its_disc_and_boxes_on_one_disc_have_one(spacing):
    reading, measures = finder().read(a_reading(spacing=spacing))
    assert [finding.level for finding in reading.findings] == ["C4/5", "C4/5", "C5/6", "C6/7"]
    # Disc centres alone give no distances.
    assert reading.remarks == () and measures == []


def test_a_weak_landmark_gives_no_level_and_a_line():
    weak = POINTS.copy()
    weak[1, 2] = 0.19
    reading, _ = finder(weak).read(a_reading())
    assert [finding.level for finding in reading.findings] == ["C4/5", "C4/5", None, "C6/7"]
    assert reading.remarks == ("disc 2 has no level: no disc centre within 8.0 mm",)
    assert finder(weak, least_score=0.1).read(a_reading())[0].findings[2].level == "C5/6"


def test_of_two_discs_at_a_level_the_farther_has_none():
    boxes = np.concatenate([BOXES[:3], [[20, 34, 40, 44]]])
    reading, _ = finder().read(a_reading(boxes, spacing=(0.3, 0.3)))
    assert [finding.level for finding in reading.findings] == ["C4/5", None, "C5/6", "C6/7"]
    assert reading.remarks == ("disc 2 has no level: disc 3 is nearer to C5/6",) or "within" in reading.remarks[0]


def test_a_network_that_refuses_the_image_leaves_the_boxes():
    reading, measures = finder(FloatingPointError("The network predicts NaN.")).read(a_reading())
    assert [finding.level for finding in reading.findings] == [None] * 4 and not measures
    assert reading.remarks == ("no disc has a level: The network predicts NaN.",)


def test_an_image_without_a_finding_is_read():
    reading = with_levels(a_reading(np.zeros((0, 4))), NAMES, POINTS[:, :2])
    assert reading.findings == () and reading.remarks == ()


def test_a_network_that_names_no_disc_and_a_wrong_threshold_are_refused():
    with pytest.raises(ValueError, match=r"m\.onnx knows no disc's centre \(its names are hand 00, hand 01"):
        finder(names=("hand 00", "hand 01"))
    with pytest.raises(ValueError, match="--levels-threshold 2"):
        finder(least_score=2)
    boxes = OpenedDetector(Network(NAMES, None), ModelCard("tiny", NAMES), "model.onnx", "cd")
    with pytest.raises(ValueError, match=r"model\.onnx finds boxes; give a network of landmarks"):
        LevelFinder(boxes)


def test_levels_stand_in_every_file(finished):
    folder, _ = finished(finder())
    assert [line["level"] for line in table(folder / "findings.csv")] == ["C4/5", "C4/5", "C5/6", "C6/7"]
    content = coco(folder)
    assert [one["level"] for one in content["annotations"]] == ["C4/5", "C4/5", "C5/6", "C6/7"]
    assert content["info"]["levels"] == {
        "model": {"name": "marks", "file": "m.onnx", "sha256": "ab"}, "threshold": 0.2, "levels": list(LEVELS),
    }  # fmt: skip


def test_without_a_landmark_network_there_is_neither_a_level_nor_a_measure(finished):
    folder, _ = finished(None)
    assert {line["level"] for line in table(folder / "findings.csv")} == {""}
    assert "levels" not in coco(folder)["info"] and not (folder / MEASURES).exists()


def test_measures_are_a_table_by_patient_image_and_level(finished, capsys):
    points = np.column_stack([np.arange(46).reshape(23, 2) % 7 + np.arange(23)[:, None] * 3.0, np.full(23, 0.9)])
    folder, run = finished(finder(points.astype(np.float32), CSXA_NAMES))
    with (folder / MEASURES).open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == MEASURE_COLUMNS
    assert [line["level"] for line in lines] == ["C2/3", "C3/4", *LEVELS, "C7/T1", "C2-C7"]
    image = run.results.images[0]
    assert {(line["image_id"], line["patient_id"]) for line in lines} == {
        (image["image_id"], image["patient_id"] or "")
    }
    # The picture has no spacing.
    assert all(line["width_above_px"] and not line["width_above_mm"] for line in lines[:5])
    run.tell()
    assert "with a level, by m.onnx" in capsys.readouterr().out


def test_a_level_stands_beside_the_score_on_the_picture():
    plain = a_reading()
    named = replace(plain, findings=tuple(replace(finding, level="C5/6") for finding in plain.findings))
    one, other = (np.asarray(overlay(reading)).astype(int) for reading in (plain, named))
    changed = np.abs(one - other).max(axis=2) > 30
    assert changed.sum() > 300
    # Beside the boxes: 640 pixels for 100 rows, and a box's inside is as before.
    inside = changed[
        26 + int(16.5 * 6.4) : 26 + int(23.5 * 6.4), (640 - 512) // 2 + int(22 * 6.4) : (640 - 512) // 2 + int(38 * 6.4)
    ]
    assert not inside.any()

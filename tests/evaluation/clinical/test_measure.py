"""Patients, confusion, calibration, levels and intervals, by hand, and the edge cases of a whole test set."""

import json
import math

import numpy as np
import pytest
from clinical_sets import SUBJECT, make_case, random_cases
from sklearn.metrics import roc_auc_score

from meddet_d2.evaluation.clinical import Measurement, Settings, Subject, bootstrap, calibration, clinical_page
from meddet_d2.evaluation.clinical.confusion import confusion
from meddet_d2.evaluation.clinical.gallery import choose
from meddet_d2.evaluation.clinical.level_counts import UNKNOWN, UNNAMED, level_name
from meddet_d2.evaluation.clinical.matching import match
from meddet_d2.evaluation.clinical.patient_readings import limit_where_all_alike, readings_of
from meddet_d2.files import write_json

A, B, C = (10, 10, 20, 10), (50, 10, 20, 10), (10, 50, 20, 10)
FEW = Settings(resamples=50)

# Two ill patients of two images, one of them found; two healthy ones of one image, one of them flagged.
CASES = [
    make_case(1, 1, [(*A, 0), (*B, 1)], [(*A, 0, 0.9), (*B, 1, 0.8)], levels=["C5-C6", "C7/Th1"]),
    make_case(2, 1, [(*A, 1)], [(*A, 1, 0.7)], levels=["C5/6"]),
    make_case(3, 2, [(*A, 0)], [(*A, 1, 0.6), (*A, 0, 0.2)], levels=["c5/6"]),
    make_case(4, 2),
    make_case(5, 3, [(*A, 1)], [(*A, 1, 0.9), (*B, 0, 0.4)], levels=["none"]),
    make_case(6, 4, [(*A, 1)], [(*A, 1, 0.9)], levels=[None]),
]


@pytest.fixture(scope="module")
def record():
    return Measurement(CASES, SUBJECT, FEW).record


def test_patients_and_images(record):
    patients, images = record["patients"], record["images"]
    assert [patients[key]["right"] for key in ("sensitivity", "specificity")] == [1, 1]
    assert [patients[key]["of"] for key in ("sensitivity", "specificity")] == [2, 2]
    assert patients["sensitivity"]["value"] == patients["specificity"]["value"] == 0.5
    assert [images[key]["right"] for key in ("sensitivity", "specificity")] == [1, 3]
    assert [images[key]["of"] for key in ("sensitivity", "specificity")] == [2, 4]
    assert patients["auc"]["value"] == roc_auc_score([1, 1, 0, 0], [0.9, 0.2, 0.4, 0.0])
    assert record["counts"]["patients"] == 4 and record["counts"]["images_without_boxes"] == 1


def test_the_operating_point_belongs_to_it():
    readings = readings_of(CASES, (0,), np.array([case.patient - 1 for case in CASES]))
    assert readings.right(0.2).tolist() == [True, True, False, True]
    assert readings.right(math.nextafter(0.2, 1)).tolist() == [True, False, False, True]


def test_confusion(record):
    assert record["confusion"]["boxes"] == [[1, 1, 0], [0, 4, 0], [1, 0, None]]
    assert confusion(match(CASES, 0.5), 0.85, 2).tolist() == [[1, 0, 1], [0, 2, 2], [0, 0, 0]]
    assert not confusion(match([make_case()], 0.5), 0.3, 2).any()


def test_a_second_box_on_a_disc_is_false():
    cases = [make_case(boxes=[(*A, 0)], found=[(*A, 0, 0.6), (*A, 1, 0.8)])]
    assert confusion(match(cases, 0.5), 0.3, 2).tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_levels(record):
    rows = {row.pop("level"): row for row in map(dict, record["levels"])}
    assert list(rows) == ["C5/6", "C7/T1", UNKNOWN, UNNAMED]
    assert rows["C5/6"] == {"discs": 3, "discs_found": 3, "class_right": 2, "lesions": 2, "lesions_found": 1}
    assert rows["C7/T1"] == {"discs": 1, "discs_found": 1, "class_right": 1, "lesions": 0, "lesions_found": 0}


def test_level_names():
    same = {"C2/3": "C2-C3", "C7/T1": "c7 / th1", "T12/L1": "T12-L1", "L4/5": "L4_5", "L5/S1": "L5/S1", "C5/6": "C56"}
    assert {name: level_name(text) for name, text in same.items()} == {name: name for name in same}
    for text in ("<script>alert(1)</script>", "C5/7", "C9/10", "L5/6", "S1/2", "disc", "7"):
        assert level_name(text) == UNKNOWN
    assert level_name(None) == level_name(" ") == UNNAMED


def test_a_ground_truth_without_levels_has_no_table():
    assert Measurement([make_case(boxes=[(*A, 0)])], SUBJECT, FEW).record["levels"] == []


def test_calibration_by_hand(record):
    # By score: 0.2 right; 0.4 and 0.6 wrong; 0.7, 0.8 and three times 0.9 right.
    bins = {round(one["from"], 1): one for one in record["calibration"]["bins"]}
    assert {key: one["detections"] for key, one in bins.items()} == {0.1: 1, 0.3: 1, 0.5: 1, 0.6: 1, 0.7: 1, 0.8: 3}
    distances = [0.8, 0.4, 0.6, 0.3, 0.2, 0.1, 0.1, 0.1]
    assert record["calibration"]["error"]["value"] == pytest.approx(np.mean(distances))
    assert record["calibration"]["brier"]["value"] == pytest.approx(np.mean(np.square(distances)))


def test_the_sums_for_resamples_are_scikit_learns_figures():
    rng = np.random.default_rng(0)
    for _ in range(20):
        matches = [match(random_cases(rng, steps=30), 0.5, [label]) for label in range(2)]
        sums, ones = calibration.collect(matches), np.ones(6)
        bins, brier = calibration.diagram(matches)
        error = sum(one["detections"] * abs(one["mean_score"] - one["share_right"]) for one in bins)
        expected = error / sum(one["detections"] for one in bins), brier
        assert calibration.figures(sums, ones) == pytest.approx(expected)


def test_resamples_are_of_whole_patients_and_seeded():
    draws = bootstrap.draws(7, 200, seed=3)
    assert (draws.sum(axis=1) == 7).all() and (draws == bootstrap.draws(7, 200, seed=3)).all()
    assert (draws != bootstrap.draws(7, 200, seed=4)).any()


def test_intervals_are_percentiles_of_the_figure_on_copies_of_patients():
    rng = np.random.default_rng(1)
    cases = random_cases(rng, images=12, patients=5, steps=10**6)
    settings = Settings(resamples=40, seed=9)
    record = Measurement(cases, SUBJECT, settings).record
    figures = []
    for draw in bootstrap.draws(5, 40, 9):
        copies = [case for patient, count in enumerate(draw, 1) for case in cases * count if case.patient == patient]
        renamed = [make_like(case, index) for index, case in enumerate(copies, start=1)]
        figures.append(Measurement(renamed, SUBJECT, Settings(resamples=0)).record)
    for path in (
        ("average_precision", "mean"),
        ("images", "auc"),
        ("calibration", "error"),
        ("froc", "any disc", "mean"),
    ):
        values, figure = figures, record
        for key in path:
            values, figure = [one[key] for one in values], figure[key]
        expected = np.nanpercentile([one["value"] for one in values], (2.5, 97.5))
        np.testing.assert_allclose((figure["low"], figure["high"]), expected, atol=1e-9)
        assert figure["undefined_resamples"] == sum(math.isnan(one["value"]) for one in values)


def make_like(case, number):
    """A copy with a number of its own; its patient does not matter to what is compared."""
    return type(case)(**{**vars(case), "number": number, "patient": 1})


def test_undefined_resamples_are_counted():
    # A resample of the two patients holds no healthy one in a quarter of the draws.
    cases = [make_case(1, 1, [(*A, 0)], [(*A, 0, 0.9)]), make_case(2, 2, [(*A, 1)], [(*B, 0, 0.9)])]
    record = Measurement(cases, SUBJECT, Settings(resamples=400)).record
    draws = bootstrap.draws(2, 400, 0)
    assert record["patients"]["specificity"]["undefined_resamples"] == (draws[:, 1] == 0).sum() > 50
    assert record["patients"]["sensitivity"]["undefined_resamples"] == (draws[:, 0] == 0).sum() > 50
    assert record["patients"]["sensitivity"]["low"] == record["patients"]["sensitivity"]["high"] == 1.0


def test_limits_where_all_are_alike():
    assert limit_where_all_alike(59, 59) == pytest.approx(0.9505, abs=1e-4)  # "59 without a failure show 95 %"
    assert limit_where_all_alike(0, 59) == pytest.approx(0.0495, abs=1e-4)
    assert limit_where_all_alike(1, 2) is None and limit_where_all_alike(0, 0) is None


def test_worst_and_best_cases():
    worst, best = choose(Measurement(CASES, SUBJECT, FEW))
    assert worst == [2, 4], "missed and false protrusions; ties by number"
    assert best == [0, 3, 5], "most protrusions first; one image a patient"
    worst, best = choose(Measurement([make_case(boxes=[(*A, 0)])], SUBJECT, FEW))
    assert len(worst) == 1 and not best


EDGES = {
    "no detections at all": [make_case(1, 1, [(*A, 0)]), make_case(2, 2, [(*A, 1)])],
    "no lesion in the set": [make_case(n, n, [(*A, 1)], [(*A, n % 2, 0.5)]) for n in (1, 2)],
    "no healthy patient": [make_case(n, n, [(*A, 0)], [(*A, 0, 0.5)]) for n in (1, 2)],
    "one patient": [make_case(n, 1, [(*A, n % 2)], [(*A, 0, 0.5)]) for n in (1, 2)],
    "healthy images only": [make_case(n, n, found=[(*A, 0, 0.1 * n)]) for n in (1, 2)],
    "a class without boxes": [make_case(1, 1, [(*A, 0)], [(*A, 0, 0.5)]), make_case(2, 2)],
    "scores all equal": [make_case(n, n, [(*A, n % 2)], [(*A, 0, 0.5), (*B, 1, 0.5)]) for n in (1, 2)],
    "nothing at all": [make_case(1, 1)],
}


@pytest.mark.parametrize("name", EDGES)
def test_edges_give_figures_or_say_that_there_are_none(name, tmp_path):
    record = Measurement(EDGES[name], SUBJECT, Settings(resamples=20)).record
    write_json(tmp_path / "record.json", record)
    written = json.loads((tmp_path / "record.json").read_text())
    values = {
        key: written[a][b]["value"]
        for key, (a, b) in {
            "sensitivity": ("patients", "sensitivity"),
            "specificity": ("patients", "specificity"),
            "auc": ("patients", "auc"),
            "ap": ("average_precision", "protrusion"),
            "other ap": ("average_precision", "non-protrusion"),
            "mean": ("average_precision", "mean"),
            "froc": ("froc", "any disc"),
            "brier": ("calibration", "brier"),
        }.items()
        if b in written[a] and "value" in written[a][b]
    }
    expected = {
        "no detections at all": {"sensitivity": 0, "specificity": 1, "auc": 0.5, "ap": 0, "mean": 0, "brier": None},
        "no lesion in the set": {"sensitivity": None, "auc": None, "ap": None, "specificity": 0.5},
        "no healthy patient": {"sensitivity": 1, "specificity": None, "auc": None, "ap": 1, "other ap": None},
        "one patient": {"sensitivity": 1, "specificity": None, "auc": None},
        "healthy images only": {"sensitivity": None, "specificity": 1, "ap": None, "mean": None, "brier": 0.025},
        "a class without boxes": {"ap": 1, "other ap": None, "mean": 1, "auc": 1},
        "scores all equal": {"sensitivity": 1, "specificity": 0, "auc": 0.5, "ap": 0.5, "brier": 0.25},
        "nothing at all": {"sensitivity": None, "specificity": 1, "ap": None, "mean": None, "brier": None},
    }[name]
    assert {key: values[key] for key in expected} == {
        key: value if value is None else pytest.approx(value, abs=0.01) for key, value in expected.items()
    }
    if record["counts"]["patients"] == 1:
        assert written["patients"]["specificity"]["low"] is None
        assert written["average_precision"]["mean"]["undefined_resamples"] == 20


@pytest.mark.parametrize(
    "wrong", [{"iou": 0.0}, {"iou": 1.1}, {"threshold": -0.1}, {"threshold": math.nan}, {"resamples": -1}, {"seed": -1}]
)
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=r"give|negative"):
        Settings(**wrong)


FIVE = Subject(classes=("a", "b", "c", "d", "e"), findings=("b", "d"))
GRADES = [
    # The finding is found, as another finding; what is none is taken for one.
    make_case(1, 1, [(*A, 1), (*B, 0)], [(*A, 3, 0.9), (*B, 3, 0.8)]),
    make_case(2, 2, [(*A, 4)], [(*A, 4, 0.7)]),
    make_case(3, 3, [(*A, 3)]),
]


def test_several_findings_count_as_one_for_patients_and_froc_and_each_for_itself_elsewhere():
    record = Measurement(GRADES, FIVE, FEW).record
    assert [record["patients"][key]["right"] for key in ("sensitivity", "specificity")] == [1, 1]
    assert record["counts"]["patients_with_lesion"] == 2
    here = record["froc"]["b or d"]["at_operating_point"]
    assert (here["sensitivity"]["right"], here["sensitivity"]["of"]) == (1, 2)
    assert here["false_per_image"]["value"] == pytest.approx(1 / 3)
    assert record["confusion"]["boxes"][1] == [0, 0, 0, 1, 0, 0] and record["confusion"]["boxes"][4][4] == 1
    assert (
        record["average_precision"]["e"]["value"] == pytest.approx(1.0)
        and record["average_precision"]["b"]["value"] == 0.0
    )


def test_many_findings_have_a_short_name_and_without_patients_images_count():
    subject = Subject(classes=FIVE.classes, findings=FIVE.classes, declared=False, unit="image")
    measurement = Measurement(GRADES, subject, FEW)
    record = {**measurement.record, "data": {"name": "x", "note": ""}, "model": {"trained_on_these": False}}
    assert subject.finding == "a finding" and list(record["froc"]) == ["a finding", "any object"]
    notices = clinical_page._notices(record, subject)
    assert any("does not name its patients" in text for text in notices)
    assert any("a box of any class counts as one" in text for text in notices)
    assert any("No image without a finding is in this set" in text for text in notices)

"""COCO's files become cases; what does not fit is refused in one line that names it."""

import json
import math

import pytest
from clinical_sets import make_case, write_set

from meddet_d2.data import cdh_layout
from meddet_d2.evaluation.clinical import read_study

A, B = (10, 10, 20, 10), (50, 10, 20, 10)
CASES = [
    make_case(3, 1, [(*A, 0), (*B, 1)], [(*A, 0, 0.9)], crowd=[1], levels=["C5/6", None]),
    make_case(7, 2, found=[(*B, 1, 0.25)]),
    make_case(9, 1),
]


@pytest.fixture
def changed(tmp_path):
    """``changed(part, change)`` reads the set after ``change(content)`` of the "truth" or of the "detections"."""

    def read(part=None, change=None):
        paths = write_set(tmp_path, CASES)
        if part is not None:
            path = paths[0] if part == "truth" else paths[2]
            content = json.loads(path.read_text())
            content = change(content) or content
            path.write_text(json.dumps(content))
        return read_study(cdh_layout(*paths[:2]), paths[2])

    return read


def test_cases_have_running_numbers_and_all_boxes(changed):
    study = changed()
    assert [(case.number, case.patient) for case in study.cases] == [(1, 1), (2, 2), (3, 1)]
    first = study.cases[0]
    assert first.boxes.tolist() == [list(A), list(B)] and first.labels.tolist() == [0, 1]
    assert first.crowd.tolist() == [False, True] and first.levels == ("C5/6", None)
    assert study.cases[1].found_scores.tolist() == [0.25] and study.cases[1].found_labels.tolist() == [1]
    assert [picture.path.name for picture in study.pictures] == ["3.png", "7.png", "9.png"]


def test_images_are_taken_by_their_ids_not_by_their_places(changed):
    study = changed("truth", lambda content: content["images"].reverse())
    assert [picture.path.name for picture in study.pictures] == ["3.png", "7.png", "9.png"]
    assert len(study.cases[0].boxes) == 2 and [case.patient for case in study.cases] == [1, 2, 1]


def first(**values):
    """A change of the first detection."""
    return lambda content: content[0].update(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (first(score=math.nan), r"detection 0, of image 3, has score nan"),
        (first(score=math.inf), r"has score inf"),
        (first(score=1.5), r"has score 1.5"),
        (first(score="0.5"), r"has score '0.5'"),
        (first(score=None), r"has score None"),
        (first(bbox=[1, 2, math.nan, 4]), r"has bbox \[1, 2, nan, 4\]"),
        (first(bbox=[1, 2, -3, 4]), r"has bbox"),
        (first(bbox=[1, 2, 3]), r"has bbox"),
        (first(image_id=12), r"1 detections are of images that test.json does not list \(image_id 12\)"),
        (first(image_id="3"), r"\(image_id '3'\)"),
        (first(image_id=[3]), r"detection 0 has image_id \[3\]"),
        (first(category_id=5), r"unknown classes \(category_id 5\); test.json has 1 = protrusion, 2 = non-protrusion"),
        (lambda content: {"detections": content}, r"not a list of detections"),
        (lambda content: [*content, 3], r"not a list of detections"),
    ],
)
def test_detections_that_do_not_fit_are_refused_and_named(changed, change, said):
    with pytest.raises(ValueError, match=said) as caught:
        changed("detections", change)
    assert "detections.json: " in str(caught.value) and "\n" not in str(caught.value)


def test_many_unknown_images_are_counted(changed):
    with pytest.raises(ValueError, match=r"8 detections .* 100, 101, 102, 103, 104, \.\.\.\)"):
        changed("detections", lambda content: [{**content[0], "image_id": 100 + number} for number in range(8)])


def test_duplicate_images_are_refused(changed):
    with pytest.raises(ValueError, match=r"image id 3 \(3.png\) is used twice"):
        changed("truth", lambda content: content["images"].append(content["images"][0]))
    with pytest.raises(ValueError, match=r"file 3.png is listed twice"):
        changed("truth", lambda content: content["images"].append({**content["images"][0], "id": 4}))


def test_a_patient_who_was_trained_on_is_refused(changed, tmp_path):
    changed()
    (tmp_path / "train.json").write_text((tmp_path / "test.json").read_text())
    with pytest.raises(ValueError, match=r"2 patients are also in train.json"):
        changed()


def test_missing_and_broken_files(tmp_path):
    truth, images, detections = write_set(tmp_path, CASES)
    with pytest.raises(FileNotFoundError, match=r"absent.json: no such file"):
        read_study(cdh_layout(truth, images), tmp_path / "absent.json")
    with pytest.raises(FileNotFoundError, match=r"absent.json: no such file"):
        read_study(cdh_layout(tmp_path / "absent.json", images), detections)
    detections.write_text("[{")
    with pytest.raises(ValueError, match=r"detections.json: not a json file"):
        read_study(cdh_layout(truth, images), detections)


def test_a_prediction_with_other_images_under_the_same_numbers_is_refused(changed):
    """Its boxes would count for other patients, and no id would look wrong."""

    def as_prediction(names):
        return lambda content: {
            "images": [{"id": number, "file_name": name} for number, name in zip((3, 7, 9), names, strict=True)],
            "annotations": content,
        }

    study = changed("detections", as_prediction(["3", "7", "9"]))
    assert study.cases[0].found_scores.tolist() == [0.9]
    with pytest.raises(ValueError, match=r"2 of its images have another name in test.json, or none \(id 7, 9\)"):
        changed("detections", as_prediction(["3", "i0123456789abcdef", "8"]))

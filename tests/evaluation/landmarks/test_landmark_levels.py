"""Levels of annotated discs from a file of landmarks, and the page that says so."""

import json

import pytest
from clinical_sets import SIZE, make_case, write_set
from tiny_runs import load_tool

from meddet_d2.data import cdh_layout
from meddet_d2.evaluation.clinical import read_study
from meddet_d2.evaluation.landmarks.landmark_levels import levels_by_landmarks

A, B, C = (10, 10, 20, 10), (10, 40, 20, 10), (10, 70, 20, 10)
NAMES = ("C4/5 disc", "C5/6 disc", "C6/7 disc")


def cases(**change):
    found = [(*A, 0, 0.9), (*B, 1, 0.8)]
    return [
        make_case(3, 1, [(*A, 0), (*C, 1), (*B, 1)], found, **{"crowd": [1], **change}),
        make_case(7, 2, [(*A, 1), (*B, 1)]),
        make_case(9, 3, [(*A, 1)]),
    ]


def landmarks(path, spacing=None, size=SIZE, names=NAMES):
    """Of the first two images; in the second the lower disc has no landmark."""
    points = [[20, 15, 2, 20, 45, 2, 20, 75, 2], [20, 15, 2, 0, 0, 0, 20, 75, 2]]
    images = [
        {"id": 5 + row, "file_name": f"{stem}.png", "width": size, "height": size} for row, stem in enumerate((3, 7))
    ]
    images = [
        {**image, "patient_id": str(image["id"]), **({"spacing": spacing} if spacing else {})} for image in images
    ]
    boxes = [
        {"id": row + 1, "image_id": 5 + row, "category_id": 1, "bbox": [20, 15, 1, 60], "landmarks": values}
        for row, values in enumerate(points)
    ]
    category = {"id": 1, "name": "spine", "keypoints": list(names)}
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": [category]}))
    return path


def study_of(folder, *made):
    paths = write_set(folder, *made or [cases()])
    return read_study(cdh_layout(*paths[:2]), paths[2])


@pytest.mark.parametrize("spacing", [None, [0.6, 0.6]])
def test_each_annotated_disc_has_the_level_of_the_nearest_centre(tmp_path, spacing):
    found = levels_by_landmarks(study_of(tmp_path), landmarks(tmp_path / "marks.json", spacing))
    # The second box of the first image is a crowd; the second disc of the second image has no landmark, and the third
    # image is not in the file.
    assert [case.levels for case in found.cases] == [("C4/5", None, "C5/6"), ("C4/5", None), (None,)]


def test_what_does_not_fit_is_refused_in_one_line(tmp_path):
    study, path = study_of(tmp_path), tmp_path / "marks.json"
    for change, said in (
        ({"size": SIZE + 1}, "image 1 of the test set with another size"),
        ({"names": ("a", "b", "c")}, "has no disc's centre"),
    ):
        with pytest.raises(ValueError, match=said):
            levels_by_landmarks(study, landmarks(path, **change))
    path.write_text(landmarks(path).read_text().replace('.png"', 'x.png"'))
    with pytest.raises(ValueError, match="has none of the test set's images"):
        levels_by_landmarks(study, path)
    with pytest.raises(ValueError, match="is no json of landmarks"):
        levels_by_landmarks(study, tmp_path / "test.json")
    named = study_of(tmp_path / "named", cases(levels=["C4/5", None, None]))
    with pytest.raises(ValueError, match="the annotations of the test set name levels themselves"):
        levels_by_landmarks(named, landmarks(path))


def test_the_page_says_where_levels_come_from(tmp_path):
    truth, images, detections = write_set(tmp_path, cases())
    marks = landmarks(tmp_path / "marks.json")
    files = ["--ground-truth", truth, "--images", images, "--detections", detections, "--bootstrap", 0]
    arguments = [*map(str, files), "--levels", str(marks), "--output", str(tmp_path / "out")]
    assert load_tool("evaluate").main(arguments) == 0
    record = json.loads((tmp_path / "out" / "clinical.json").read_text())
    assert record["levels_from_landmarks"].items() >= {"boxes": 5, "not_known": 2}.items()
    rows = {row["level"]: row for row in record["levels"]}
    assert list(rows) == ["C4/5", "C5/6", "not named"] and rows["C4/5"]["discs"] == 2
    assert rows["C4/5"]["discs_found"] == 1 and rows["C5/6"]["class_right"] == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert "nearest disc centre in a file of landmarks" in page and "For 2 of 5 discs" in page
    assert "marks" not in page.replace("landmarks", "").replace("remarks", "")
    named = [str(path) for path in write_set(tmp_path / "named", cases(levels=["C4/5", None, "C5/6"]))]
    files = ["--ground-truth", named[0], "--images", named[1], "--detections", named[2], "--bootstrap", "0"]
    assert load_tool("evaluate").main([*files, "--output", str(tmp_path / "other")]) == 0
    assert json.loads((tmp_path / "other" / "clinical.json").read_text())["levels_from_landmarks"] is None
    assert "Levels are those of the annotations." in (tmp_path / "other" / "report.html").read_text()

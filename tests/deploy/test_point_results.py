"""Landmarks as a csv, as COCO key points, and as 3D Slicer's points, which are read back from the image's file."""

import csv
import json

import numpy as np
from dicom_files import PSEUDONYMS, RAMP, write_dicom

from meddet_d2.curation.preparation.slicer import on_slice, read_slicer
from meddet_d2.deploy import Landmarks
from meddet_d2.deploy.markups import NO_PLACE, write_markups
from meddet_d2.deploy.point_reading import point_reading_of
from meddet_d2.deploy.point_results import PointResults
from meddet_d2.formats import read_slices

NAMES = ("C2 top left", "C2 top right", "C7/T1")
FOUND = Landmarks(np.array([[10, 40, 0.9], [30.5, 20.25, 0.5], [0, 0, 0.05]], np.float32))
LIMITS = dict.fromkeys(NAMES, 0.1)
OBLIQUE = [0.1, 0.9949874, 0.0, 0.0, 0.0, -1.0]


def reading_on(path, **tags):
    write_dicom(path, RAMP, **tags)
    (mr_slice,) = read_slices(path, pseudonyms=PSEUDONYMS)
    return point_reading_of(mr_slice, FOUND, LIMITS)


def written(tmp_path, **tags):
    reading, results = reading_on(tmp_path / "slice.dcm", **tags), PointResults(NAMES)
    results.add(reading)
    results.write(tmp_path, {"model": "m"})
    with open(tmp_path / "landmarks.csv", newline="", encoding="utf-8") as file:
        return results, list(csv.DictReader(file)), json.loads((tmp_path / "predictions.json").read_text())


def test_a_line_a_landmark_and_none_is_zero(tmp_path):
    results, lines, _ = written(tmp_path, PixelSpacing=[0.5, 0.25])
    assert [line["landmark"] for line in lines] == list(NAMES)
    first, _, missing = lines
    assert (first["x_px"], first["y_px"], first["x_mm"], first["y_mm"]) == ("10.0", "40.0", "2.5", "20.0")
    assert (first["left_mm"], first["back_mm"], first["head_mm"]) == ("0.0", "-37.62", "40.25")
    assert [missing[name] for name in missing if name.endswith(("_px", "mm")) and "spacing" not in name] == [""] * 7
    assert (first["found"], missing["found"], missing["score"]) == ("1", "0", "0.05")
    (image,) = results.images
    assert (image["findings"], image["missing"], image["missing_landmarks"]) == (2, 1, "C7/T1")
    headers, account = results.account(LIMITS)
    assert headers[0] == "landmark" and account[2][:4] == ("C7/T1", "0.1", 0, 1)


def test_corners_of_vertebrae_are_measured_and_a_missing_one_is_not(tmp_path):
    names = ("C4 bottom left", "C4 bottom right", "C5 top left", "C5 top right")
    points = np.array([[10, 20, 0.9], [30, 20, 0.9], [10, 28, 0.05], [30, 30, 0.9]], np.float32)
    write_dicom(tmp_path / "slice.dcm", RAMP, PixelSpacing=[0.5, 0.25])
    (mr_slice,) = read_slices(tmp_path / "slice.dcm", pseudonyms=PSEUDONYMS)
    results = PointResults(names)
    results.add(point_reading_of(mr_slice, Landmarks(points), dict.fromkeys(names, 0.1)))
    results.write(tmp_path, {"model": "m"})
    with open(tmp_path / "measures.csv", newline="", encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    assert (line["image_id"], line["patient_id"], line["level"]) == (mr_slice.image_id, mr_slice.patient_id, "C4/5")
    assert (line["height_back_mm"], line["width_above_mm"], line["height_front_mm"]) == ("5.0", "5.0", "")
    assert line["height_back_px"] == "" == line["angle_deg"]


def test_other_landmarks_are_not_measured(tmp_path):
    results = PointResults(("hand 00", "C5/6", "C5/6 disc"))
    results.write(tmp_path, {"model": "m"})
    assert results.measures is None and not (tmp_path / "measures.csv").exists()


def test_coco_key_points(tmp_path):
    _, _, content = written(tmp_path)
    (annotation,), (category,) = content["annotations"], content["categories"]
    assert category["keypoints"] == list(NAMES)
    assert annotation["keypoints"] == [9.5, 39.5, 2, 30.0, 19.75, 2, 0, 0, 0] and annotation["num_keypoints"] == 2
    assert annotation["landmarks"][:2] == [10, 40] and annotation["landmarks"][6:8] == [None, None]
    assert annotation["bbox"] == [10, 20.25, 20.5, 19.75] and annotation["patient_mm"][2] is None


def test_an_image_without_any(tmp_path):
    reading = reading_on(tmp_path / "slice.dcm")
    results = PointResults(NAMES)
    results.add(point_reading_of(reading.slice, FOUND, dict.fromkeys(NAMES, 1.0)))
    assert results.images[0]["findings"] == 0 and results.images[0]["missing"] == 3


def test_slicer_puts_the_points_where_they_were_found(tmp_path):
    tags = {"ImageOrientationPatient": OBLIQUE, "PixelSpacing": [0.5, 0.25]}
    reading = reading_on(tmp_path / "slice.dcm", **tags)
    assert write_markups(reading, tmp_path) is None
    path = tmp_path / "markups" / f"{reading.slice.image_id}.mrk.json"
    (annotation,) = read_slicer(path)
    points = [point for shape in on_slice(annotation, tmp_path / "slice.dcm").shapes for point in shape.points]
    # The missing one is still to be placed.
    assert [point.label for point in points] == list(NAMES[:2])
    np.testing.assert_allclose([(point.x, point.y) for point in points], FOUND.points[:2, :2], atol=1e-3)
    last = json.loads(path.read_text())["markups"][0]["controlPoints"][-1]
    assert last["positionStatus"] == "undefined" and "position" not in last


def test_no_markups_without_a_place(tmp_path):
    reading = reading_on(tmp_path / "slice.dcm", ImagePositionPatient=None)
    assert reading.findings[0].place_mm is not None and reading.findings[0].patient_mm is None
    assert write_markups(reading, tmp_path) == NO_PLACE and not (tmp_path / "markups").exists()

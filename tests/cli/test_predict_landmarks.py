"""``tools/predict.py`` with a landmark network: its files, with torch and without."""

import json

import numpy as np
import pytest
from dicom_files import write_dicom
from prediction_files import coco, deep, files_of, save, table


@pytest.fixture
def landmark_models(landmark_export):
    folder, _, (arguments, options) = landmark_export
    return ["--onnx", str(folder / "model.onnx")], [*arguments, "--device", "cpu", "--opts", *options]


def test_both_networks_say_the_same(run, landmark_models, tmp_path):
    save(tmp_path / "in" / "Hans.png", 1)
    write_dicom(tmp_path / "in" / "a.dcm", deep(9, height=150, width=111))
    found = []
    for model in landmark_models:
        status, out, err = run(tmp_path / "in", "--force", "--threshold", "0", model=model)
        assert status == 0 and "landmarks.csv" in out and "no .mrk.json was written" in out, err
        found.append(coco(tmp_path / "out"))
    by_onnx, by_torch = found
    assert by_onnx["categories"] == by_torch["categories"] and len(by_onnx["annotations"]) == 2
    for one, other in zip(by_onnx["annotations"], by_torch["annotations"], strict=True):
        np.testing.assert_allclose(one["landmarks"], other["landmarks"], rtol=0, atol=0.05)
    names = files_of(tmp_path / "out")
    assert sum(name.endswith(".mrk.json") for name in names) == 1 and sum(name.endswith(".png") for name in names) == 2
    assert not any(b"Hans" in data or "Hans" in name for name, data in names.items())


def test_a_low_score_is_a_missing_landmark(run, landmark_models, tmp_path):
    write_dicom(tmp_path / "a.dcm", deep(9, height=150, width=111))
    status, out, _ = run(tmp_path / "a.dcm", "--threshold", "1", model=landmark_models[0])
    lines = table(tmp_path / "out" / "landmarks.csv")
    assert status == 0 and "missing" in out and len(lines) == 3
    low = [line for line in lines if float(line["score"]) < 1]
    assert low and all(line["found"] == "0" and line["x_px"] == line["left_mm"] == "" for line in low)
    (markups,) = (tmp_path / "out" / "markups").iterdir()
    points = json.loads(markups.read_text())["markups"][0]["controlPoints"]
    assert sum(point["positionStatus"] == "undefined" for point in points) == len(low)


def test_what_is_for_boxes_alone_is_refused(run, landmark_models, tmp_path):
    status, _, err = run(save(tmp_path / "a.png"), "--dicom", "sr", model=landmark_models[0])
    assert status == 2 and err.strip().count("\n") == 0 and "only sc is made" in err
    status, _, err = run(tmp_path / "a.png", "--class-threshold", "C3=0.5", model=landmark_models[0])
    assert status == 2 and "'C3'" in err

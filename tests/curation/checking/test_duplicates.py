"""Copies are found across names, splits and encodings; slices of one patient are not held against each other."""

import io

import numpy as np
import pytest
from layouts import Layout, picture
from PIL import Image

from meddet_d2.curation.checking import check_data
from meddet_d2.curation.checking.annotation_checks import find_json_files
from meddet_d2.curation.checking.duplicates import NEARLY_THE_SAME
from meddet_d2.curation.checking.image_facts import signature


def found(folder):
    report = check_data([(file, folder / "images") for file in find_json_files([folder])], progress=False)
    return [finding.line() for finding in report.findings]


def compressed(values):
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=40)
    return np.asarray(Image.open(buffer))


CHANGES = {
    "jpeg": compressed,
    "half as large": lambda values: np.asarray(Image.fromarray(values).resize((48, 64))),
    "contrast": lambda values: np.clip(1.3 * values - 20.0, 0, 255).astype(np.uint8),
    "gamma": lambda values: (255 * (values / 255) ** 0.7).astype(np.uint8),
    "noise": lambda values: np.clip(values + np.random.default_rng(0).normal(0, 8, values.shape), 0, 255).astype(
        np.uint8
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_looks_the_same_and_other_images_do_not(change):
    for seed in range(5):
        copy = signature(CHANGES[change](picture(seed)))
        assert signature(picture(seed)) @ copy > NEARLY_THE_SAME
        assert abs(signature(picture(seed + 1)) @ copy) < 0.5


def test_images_of_one_value_look_like_nothing():
    assert not signature(np.full((64, 48), 9, np.uint8)).any()
    assert np.linalg.norm(signature(picture(0))) == pytest.approx(1, abs=1e-6)


def test_three_files_of_the_same_pixels(tmp_path):
    layout = Layout(tmp_path)
    for number in (7, 21):
        layout.file(number).write_bytes(layout.file(3).read_bytes())
    Image.fromarray(picture(3)).save(layout.file(5), compress_level=0)
    assert found(tmp_path) == [
        "E211 same-image test image 21 (021.png): the same file as image 3 of train; keep one.",
        "W211 same-file train image 7 (007.png): the same file as image 3 of train; keep one.",
        "W212 same-pixels train image 5 (005.png): another file with the same pixels as image 3 of train; keep one.",
    ]


def test_slices_of_one_patient_may_look_alike_and_those_without_a_patient_may_not(tmp_path):
    layout = Layout(tmp_path)
    Image.fromarray(CHANGES["noise"](picture(2))).save(layout.file(3))
    assert found(tmp_path) == []
    layout.change(lambda content: [image.pop("patient_id") for image in content["images"][:2]])
    assert [line[:4] for line in found(tmp_path)] == ["E116", "E116", "W213"]

"""The detector of a checkpoint says what its exported file says, and refuses what does not fit."""

import numpy as np
import pytest
import torch
from tiny_runs import make_cfg, tiny_options

from meddet_d2.deploy import Predictor
from meddet_d2.deploy.torch_predictor import TorchPredictor


@pytest.fixture(scope="module")
def predictors(exported):
    folder, _, _ = exported
    cfg = make_cfg([*tiny_options(folder, folder), "MODEL.GFL.SCORE_THRESH_TEST", 0.3, "MODEL.DEVICE", "cpu"])
    return TorchPredictor(cfg, str(folder.parent / "weights.pth")), Predictor(folder / "model.onnx"), cfg


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("size", [(96, 96), (150, 111), (64, 300), (300, 40)])
def test_the_exported_detector_and_this_one_agree(predictors, size):
    by_torch, by_onnx, _ = predictors
    assert by_torch.classes == by_onnx.classes == ("protrusion", "non-protrusion")
    assert by_torch.least_score == by_onnx.least_score == 0.3
    image = noise(*size)
    found, expected = by_torch(image), by_onnx(image)
    assert len(found) == len(expected) >= 1
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=0.05)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found.classes, expected.classes)


def test_the_gpu_finds_what_the_cpu_finds(predictors, exported, cuda):
    by_torch, _, cfg = predictors
    changed = cfg.clone()
    changed.defrost()
    changed.MODEL.DEVICE = cuda
    image = noise(150, 111)
    found, expected = TorchPredictor(changed, str(exported[0] / "model.safetensors"))(image), by_torch(image)
    assert len(found) == len(expected) >= 1
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=0.05)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found.classes, expected.classes)


def test_the_channels_are_in_the_order_of_the_config(predictors, exported):
    by_torch, _, cfg = predictors
    changed = cfg.clone()
    changed.defrost()
    changed.INPUT.FORMAT = "BGR"
    other = TorchPredictor(changed, str(exported[0] / "model.safetensors"))
    image = noise(96, 96)
    np.testing.assert_array_equal(other(image[:, :, ::-1]).scores, by_torch(image).scores)
    assert len(other(image)) != len(by_torch(image)) or not np.array_equal(other(image).scores, by_torch(image).scores)


def test_an_image_that_cannot_be_taken(predictors):
    by_torch, by_onnx, _ = predictors
    for image in (noise(31, 40), noise(96, 96)[:, :, 0], noise(96, 96) / 255):
        messages = set()
        for predictor in (by_torch, by_onnx):
            with pytest.raises(ValueError) as caught:
                predictor(image)
            messages.add(str(caught.value))
        assert len(messages) == 1, messages


def test_nan_is_no_healthy_patient(exported, predictors):
    folder, _, _ = exported
    predictor = TorchPredictor(predictors[2], str(folder / "model.safetensors"))
    with torch.no_grad():
        predictor.model.head.cls_predictor.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="NaN"):
        predictor(noise(96, 96))


def test_what_does_not_fit_is_refused(exported, predictors, tmp_path):
    weights = str(exported[0] / "model.safetensors")
    cases = (
        ("MODEL.DEVICE", "gpu9", ValueError, weights, "The device gpu9 is not here"),
        ("MODEL.DEVICE", "cpu", FileNotFoundError, str(tmp_path / "no.pth"), "does not exist"),
        ("MODEL.FPN.OUT_CHANNELS", 24, ValueError, weights, "another architecture"),
    )
    for key, value, kind, path, message in cases:
        cfg = predictors[2].clone()
        cfg.defrost()
        cfg.merge_from_list([key, value])
        with pytest.raises(kind, match=message):
            TorchPredictor(cfg, path)

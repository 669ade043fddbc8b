"""What a command names becomes a detector: which runtime, which device, which weights, and what is known of it."""

import sys
from types import SimpleNamespace

import onnxruntime
import pytest
import torch
from tiny_runs import ROOT

from meddet_d2.deploy import ModelCard, opened_detector, torch_predictor
from meddet_d2.deploy.opened_detector import open_detector
from meddet_d2.files import checksum

CONFIG = str(ROOT / "configs" / "quickstart.yaml")
CPU, GPU = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.fixture
def predictors(monkeypatch):
    """What the two predictors were made with; neither reads a file."""
    made = []

    def by_onnx(path, providers):
        made.append(providers)
        return SimpleNamespace(card=ModelCard("m", ("a", "b"), files={path.name: "digits"}))

    def by_torch(cfg, weights):
        made.append((cfg.MODEL.DEVICE, weights))
        return SimpleNamespace(classes=("a", "b"), result="boxes")

    monkeypatch.setattr(opened_detector, "Predictor", by_onnx)
    monkeypatch.setattr(torch_predictor, "TorchPredictor", by_torch)
    return made


@pytest.mark.parametrize(
    "device, there, expected",
    [(None, [CPU], []), (None, [GPU, CPU], []), ("cpu", [GPU, CPU], []), ("cuda", [GPU, CPU], [GPU, CPU])],
)
def test_a_model_runs_on_the_device_that_was_named(monkeypatch, predictors, tmp_path, device, there, expected):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    opened = open_detector(tmp_path / "model.onnx", None, device=device)
    assert predictors == [expected]
    assert (opened.card.name, opened.file, opened.sha256) == ("m", "model.onnx", "digits")


@pytest.mark.parametrize("device, there", [("cuda", [CPU]), ("tpu", [GPU, CPU]), ("cuda:1", [GPU, CPU])])
def test_a_device_that_a_model_has_not(monkeypatch, predictors, tmp_path, device, there):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    with pytest.raises(ValueError, match=f"^--device {device}: with --onnx it is cpu, or cuda where"):
        open_detector(tmp_path / "model.onnx", None, device=device)
    assert not predictors


@pytest.mark.parametrize("gpu, device, expected", [(False, None, "cpu"), (True, None, "cuda"), (True, "cpu", "cpu")])
def test_a_checkpoint_runs_on_the_gpu_if_there_is_one(monkeypatch, predictors, tmp_path, gpu, device, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    weights = tmp_path / "model_final.pth"
    weights.write_bytes(b"weights")
    opened = open_detector(None, CONFIG, str(weights), device=device)
    assert predictors == [(expected, str(weights))]
    assert (opened.card.name, opened.card.classes) == ("quickstart", ("a", "b"))
    assert (opened.file, opened.sha256) == ("model_final.pth", checksum(weights))


def test_the_checkpoint_and_the_data_set_are_those_of_the_config(predictors, tmp_path):
    weights = tmp_path / "other.pth"
    weights.write_bytes(b"")
    keys = ["MODEL.WEIGHTS", str(weights), "DATASETS.TRAIN", ("cdh1848_train",)]
    opened = open_detector(None, CONFIG, overrides=keys, device="cpu")
    assert predictors == [("cpu", str(weights))] and opened.card.trained_on == ("cdh1848_train",)


def test_what_is_missing_or_too_much(monkeypatch, predictors, tmp_path):
    onnx = tmp_path / "model.onnx"
    cases = [
        ((onnx, None, "a.pth"), "--weights and KEY VALUE pairs go with --config-file"),
        ((onnx, None, None, ["MODEL.DEVICE", "cpu"]), "--weights and KEY VALUE pairs go with --config-file"),
        ((None, None), "Name a detector"),
        ((None, CONFIG), "No weights: give --weights"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            open_detector(*arguments)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(opened_detector, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--config-file needs torch, which is not installed"):
        open_detector(None, CONFIG, "a.pth")
    assert not predictors

"""Nothing in a step asks the device for a value, but where the batch comes in and where the losses are looked at."""

from dataclasses import replace

import pytest
import small_landmarks
import torch
from fake_tensors import fake_tensors, fake_truth, move
from small_landmarks import batch
from tiny_gfl import student_config, two_images
from torch._subclasses.fake_tensor import DataDependentOutputException

from detectron2.modeling import build_model
from meddet_d2.distillation import DistillationModel, TeacherBank, build_distiller
from meddet_d2.distillation.distiller import DISTILLER_REGISTRY
from meddet_d2.modeling.gfl.gfl_detector import GFL

METHODS = ("MedDet", "FitNets", "MGD", "LD", "FGD")
LANDMARK_METHODS = ("FSFLD", "FPD", "OKDHP", "DWPose")
# What goes through a backward pass is on the CPU: without a GPU torch has no streams for another device's.
DEVICES = ("cpu", "cuda")


@pytest.fixture
def cfg(tmp_path):
    return student_config(tmp_path)


@pytest.fixture
def inputs():
    return two_images()


def test_the_methods_are_all_of_the_packages():
    own = {name for name, kind in DISTILLER_REGISTRY if kind.__module__.startswith("meddet_d2.")}
    assert {*METHODS, *LANDMARK_METHODS} == own


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", METHODS)
def test_a_distillation_step(cfg, inputs, method, device, monkeypatch):
    cfg.DISTILL.METHOD = method
    bank = TeacherBank.from_config(cfg)
    student = build_model(cfg)
    model = DistillationModel(student, bank, build_distiller(cfg, student, bank)).train()
    truth = student.ground_truth(inputs)
    with fake_tensors() as mode:
        # The discriminator is no part of the model: a hook trains it.
        adversary = [model.distiller.adversary.discriminator] if method == "MedDet" else []
        for network in (model, *bank.networks, *adversary):
            move(network, device)
        fake = fake_truth(truth, mode, device)
        monkeypatch.setattr(GFL, "ground_truth", lambda *_: fake)
        losses = model(inputs)
        assert all(loss.device.type == device for loss in losses.values())
        if device == "cpu":
            sum(losses.values()).backward()
            assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", (*LANDMARK_METHODS, "FitNets", "MGD"))
def test_a_step_of_landmarks(method, device, monkeypatch):
    model, inputs = small_landmarks.distillation("DISTILL.METHOD", method, "DISTILL.FSFLD.SHARE_HEAD", True), batch()
    student = model.student
    truth = student.ground_truth(inputs)
    with fake_tensors() as mode:
        for network in (model, *model.teachers.networks):
            move(network, device)
        fields = {name: mode.from_tensor(getattr(truth, name)).to(device) for name in ("points", "present")}
        fake = replace(truth, **fields)
        monkeypatch.setattr(type(student), "ground_truth", lambda *_: fake)
        losses = model(inputs)
        assert all(loss.device.type == device for loss in losses.values())
        if device == "cpu":
            sum(losses.values()).backward()
            assert all(p.grad is not None for p in model.distiller.parameters())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("nmode", ["none", "nmode2"])
def test_a_detectors_step_and_a_predictions_network(cfg, inputs, nmode, device, monkeypatch):
    cfg.MODEL.NMODE.KIND = nmode
    model = build_model(cfg)
    truth = model.ground_truth(inputs)
    with fake_tensors() as mode:
        move(model, device)
        fake = fake_truth(truth, mode, device)
        monkeypatch.setattr(GFL, "ground_truth", lambda *_: fake)
        total = sum(model(inputs).values())
        if device == "cpu":
            total.backward()
        images = model.eval().preprocess_image(inputs)
        with torch.no_grad():
            logits = model.network(images.tensor)
    assert {level.device.type for part in logits for level in part} == {device}


def test_a_wait_is_seen(cfg, inputs, monkeypatch):
    model = build_model(cfg)
    before = GFL.network
    monkeypatch.setattr(GFL, "network", lambda model, images: before(model, images * images.max().item()))
    with fake_tensors(), pytest.raises(DataDependentOutputException):
        move(model, "cuda")
        model.eval()(inputs)

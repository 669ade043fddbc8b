"""Backbone and head compile without a break in their graphs, and a compiled network is what it was."""

import functools
import shutil

import pytest
import torch
from tiny_gfl import student_config, two_images
from torch import _dynamo as dynamo

from detectron2.modeling import build_model
from meddet_d2.engine import DistillationTrainer, MedDetTrainer
from meddet_d2.hardware.compiling import compile_parts


@pytest.fixture(autouse=True)
def _nothing_compiled_before():
    dynamo.reset()
    yield
    dynamo.reset()


@pytest.fixture
def eagerly(monkeypatch):
    """torch.compile that finds the graphs and does not generate code, which takes a minute."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("solver", ["flow_map", "rk4"])
def test_no_break_in_the_graphs(tmp_path, solver, training):
    cfg = student_config(tmp_path)
    cfg.MODEL.NMODE.SOLVER = solver
    model = build_model(cfg).train(training)
    features = model.extract_features(model.preprocess_image(two_images()))
    for part, given in ((model.backbone, torch.zeros(2, 3, 64, 64)), (model.head, [f.detach() for f in features])):
        found = dynamo.explain(part)(given)
        assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons


def test_a_compiled_detector_finds_and_learns_the_same(tmp_path, eagerly):
    cfg, results = student_config(tmp_path), []
    for compiled in (False, True):
        cfg.MODEL.COMPILE = compiled
        torch.manual_seed(0)
        model = MedDetTrainer.build_model(cfg).train()
        losses = model(two_images())
        sum(losses.values()).backward()
        gradients = [p.grad for p in model.parameters()]
        model.score_thresh = 0.0  # or random weights find nothing
        found = model.eval()(two_images())[0]["instances"]
        assert len(found) > 10
        results.append((model.state_dict().keys(), losses, gradients, found.scores))
    (names, *plain), (same_names, *compiled) = results
    assert names == same_names
    torch.testing.assert_close(compiled, plain)
    assert "forward" in vars(model.head) and "forward" not in vars(model.backbone.bottom_up)


def test_a_distillation_step_with_compiled_networks(tmp_path, eagerly):
    cfg, results = student_config(tmp_path), []
    for compiled in (False, True):
        cfg.MODEL.COMPILE = compiled
        torch.manual_seed(0)
        model = DistillationTrainer.build_model(cfg).train()
        for _ in range(2):
            torch.manual_seed(1)
            losses = model(two_images())
        results.append(losses)
    torch.testing.assert_close(*results)
    assert all("forward" in vars(network.backbone) for network in model.teachers.networks)


def test_without_a_compiler_a_warning_and_no_compiled_code(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    model = build_model(student_config(tmp_path))
    compile_parts(model, ("backbone", "head"))
    assert "no C++ compiler (g++, clang++)" in caplog.text and "forward" not in vars(model.backbone)

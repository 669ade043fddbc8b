"""The method that docs/how_to/distil.md writes out is run as it stands there."""

import re
from pathlib import Path

import pytest
import torch

from meddet_d2.distillation import DISTILLER_REGISTRY, DistillationModel, build_distiller

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how_to" / "distil.md"


@pytest.fixture
def example(monkeypatch):
    """Run the page's code, and forget the method that it registered."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 32
    monkeypatch.setattr(DISTILLER_REGISTRY, "_obj_map", dict(DISTILLER_REGISTRY._obj_map))
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    return names


def test_the_example_is_a_method_like_any_other(cfg, example, detector, trained_bank, batch):
    cfg.DISTILL.METHOD = "PKD"
    student = detector(12)
    method = build_distiller(cfg, student, trained_bank)
    assert type(method) is example["PKD"]
    losses = DistillationModel(student, trained_bank, method).train()(batch())
    assert set(losses) == {"loss_a", "loss_b", "loss_dist"}
    # 0.5 * weight * 2 levels * (2 - 2 * correlation), which is about 0 for unlike maps.
    assert 5 < losses["loss_dist"].item() < 35
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in method.parameters())
    assert list(method.parameters()), "the second teacher has other channels"


def test_the_examples_maps_are_standardised(example):
    feature = 5 + 3 * torch.randn(4, 3, 8, 8)
    made = example["normalize"](feature)
    torch.testing.assert_close(made.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.var(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)
    assert example["normalize"](torch.ones(1, 3, 1, 1)).tolist() == [[[[0.0]]] * 3], "a map of a single cell"


def test_every_method_is_in_the_table():
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert {name for name, _ in DISTILLER_REGISTRY} == rows - {"summary"}

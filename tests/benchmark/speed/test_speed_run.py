"""All parts after each other: what is chosen, and what a part that fails leaves."""

import sys

import pytest
import torch

from meddet_d2.benchmark.speed import PARTS, Setup, devices_here, measure, speed_run


@pytest.fixture
def done(monkeypatch):
    """Parts that only say that they ran."""
    found = []
    names = {name: lambda report, setup, name=name: found.append((name, setup.device)) for name in PARTS}
    monkeypatch.setattr(speed_run, "PARTS", names)
    return found


def test_a_cpu_has_neither_peaks_nor_compiled_steps(report, done):
    saved = []
    setups = [Setup({}, 64), Setup({}, 64, "cuda")]
    assert measure(report, setups, save=lambda: saved.append(len(done)))
    assert done == [(name, "cpu") for name in PARTS if name not in ("memory", "compiled")] + [
        (name, "cuda") for name in PARTS
    ]
    assert saved == list(range(1, len(done) + 1)), "what was measured is on the disk after each part"


def test_some_parts_in_their_order(report, done):
    assert measure(report, [Setup({}, 64, "cuda")], ["memory", "step"])
    assert done == [("step", "cuda"), ("memory", "cuda")]


def test_a_part_that_fails_is_told_and_the_others_go_on(report, done, monkeypatch, capsys):
    def wrong(report, setup):
        raise TypeError("a typo")

    monkeypatch.setitem(speed_run.PARTS, "step", wrong)
    assert not measure(report, [Setup({}, 64)])
    assert ("launches", "cpu") in done and "step on cpu failed: TypeError: a typo" in report.notes
    assert "a typo" in capsys.readouterr().err


def test_a_gpu_that_is_too_small_is_no_failure(report, done, monkeypatch):
    def large(report, setup):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setitem(speed_run.PARTS, "step", large)
    assert measure(report, [Setup({}, 64, "cuda")])
    (note,) = report.notes
    assert note.startswith("step on cuda") and "memory" in note


def test_without_the_extra_the_exports_are_left_out(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "meddet_d2.benchmark.speed.deployed_speed", raising=False)
    assert measure(report, [Setup({}, 64)], ["onnx"])
    (note,) = report.notes
    assert note.startswith("onnx on cpu was not measured") and ".[export]" in note


def test_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices_here() == ["cpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices_here() == ["cpu", "cuda"] and devices_here(["cuda"]) == ["cuda"]

"""Peaks of a GPU's memory, with counters in place of CUDA's."""

import pytest
import torch

from meddet_d2.benchmark.speed.peak_memory import measure_memory, peak_bytes


@pytest.fixture
def counter(monkeypatch):
    """The greatest value since the last reset, as CUDA's allocator keeps it."""
    peak = [0]
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.__setitem__(0, 0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak[0])
    return peak


def test_a_peak_is_of_a_later_call_alone(counter):
    sizes = iter([900, 500])
    counter[0] = 1000

    def call():
        counter[0] = max(counter[0], next(sizes))

    assert peak_bytes(call, "cuda") == 500


def test_predictions_and_steps_are_measured(report, gpu, counter, monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    measure_memory(report, gpu)
    names = ("prediction, 2 images", "student's step, 2 images", "distillation step, 2 images")
    assert report.memory == {"memory_cpu:0": dict.fromkeys(names, 1.5)} and not report.notes


def test_what_does_not_fit_has_a_note(report, gpu, counter, monkeypatch):
    def full(device):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "synchronize", full)
    measure_memory(report, gpu)
    assert not report.memory and len(report.notes) == 3
    assert "prediction, 2 images" in report.notes[0]

"""Ratios, what is left out where a GPU is too small, and what the json holds."""

import pytest
import torch


def too_large():
    raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def test_a_call_without_memory_is_left_out_with_a_note(report):
    group = report.group("batch_32", "cuda")
    report.time(group, {"small": int, "large": too_large}, images=32)
    assert set(report.seconds[group]) == {"small"} == set(report.images[group])
    report.ratio(group, "large_over_small", "large", "small")
    report.ratio(group, "small_over_both", "small", "small", "large")
    assert report.ratios[group] == {"large_over_small": None, "small_over_both": None}
    (note,) = report.notes
    assert group in note and "large" in note and "memory" in note


def test_where_no_call_has_memory_nothing_is_timed(report):
    report.time("batch_32", {"large": too_large})
    assert not report.seconds and len(report.notes) == 1 and report.median("batch_32", "large") is None


def test_other_mistakes_are_not_hidden(report):
    def wrong():
        raise RuntimeError("a typo")

    with pytest.raises(RuntimeError, match="a typo"):
        report.time("batch_1", {"wrong": wrong})


def test_ratios_are_of_medians_over_sums(report):
    report.seconds = {"step": {"whole": [4.0, 6.0, 20.0], "a": [1.0, 1.0, 9.0], "b": [2.0, 2.0, 2.0]}}
    report.images = {"step": {"whole": 12}}
    report.ratio("step", "overhead", "whole", "a", "b")
    report.ratio("other", "borrowed", "a", "b", timed_in="step")
    content = report.to_json()
    assert content["step"] == {"overhead": 2.0} and content["other"] == {"borrowed": 0.5}
    assert content["images_per_second"]["step"] == {"whole": 2.0}
    assert content["milliseconds"]["step"]["whole"] == {"median": 6000.0, "low": 5000.0, "high": 13000.0}


def test_groups_are_named_by_their_device(report):
    assert [report.group("step", device) for device in ("cpu", "cuda")] == ["step", "step_cuda"]
    assert report.to_json()["devices"] == {"step": "cpu", "step_cuda": "cuda"}

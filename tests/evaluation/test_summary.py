"""The table of networks, and the stopwatch behind its last column."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import meddet_d2  # noqa: F401
from meddet_d2.evaluation import DetectionEvaluator, LandmarkEvaluator, summary, summary_columns, timing


class Recorder(nn.Module):
    """Remembers how it was called."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 5)
        self.calls = []

    def forward(self, inputs):
        self.calls.append((self.training, torch.is_grad_enabled()))
        return [{} for _ in inputs]


def throughput_of(model, inputs, **options):
    return timing.throughputs({"": model}, inputs, **options)[""]


BOXES = summary_columns(DetectionEvaluator)
RESULTS = {"bbox": {"AP": 41.25, "AP50": 77.125, "recall50": 97.0}}


def test_throughput_runs_in_eval_mode_without_gradients_and_restores_the_mode():
    model = Recorder().train()
    rate = throughput_of(model, [{}, {}], warmup=1, rounds=5)
    assert model.training and len(model.calls) == 6
    assert set(model.calls) == {(False, False)}
    assert 0 < rate["low"] <= rate["median"] <= rate["high"]


def test_throughput_counts_the_images_of_a_batch_and_takes_the_median(monkeypatch):
    seconds = {"": [1.0, 4.0, 2.0]}
    monkeypatch.setattr(timing, "interleaved_seconds", lambda *_, **__: seconds)
    rate = throughput_of(Recorder(), [{}] * 8, warmup=0, rounds=3)
    assert rate == {"low": 3.0, "median": 4.0, "high": 6.0}


def test_throughput_stops_after_its_time_but_not_before_three_calls():
    model = Recorder()
    throughput_of(model, [{}], warmup=0, rounds=50, max_seconds=0.0)
    assert len(model.calls) == 3


def test_throughput_restores_the_mode_after_an_error():
    model = Recorder().train()
    model.forward = None
    with pytest.raises(TypeError):
        throughput_of(model, [{}])
    assert model.training


@pytest.mark.parametrize(("inputs", "rounds"), [([], 5), ([{}], 2)])
def test_throughput_refuses_what_it_cannot_measure(inputs, rounds):
    with pytest.raises(ValueError, match="at least"):
        throughput_of(Recorder(), inputs, rounds=rounds)


@pytest.mark.parametrize("results", [RESULTS, {"first": RESULTS, "second": {"bbox": {"AP": 0.0}}}])
def test_row_takes_metrics_and_counts_parameters(results):
    row = summary.measure("student", Recorder(), results, [{}], BOXES)
    assert row.pop("throughput")["median"] > 0
    assert row == {"name": "student", "ap50": 77.125, "ap": 41.25, "recall50": 97.0, "parameters": 20}


def test_the_evaluator_says_what_the_table_shows():
    columns = summary_columns(LandmarkEvaluator)
    results = {"landmarks": {"MRE": 1.234, "SDR2": 81.0, "SDR4": 95.25, "above10": 1.0, "wrong_level": 2.0}}
    row = summary.measure("student", Recorder(), results, [{}], columns)
    assert (row["MRE"], row["SDR4"], row["wrong_level"]) == (1.234, 95.25, 2.0) and "ap50" not in row
    text = summary.table([row], columns)
    assert "MRE" in text and "1.23 " in text and "95.2 " in text and "AP50" not in text
    assert dict(summary_columns(SimpleNamespace(PRIMARY="mine/score"))) == {"score": ("score", 2)}


def test_row_without_results_is_not_a_zero():
    row = summary.measure("student", Recorder(), {}, [{}], BOXES)
    assert math.isnan(row["ap50"]) and "n/a" in summary.table([row], BOXES)


def test_written_tables(tmp_path):
    values = [("teacher | r50", 95.0, 70.5, math.nan, 32_260_700), ("student", 77.125, 41.25, 97.0, 10_420_000)]
    rate = {"median": 12.345678, "low": 11.0, "high": 13.0}
    keys = ("name", "ap50", "ap", "recall50", "parameters")
    rows = [{**dict(zip(keys, row, strict=True)), "throughput": rate} for row in values]
    text = summary.write(rows, tmp_path / "new", dataset_name="cdh_phantom_test", columns=BOXES)
    assert "phantom, not patients" in text
    assert (torch.cuda.get_device_name() if torch.cuda.is_initialized() else "thread") in text
    assert "10.42 M" in text and "77.1" in text and "12.3" in text
    record = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert record["networks"][0]["recall50"] is None
    assert record["networks"][1]["ap50"] == 77.125
    assert record["networks"][1]["throughput"]["median"] == 12.345678
    markdown = (tmp_path / "new" / "summary.md").read_text().splitlines()
    assert markdown[0].count("|") == len(BOXES) + 5 and markdown[1].startswith("|:-")
    assert "phantom" in markdown[-1] and record["unit"] is None and "errors in" not in text
    text = summary.write(rows, tmp_path / "new", dataset_name="necks", columns=BOXES, unit="px")
    assert "errors in px" in text and json.loads((tmp_path / "new" / "summary.json").read_text())["unit"] == "px"
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["summary.json", "summary.md"]

"""Tables, csv and pictures from records written by hand."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from meddet_d2.benchmark import result_plots, write_report
from meddet_d2.benchmark.result_tables import PAPER_MAP, PAPER_RECALL, collect
from meddet_d2.distillation import TASK_REGISTRY
from meddet_d2.files import write_json

# AP50 of each seed, None for one that failed; "later" was asked for and never run.
FIGURES = {
    ("I", "Alone"): {1: 60.0, 2: 64.0, 3: 62.0},
    ("I", "MedDet"): {1: 70.0, 2: None},
    ("IV", "head"): {1: 55.5},
    ("V", "Sum"): {1: "later"},
    ("V", "Concat"): {1: None},
}
PAPER = {"Alone": {"map": 80.8, "recall": 0.976}, "MedDet": {"map": 85.5, "recall": 0.972}}


def record(table, row, seed, ap50):
    common = {
        "kind": "student", "name": row, "rows": [[table, row]], "config": "configs/x.yaml", "seed": seed,
        "config_hash": f"hash of {row}", "method": None if row == "Alone" else "MedDet", "teachers": ["teachers/t"],
        "hardware": {"cpu": "AMD EPYC", "threads": 2, "gpu": None}, "commit": "c" * 40, "dirty": False,
        "sources": "5" * 12, "engine": "Detectron2 0.6", "torch": "2.14", "resumed": False, "seconds": 1800.0,
    }  # fmt: skip
    if ap50 is None:
        return {**common, "status": "failed", "error": "FloatingPointError: NaN"}
    curve = [
        {"iteration": 19, "loss_qfl": 1.0, "loss_dfl": 0.5, "loss_giou": 1.5, "total_loss": 9.0},
        {"iteration": 20, "AP50": ap50 / 2},
        {"iteration": 40, "AP50": ap50},
    ]
    metrics = {"AP50": ap50, "AP": ap50 / 2, "AP75": None, "recall50": 90.0 + seed}
    return {
        **common, "status": "done", "dataset": "cdh_phantom_test", "test_images": 80, "iterations": 40,
        "parameters": 2_340_000, "metrics": metrics, "curve": curve,
    }  # fmt: skip


@pytest.fixture
def results(folder):
    """A results folder by hand."""
    entries = []
    for order, ((table, row), seeds) in enumerate(FIGURES.items()):
        for seed, ap50 in seeds.items():
            run = f"students/{row.lower()}-{seed}"
            entry = {"table": table, "row": row, "seed": seed, "order": order, "run": run, "paper": PAPER.get(row, {})}
            entries.append(entry)
            if ap50 != "later":
                write_json(folder.path / run / "run.json", record(table, row, seed, ap50))
    write_json(folder.path / "teachers" / "t" / "run.json", {**record("", "r18", 7, 66.6), "kind": "teacher"})
    invocations = [{"command": "python tools/benchmark.py run --seeds 1 2 3", "teachers": "one set for all seeds"}]
    write_json(folder.path / "plan.json", {"entries": entries, "teachers": ["teachers/t"], "invocations": invocations})
    return folder


def line(text: str, name: str) -> list[str]:
    """The cells of a table's line."""
    found = next(row for row in text.splitlines() if row.startswith(f"| {name} "))
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_the_summary_is_what_the_issue_asks_for(results):
    write_report(results)
    summary = json.loads((results.path / "results.json").read_text())
    assert summary[0] == {
        "table": "I", "row": "Alone", "seeds": [1, 2, 3], "ap50_mean": 62.0, "ap50_sd": 2.0, "recall_mean": 92.0,
        "commits": ["c" * 40], "hours": 1.5, "hardware": ["AMD EPYC, 2 thread(s)"],
    }  # fmt: skip
    assert summary[1]["seeds"] == [1] and summary[1]["ap50_mean"] == 70.0 and summary[1]["ap50_sd"] is None
    assert [row["ap50_mean"] for row in summary] == [62.0, 70.0, 55.5, None, None]


def test_the_tables_say_what_was_measured_and_on_what(results):
    write_report(results)
    text = (results.path / "tables.md").read_text()
    first = text.splitlines()[0]
    assert "cdh_phantom_test (synthetic phantom, not patients, 80 test images)" in first
    assert line(text, "row") == ["row", "AP50", "n", "AP", "recall", "parameters", PAPER_MAP, PAPER_RECALL]
    assert "the paper's" in PAPER_MAP and "CDH-1848" in PAPER_MAP
    assert line(text, "Alone") == ["Alone", "62.0 ± 2.0", "3", "31.0 ± 1.0", "92.0 ± 1.0", "2.34 M", "80.8", "97.6"]
    assert line(text, "MedDet") == ["MedDet", "70.0", "1", "35.0", "91.0", "2.34 M", "85.5", "97.2"]
    assert line(text, "Sum")[1:3] == ["missing", "0"] and line(text, "Concat")[1:3] == ["failed", "0"]
    assert "table I, MedDet, seed 2: failed, FloatingPointError: NaN" in text
    assert "table V, Sum, seed 1: not run" in text
    assert line(text, "r18")[1:3] == ["7", "66.6"]
    for fact in (
        "seeds: 1, 2, 3",
        "AMD EPYC, 2 thread(s)",
        "Detectron2 0.6, torch 2.14",
        "c" * 40,
        "run --seeds 1 2 3",
    ):
        assert fact in text, fact
    assert "Mixed" not in text and "uncommitted" not in text and "Different threads" not in text


def test_mixed_results_are_called_mixed(results):
    write_json(results.path / "students/alone-2/run.json", record("I", "Alone", 2, 64.0) | {"sources": "other"})
    write_report(results)
    assert (
        "**Mixed:** these results were made by different sources (555555555555, other)"
        in (results.path / "tables.md").read_text()
    )


def test_runs_with_different_threads_are_told_apart(results):
    machine = {"cpu": "AMD EPYC", "threads": 1, "gpu": None}
    write_json(results.path / "students/alone-2/run.json", record("I", "Alone", 2, 64.0) | {"hardware": machine})
    write_report(results)
    text = (results.path / "tables.md").read_text()
    assert "**Different threads:** these runs had 1 or 2 CPU threads" in text
    assert "AMD EPYC, 1 thread(s); AMD EPYC, 2 thread(s)" in text


def test_the_csv_has_a_line_for_each_row_and_seed(results):
    write_report(results)
    with open(results.path / "results.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 8
    assert [row["status"] for row in lines] == ["done"] * 4 + ["failed", "done", "missing", "failed"]
    assert float(lines[1]["AP50"]) == 64.0 and lines[1]["AP75"] == "" and lines[1]["run"] == "students/alone-2"
    assert lines[0]["paper_map"] == "80.8" and lines[4]["AP50"] == "" and lines[5]["paper_map"] == ""


def test_sizes_and_speeds_stand_in_the_tables_where_they_were_measured(results):
    write_json(results.path / "efficiency.json", {"note": "random weights", "table": "| network | x |"})
    write_report(results)
    assert (
        "## Table II, sizes and speeds\n\nrandom weights\n\n| network | x |" in (results.path / "tables.md").read_text()
    )


def test_an_empty_folder_says_how_to_fill_it(folder):
    with pytest.raises(ValueError, match="meddet benchmark run"):
        write_report(folder)


def test_pictures_are_drawn_and_not_blank(results):
    runs = ["students/alone-1", "students/meddet-1", "students/head-1", "teachers/t"]
    speeds = {run: {"median": 50.0 - place, "low": 40.0, "high": 60.0} for place, run in enumerate(runs)}
    paths = result_plots.draw_all(results, speeds)
    names = {"ap50_by_method", "parameters_vs_ap50", "latency_vs_ap50", "learning_curves"}
    assert {path.stem for path in paths} == names
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert min(pixels.shape[:2]) >= 400, path.name
        assert 0.01 < (pixels < 250).any(axis=2).mean() < 0.5, f"{path.name} is blank or full"


def test_without_speeds_there_is_no_picture_of_them(results):
    assert "latency_vs_ap50" not in {path.stem for path in result_plots.draw_all(results, {})}


def test_curves_are_means_over_the_seeds_that_have_a_point(results):
    row = collect(results)[0]
    assert result_plots.mean_curve(row, result_plots.ap50) == {20: 31.0, 40: 62.0}
    assert result_plots.mean_curve(row, result_plots.own_loss) == {19: 3.0}
    del row.records[2]["curve"][1]
    assert result_plots.mean_curve(row, result_plots.ap50) == {40: 62.0}


def test_the_task_says_which_losses_are_the_networks_own(monkeypatch):
    class Another:
        architectures = ("Another",)
        losses = ("loss_own",)

    monkeypatch.setitem(TASK_REGISTRY._obj_map, "Another", Another)
    point = {"iteration": 1, "loss_own": 2.0, "loss_dist": 5.0}
    gfl = {"loss_qfl": 1.0, "loss_dfl": 0.5, "loss_giou": 1.5}
    loss = result_plots.own_loss
    assert loss({"architecture": "Another"}, point | gfl) == 2.0
    assert loss({"architecture": "GFL"}, point | gfl) == 3.0 and loss({"architecture": "GFL"}, point) is None
    assert loss({}, point) == 2.0 and loss({}, gfl) == 3.0, "of a record of an earlier version"
    with pytest.raises(ValueError, match="--plugin"):
        loss({"architecture": "Nobodys"}, point)

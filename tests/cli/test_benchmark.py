"""tools/benchmark.py as it is typed: one real benchmark of small rows, and mistakes told in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import load_tool

import meddet_d2  # noqa: F401  finds the engine
from detectron2.modeling import build_model

ROOT = Path(__file__).resolve().parents[2]
SMOKE = str(ROOT / "configs" / "benchmark" / "smoke.yaml")
SUITE = f"""
rows:
- {{table: I, row: Alone, config: {ROOT}/configs/backbones/gfl_mobilenetv2.yaml, paper: {{map: 80.8, recall: 0.976}}}}
- {{table: I, row: Breaks, config: breaks.yaml}}
- {{table: I, row: Distilled, config: distilled.yaml, paper: {{map: 85.5, recall: 0.972}}}}
- {{table: III, row: The same, config: distilled.yaml}}
"""
# A loss beyond what a float holds: it dies in its first step.
BREAKS = f"_BASE_: {ROOT}/configs/backbones/gfl_mobilenetv2.yaml\nMODEL: {{GFL: {{LOSS_GAIN: 1.0e+39}}}}\n"
# One teacher is enough here.
DISTILLED = f"_BASE_: {ROOT}/configs/meddet.yaml\nDISTILL: {{TEACHERS: {{USE: [0]}}}}\n"


@pytest.fixture(scope="module")
def benchmark():
    return load_tool("benchmark")


@pytest.fixture
def told(benchmark, capsys):
    """``told(*arguments)`` is the one line that a mistaken command ends with."""

    def run(*arguments):
        assert benchmark.main(["run", "--output", "nowhere", *map(str, arguments)]) == 1
        (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
        return line

    return run


def test_a_benchmark_from_the_command_line(benchmark, tmp_path, use_datasets_root, capsys):
    for name, text in (("suite", SUITE), ("breaks", BREAKS), ("distilled", DISTILLED)):
        (tmp_path / f"{name}.yaml").write_text(text)
    output = tmp_path / "results"
    arguments = ["run", "--suite", str(tmp_path / "suite.yaml"), "--scale", SMOKE, "--output", str(output)]
    command = [sys.executable, "tools/benchmark.py", *arguments, "--jobs", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 1, "one of the runs fails"
    assert "1 of 4 runs failed" in done.stderr and "Results: " in done.stdout

    records = {
        record["name"]: record for record in map(json.loads, (p.read_text() for p in output.glob("*/*/run.json")))
    }
    assert {name: record["status"] for name, record in records.items()} == {
        "resnet10t": "done", "Alone": "done", "Breaks": "failed", "Distilled": "done",
    }  # fmt: skip
    assert "FloatingPointError" in records["Breaks"]["error"] and "\n" not in records["Breaks"]["error"]
    distilled = records["Distilled"]
    assert distilled["rows"] == [["I", "Distilled"], ["III", "The same"]]
    assert {"AP50", "AP", "AP75", "recall50", "AP50-protrusion"} <= set(distilled["metrics"])
    assert [point["iteration"] for point in distilled["curve"] if "AP50" in point] == [1, 3]
    assert any("loss_dist" in point for point in distilled["curve"])
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert {record["hardware"]["threads"] for record in records.values()} == {share}, "of two runs at once"
    assert 2.2e6 < distilled["parameters"] < 2.5e6, "a MobileNetV2 with a small head"
    text = (output / "tables.md").read_text()
    assert "synthetic phantom, not patients" in text.splitlines()[0] and "| Breaks    | failed" in text
    assert len(json.loads((output / "results.json").read_text())) == 4
    pictures = {path.stem for path in output.glob("*.png")}
    assert pictures == {"ap50_by_method", "parameters_vs_ap50", "latency_vs_ap50", "learning_curves"}
    published = [output / name for name in ("tables.md", "results.csv", "results.json", "plan.json", "latency.json")]
    published += list(output.glob("*/*/run.json"))
    assert not [path.name for path in published if str(ROOT) in path.read_text()], "no path of this machine"

    # The same command again tries what failed and nothing else; reports can be written again.
    before = {path: path.stat().st_mtime_ns for path in output.glob("*/*/model_final.pth")}
    assert len(before) == 3
    assert benchmark.main(arguments) == 1
    assert {path: path.stat().st_mtime_ns for path in output.glob("*/*/model_final.pth")} == before
    (output / "tables.md").unlink()
    assert benchmark.main(["report", "--output", str(output)]) == 0
    assert (output / "tables.md").read_text().count("## Table") == 2


def test_mistakes_are_told_in_one_line(told, tmp_path):
    assert "it has I, III, III+G, IV, V" in told("--tables", "VI")
    assert "EfficientNet-B0" in told("--rows", "EfficientNet-B9")
    assert "nowhere.yaml" in told("--suite", "nowhere.yaml")
    assert "MAX_ITER" in told("--scale", SMOKE, "--rows", "MobileNetV2", "SOLVER.MAX_ITERS", "3")
    assert "changes DISTILL.METHOD" in told("--scale", SMOKE, "--rows", "MGD", "DISTILL.METHOD", "Nobody")
    assert "different whole numbers" in told("--seeds", 1, 1)
    assert "--jobs is 0; give the number of runs at once, from 1 up" in told("--jobs", 0)
    assert "SEED" in told("SEED", 3)
    assert not Path("nowhere").exists()


def test_overrides_end_the_list_of_rows_or_seeds(benchmark):
    args = benchmark.parse_args(
        ["run", "--output", "x", "--rows", "MGD", "MedDet", "SOLVER.MAX_ITER", "3", "TEST.AUG", "1"]
    )
    assert args.rows == ["MGD", "MedDet"] and args.overrides == ["SOLVER.MAX_ITER", "3", "TEST.AUG", "1"]
    args = benchmark.parse_args(["run", "--output", "x", "--tables", "I", "--seeds", "1", "2", "SOLVER.BASE_LR", "0.1"])
    assert args.seeds == [1, 2] and args.overrides == ["SOLVER.BASE_LR", "0.1"]


def test_the_list_has_every_row_and_the_papers_figures(benchmark, capsys):
    assert benchmark.main(["list"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) == 2 + 26 + 4 and "configs/baselines/mgd.yaml" in text and "84.2" in text


def test_speed_of_some_parts(benchmark, tmp_path, capsys):
    student, teacher = (f"{ROOT}/configs/quickstart{name}.yaml" for name in ("", "/Base-Quickstart"))
    command = ["speed", "--output", str(tmp_path), "--student", student, "--nano", student, "--teacher", teacher]
    command += ["--size", "32", "--rounds", "3", "--device", "cpu", "--only", "networks"]
    assert benchmark.main(command) == 0
    text = capsys.readouterr().out
    assert "## On the CPU" in text and "batch_1.teacher_over_student" in text and "step" not in text
    content = json.loads((tmp_path / "speed.json").read_text())
    assert set(content["milliseconds"]) == {"batch_1"} and content["command"].endswith("--only networks")
    assert {path.name for path in tmp_path.iterdir()} == {"speed.json", "speed.md", "speed.png"}


def test_speed_on_what_is_not_there(benchmark, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert benchmark.main(["speed", "--output", str(tmp_path / "none"), "--device", "cuda"]) == 1
    assert "error: --device cuda: torch finds no GPU here" in capsys.readouterr().err
    assert benchmark.main(["speed", "--output", str(tmp_path / "none"), "--images", "0"]) == 1
    assert "--images is 0" in capsys.readouterr().err and not (tmp_path / "none").exists()


@pytest.fixture
def tiny_network(tmp_path, tiny_cfg):
    """The config and the checkpoint of an untrained network, on four phantoms."""
    cfg = tiny_cfg("DATASETS.PHANTOM.SEED", 77)
    (tmp_path / "tiny.yaml").write_text(cfg.dump())
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "tiny.pth")
    return str(tmp_path / "tiny.yaml"), str(tmp_path / "tiny.pth")


def test_robustness_of_a_checkpoint(benchmark, tmp_path, tiny_network, capsys):
    output = tmp_path / "output"
    command = ["robustness", "--output", str(output), "--corruptions", "motion", "--severities", "3"]
    command += ["--network", "tiny", *tiny_network]
    assert benchmark.main(command) == 0
    assert "| tiny  | 1   |" in capsys.readouterr().out
    files = {path.name for path in output.iterdir() if path.name != ".lock"}
    assert files == {f"robustness.{suffix}" for suffix in ("json", "csv", "md", "png")}
    content = json.loads((output / "robustness.json").read_text())
    assert list(content["networks"][0]["measured"]) == ["clean", "motion/3"]
    assert str(ROOT) not in (output / "robustness.json").read_text()
    before = content["networks"]
    assert benchmark.main(command) == 0
    assert json.loads((output / "robustness.json").read_text())["networks"] == before


def test_mistakes_of_robustness_are_told_in_one_line(benchmark, tmp_path, tiny_network, capsys, monkeypatch):
    def told(*arguments):
        assert benchmark.main(["robustness", "--output", str(tmp_path / "nowhere"), *arguments]) == 1
        (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("error: ")]
        return line

    config, weights = tiny_network
    assert "holds no benchmark" in told()
    assert not (tmp_path / "nowhere").exists()
    assert "give one kind" in told("--rows", "KD", "--network", "a", config, weights)
    assert "gone.pth does not exist" in told("--network", "a", config, str(tmp_path / "gone.pth"))
    assert "gone.yaml does not exist" in told("--network", "a", str(tmp_path / "gone.yaml"), weights)
    assert "no MRI noise 'fog'" in told("--corruptions", "fog", "--network", "a", config, weights)
    monkeypatch.setitem(sys.modules, "torchio", None)
    assert 'pip install -c constraints.txt -e ".[noise]"' in told("--network", "a", config, weights)

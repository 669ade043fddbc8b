"""The side-by-side timings: what is timed, and what is made of it. No test looks at how long anything took."""

import json

import pytest
from tiny_runs import ROOT

from meddet_d2.benchmark import speed
from meddet_d2.benchmark.result_plots import draw_speed

TINY = """
_BASE_: "{root}/configs/quickstart.yaml"
MODEL: {{BOTTOM_UP: {{NAME: mobilenetv2_035}}, FPN: {{OUT_CHANNELS: 16}}, GFL: {{CHANNELS: 16, NUM_CONVS: 1}}}}
"""
KEYS = {
    "nmode2": {"rk4_over_flow_map", "flow_map_over_sigmoid", "added_latency", "added_latency_onnx"},
    "student": {"eager_over_onnx", "default_layout_over_onnx", "onnx_over_int8"},
    "nano": {"student_onnx_over_nano_onnx", "smallest_teacher_over_nano"},
    "step": {
        "overhead",
        "share_student",
        "share_teachers",
        "share_distiller",
        "share_discriminator",
        "loader_over_step",
    },
}


@pytest.fixture
def configs(tmp_path):
    (tmp_path / "student.yaml").write_text(TINY.format(root=ROOT))
    return dict.fromkeys(("student", "nano", "teacher"), tmp_path / "student.yaml")


@pytest.fixture
def export_once(monkeypatch):
    """torch takes some ten seconds to write a network: each of the two kinds here once."""
    written, write = {}, speed.network_graph

    def network_graph(detector):
        key = len(list(detector.parameters()))
        if key not in written:
            written[key] = write(detector)
        return written[key]

    monkeypatch.setattr(speed, "network_graph", network_graph)


def test_all_of_it_is_timed_and_written(configs, export_once, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "MAP", (1, 4, 8, 8))
    monkeypatch.setattr(speed, "PAUSE", 0.0)
    report = speed.SpeedReport(rounds=3)
    speed.time_nmode2(report)
    speed.time_deployed(report, configs, 64)
    speed.time_step(report, configs["student"], 64, 2)
    text = speed.write(report, tmp_path, size=64, command="python tools/benchmark.py speed")
    draw_speed(report.to_json()["milliseconds"], tmp_path)
    content = json.loads((tmp_path / "speed.json").read_text())
    assert {group: set(content[group]) for group in KEYS} == KEYS
    milliseconds = content["milliseconds"]
    student, nano = milliseconds["student"]["student, ONNX"], milliseconds["nano"]["nano, ONNX"]
    assert content["nano"]["student_onnx_over_nano_onnx"] == pytest.approx(student["median"] / nano["median"])
    step = {name: call["median"] for name, call in milliseconds["step"].items()}
    parts = step["student alone"] + step["teachers' backbones and FPNs"]
    assert {"of it the discriminator", "loader, one process"} <= set(step)
    assert content["step"]["overhead"] == pytest.approx(step["distillation"] / parts)
    shares = [value for name, value in content["step"].items() if name.startswith("share_")]
    assert sum(shares) == pytest.approx(1)
    assert content["step"]["loader_over_step"] == pytest.approx(step["loader, one process"] / step["distillation"])
    for group in KEYS:
        for name in KEYS[group]:
            assert f"{group}.{name}" in text
    assert (tmp_path / "speed.md").read_text().startswith("Random weights, images of 64 x 64")
    assert (tmp_path / "speed.png").stat().st_size > 10_000


def test_another_device_has_groups_of_its_own(configs, monkeypatch):
    monkeypatch.setattr(speed, "MAP", (1, 2, 4, 4))
    monkeypatch.setattr(speed.torch, "compile", lambda function: function)
    report = speed.SpeedReport(rounds=3)
    # The CPU by a name that is not the plain one, for a GPU is not always there.
    speed.time_nmode2(report, "cpu:0")
    speed.time_eager(report, configs, 64, "cpu:0")
    speed.time_step(report, configs["student"], 64, 1, "cpu:0")
    assert set(report.ratios) == {"nmode2_cpu:0", "eager_cpu:0", "step_cpu:0"}
    assert set(report.ratios["eager_cpu:0"]) == {"added_latency", "nano_over_student", "teacher_over_student"}
    assert all(value > 0 for ratios in report.ratios.values() for name, value in ratios.items() if "share" not in name)


def test_without_a_compiler_the_ratio_is_missing_and_said_so(monkeypatch):
    def no_compiler(function):
        def call(*args):
            raise RuntimeError("no C++ compiler")

        return call

    monkeypatch.setattr(speed, "MAP", (1, 2, 4, 4))
    monkeypatch.setattr(speed.torch, "compile", no_compiler)
    report = speed.SpeedReport(rounds=3)
    speed.time_nmode2(report)
    assert report.ratios["nmode2"]["flow_map_over_sigmoid"] is None
    assert report.ratios["nmode2"]["rk4_over_flow_map"] > 0
    assert "nmode2.flow_map_over_sigmoid was not measured: torch.compile failed (no C++ compiler)" in report.tables()

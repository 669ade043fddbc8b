"""The side-by-side timings: what is timed, and what is made of it. No test looks at how long anything took."""

import json

import pytest
from tiny_runs import ROOT

from meddet_d2.benchmark import speed

MODEL = "{BOTTOM_UP: {NAME: mobilenetv2_035}, FPN: {OUT_CHANNELS: 16}, GFL: {CHANNELS: 16, NUM_CONVS: 1}}"
STUDENT = f"""
_BASE_: "{ROOT}/configs/quickstart.yaml"
MODEL: {MODEL}
DISTILL: {{TEACHERS: {{CONFIGS: [teacher.yaml], WEIGHTS: [teacher.pth]}}}}
"""
TEACHER = f"""
_BASE_: "{ROOT}/configs/quickstart/Base-Quickstart.yaml"
MODEL: {MODEL}
"""


@pytest.fixture
def configs(tmp_path):
    (tmp_path / "student.yaml").write_text(STUDENT)
    (tmp_path / "teacher.yaml").write_text(TEACHER)
    return {
        "student": tmp_path / "student.yaml",
        "nano": tmp_path / "student.yaml",
        "teacher": tmp_path / "teacher.yaml",
    }


@pytest.fixture
def report(monkeypatch):
    monkeypatch.setattr(speed, "MAP", (1, 2, 4, 4))
    monkeypatch.setattr(speed, "PAUSE", 0.0)
    return speed.SpeedReport(rounds=3)


@pytest.fixture
def export_once(monkeypatch):
    """torch takes some ten seconds to write a network: each of the kinds here once."""
    written, write = {}, speed.network_graph

    def network_graph(detector):
        key = len(list(detector.parameters()))
        if key not in written:
            written[key] = write(detector)
        return written[key]

    monkeypatch.setattr(speed, "network_graph", network_graph)


def medians(report, group):
    return {name: call["median"] for name, call in report.to_json()["milliseconds"][group].items()}


@pytest.mark.slow
def test_nmode2_is_timed_against_its_solver_and_compiled(report):
    speed.time_nmode2(report)
    assert set(report.ratios["nmode2"]) == {"rk4_over_flow_map", "flow_map_over_sigmoid"} and not report.notes
    times = medians(report, "nmode2")
    expected = times["flow map, compiled"] / times["sigmoid, compiled"]
    assert report.ratios["nmode2"]["flow_map_over_sigmoid"] == pytest.approx(expected)


@pytest.mark.slow
def test_deployed_networks_are_timed_in_one_round(report, configs, export_once):
    speed.time_deployed(report, configs, 64)
    assert {group: set(ratios) for group, ratios in report.ratios.items()} == {
        "nmode2": {"added_latency", "added_latency_onnx"},
        "student": {"eager_over_onnx", "default_layout_over_onnx", "onnx_over_int8"},
        "nano": {"student_onnx_over_nano_onnx", "smallest_teacher_over_nano"},
    }
    student, nano = medians(report, "student"), medians(report, "nano")
    assert nano == {name: student[name] for name in ("student, ONNX", "teacher, ONNX", "nano, ONNX")}
    assert len(student) == 8 and all(value > 0 for value in student.values())
    expected = student["student, ONNX"] / student["nano, ONNX"]
    assert report.ratios["nano"]["student_onnx_over_nano_onnx"] == pytest.approx(expected)


def test_a_step_is_timed_with_its_parts(report, configs):
    speed.time_step(report, configs["student"], 64, 2)
    ratios, step = report.ratios["step"], medians(report, "step")
    parts = step["student alone"] + step["teachers' backbones and FPNs"]
    assert ratios["overhead"] == pytest.approx(step["distillation"] / parts)
    assert ratios["share_discriminator"] == pytest.approx(step["of it the discriminator"] / step["distillation"])
    shares = {name: value for name, value in ratios.items() if name.startswith("share_")}
    assert set(shares) == {"share_student", "share_teachers", "share_distiller", "share_discriminator"}
    assert sum(shares.values()) == pytest.approx(1)
    assert ratios["loader_over_step"] == pytest.approx(step["loader, one process"] / step["distillation"])


def test_the_method_says_what_is_timed_alone(report, tmp_path, configs):
    """Without a discriminator MedDet has nothing to show."""
    (tmp_path / "plain.yaml").write_text(f"{STUDENT.rstrip()[:-1]}, MEDDET: {{AATM: {{ENABLED: False}}}}}}\n")
    speed.time_step(report, tmp_path / "plain.yaml", 64, 1)
    assert {"share_student", "share_teachers", "share_distiller"} < set(report.ratios["step"])
    assert "share_discriminator" not in report.ratios["step"]
    assert "of it the discriminator" not in medians(report, "step")


def test_another_device_has_groups_of_its_own(report, configs, monkeypatch):
    monkeypatch.setattr(speed.torch, "compile", lambda function: function)
    # The CPU by a name that is not the plain one, for a GPU is not always there.
    speed.time_nmode2(report, "cpu:0")
    speed.time_eager(report, configs, 64, "cpu:0")
    speed.time_step(report, configs["student"], 64, 1, "cpu:0")
    assert set(report.ratios) == {"nmode2_cpu:0", "eager_cpu:0", "step_cpu:0"}
    assert set(report.ratios["eager_cpu:0"]) == {"added_latency", "nano_over_student", "teacher_over_student"}
    assert all(value > 0 for ratios in report.ratios.values() for name, value in ratios.items() if "share" not in name)


def test_without_a_compiler_the_ratio_is_missing_and_said_so(report, monkeypatch):
    def no_compiler(function):
        def call(*args):
            raise RuntimeError("no C++ compiler")

        return call

    monkeypatch.setattr(speed.torch, "compile", no_compiler)
    speed.time_nmode2(report)
    assert report.ratios["nmode2"]["flow_map_over_sigmoid"] is None
    assert report.ratios["nmode2"]["rk4_over_flow_map"] > 0
    assert "nmode2.flow_map_over_sigmoid was not measured: torch.compile failed (no C++ compiler)" in report.tables()


def test_the_files_hold_ratios_and_quartiles(report, tmp_path):
    report.seconds = {"nmode2": {"flow map": [0.001, 0.002, 0.003], "rk4": [0.02, 0.04, 0.06]}}
    report.ratio("nmode2", "rk4_over_flow_map", "rk4", "flow map")
    report.ratio("step", "borrowed", "flow map", "rk4", timed_in="nmode2")
    text = speed.write(report, tmp_path, size=64, command="python tools/benchmark.py speed")
    content = json.loads((tmp_path / "speed.json").read_text())
    assert content["nmode2"] == {"rk4_over_flow_map": 20.0} and content["step"] == {"borrowed": 0.05}
    assert content["milliseconds"]["nmode2"]["rk4"] == {"median": 40.0, "low": 30.0, "high": 50.0}
    assert content["rounds"] == 3 and content["command"] == "python tools/benchmark.py speed"
    page = (tmp_path / "speed.md").read_text()
    assert page.startswith("Random weights, images of 64 x 64") and "onnxruntime" in page.splitlines()[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["nmode2.rk4_over_flow_map", "20.00"] in lines and ["nmode2", "rk4", "40.00", "30.00 to 50.00"] in lines
    assert text in page and "```bash\npython tools/benchmark.py speed\n```" in page
    assert (tmp_path / "speed.png").stat().st_size > 10_000

"""A step of distillation: what is timed beside it, and what is made of it."""

import pytest

from meddet_d2.benchmark.speed import step_speed


def test_a_step_is_timed_with_its_parts(report, cpu, medians):
    step_speed.time_step(report, cpu)
    ratios, step = report.ratios["step"], medians(report, "step")
    parts = step["student alone"] + step["teachers' backbones and FPNs"]
    assert ratios["overhead"] == pytest.approx(step["distillation"] / parts)
    assert ratios["share_discriminator"] == pytest.approx(step["of it the discriminator"] / step["distillation"])
    shares = {name: value for name, value in ratios.items() if name.startswith("share_")}
    assert set(shares) == {"share_student", "share_teachers", "share_distiller", "share_discriminator"}
    assert sum(shares.values()) == pytest.approx(1)
    assert ratios["loader_over_step"] == pytest.approx(step["loader, one process"] / step["distillation"])
    assert not report.notes and "over_floors" not in ratios


def test_the_method_says_what_is_timed_alone(report, cpu):
    """Without a discriminator MedDet has nothing to show."""
    config = cpu.configs["student"]
    config.write_text(f"{config.read_text().replace('DISTILL: {', 'DISTILL: {MEDDET: {AATM: {ENABLED: False}}, ')}")
    step_speed.time_step(report, cpu)
    assert {"share_student", "share_teachers", "share_distiller"} < set(report.ratios["step"])
    assert "share_discriminator" not in report.ratios["step"]
    assert "of it the discriminator" not in report.seconds["step"]


def test_a_gpus_step_stands_over_its_floors(report, gpu, medians):
    step_speed.time_step(report, gpu)
    group = "step_cpu:0"
    times, ratios = medians(report, group), report.ratios[group]
    # The student trains in the device's half, if it has one.
    floors = times["student's network both ways, bf16, graph"] + times["teachers' networks, graph"]
    assert ratios["over_floors"] == pytest.approx(times["distillation"] / floors)
    fp32 = "student's network both ways, fp32"
    assert ratios["eager_over_graph_fp32"] == pytest.approx(times[f"{fp32}, eager"] / times[f"{fp32}, graph"])
    assert {"overhead", "eager_over_graph_bf16", "eager_over_graph_teachers"} < set(ratios) and not report.notes


def test_a_compiled_step_stands_over_the_same_floors(report, gpu, medians, monkeypatch):
    compiled = []
    monkeypatch.setattr(step_speed, "missing_compiler", lambda device: "")
    monkeypatch.setattr("torch.compile", lambda function: compiled.append(function) or function)
    step_speed.time_compiled_step(report, gpu)
    times, ratios = medians(report, "compiled_cpu:0"), report.ratios["compiled_cpu:0"]
    # Backbone and head of the student and of its teacher, once.
    assert len(compiled) == 4 and not report.notes
    assert ratios["eager_over_compiled"] == pytest.approx(times["distillation, eager"] / times["distillation"])
    assert ratios["over_floors"] > 0


def test_without_a_compiler_nothing_passes_for_compiled(report, gpu, monkeypatch):
    monkeypatch.setattr(step_speed, "missing_compiler", lambda device: "C++ compiler (g++)")
    step_speed.time_compiled_step(report, gpu)
    (note,) = report.notes
    assert not report.seconds and "compiled_cpu:0 was not measured" in note and "C++ compiler" in note

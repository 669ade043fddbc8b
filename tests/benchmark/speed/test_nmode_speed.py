"""nmODE^2 against its solver and, compiled, against sigmoid. No test looks at how long anything took."""

import pytest

from meddet_d2.benchmark.speed import nmode_speed


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(nmode_speed, "MAP", (1, 2, 4, 4))


@pytest.mark.slow
def test_it_is_timed_against_its_solver_and_compiled(report, cpu, medians):
    nmode_speed.time_nmode2(report, cpu)
    assert set(report.ratios["nmode2"]) == {"rk4_over_flow_map", "flow_map_over_sigmoid"} and not report.notes
    times = medians(report, "nmode2")
    expected = times["flow map, compiled"] / times["sigmoid, compiled"]
    assert report.ratios["nmode2"]["flow_map_over_sigmoid"] == pytest.approx(expected)


def test_without_a_compiler_the_ratio_is_missing_and_said_so(report, gpu, monkeypatch):
    def no_compiler(function):
        def call(*args):
            raise RuntimeError("no C++ compiler")

        return call

    monkeypatch.setattr(nmode_speed.torch, "compile", no_compiler)
    nmode_speed.time_nmode2(report, gpu)
    assert report.ratios["nmode2_cpu:0"]["flow_map_over_sigmoid"] is None
    assert report.ratios["nmode2_cpu:0"]["rk4_over_flow_map"] > 0
    (note,) = report.notes
    assert "nmode2_cpu:0.flow_map_over_sigmoid" in note and "(no C++ compiler)" in note

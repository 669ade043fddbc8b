"""Networks by number of images: what is timed, with and without graphs, and what is made of it."""

import pytest

from meddet_d2.benchmark.speed.network_speed import time_networks

NETWORKS = ("student", "student without nmODE2", "teacher", "nano")


def test_a_cpu_has_eager_networks_and_predictions(report, cpu, medians):
    time_networks(report, cpu)
    assert not report.notes and set(report.ratios) == {"batch_1"}
    times = medians(report, "batch_1")
    assert set(times) == {f"{name}, {what}" for name in NETWORKS for what in ("network, fp32, eager", "prediction")}
    ratios = report.ratios["batch_1"]
    expected = times["student, prediction"] / times["student, network, fp32, eager"]
    assert ratios["student_prediction_over_network"] == pytest.approx(expected)
    assert {"added_latency", "nano_over_student", "teacher_over_student"} < set(ratios)
    assert not [name for name in ratios if "floor" in name or "graph" in name]


def test_a_gpu_has_graphs_and_floors(report, gpu, medians, recorded):
    time_networks(report, gpu)
    assert not report.notes and set(report.ratios) == {"batch_1_cpu:0", "batch_2_cpu:0"}
    times, ratios = medians(report, "batch_2_cpu:0"), report.ratios["batch_2_cpu:0"]
    for name in NETWORKS:
        assert {f"{name}, network, {p}, {way}" for p in ("fp32", "bf16") for way in ("eager", "graph")} < set(times)
        assert f"{name}, prediction, MODEL.CUDA_GRAPHS" in times
    # Of each network its two formats, and its prediction's.
    assert recorded.count([(2, 3, 64, 64)]) == 3 * len(NETWORKS) == recorded.count([(1, 3, 64, 64)])
    floor = times["nano, network, fp32, graph"]
    graphs = times["nano, prediction, MODEL.CUDA_GRAPHS"]
    assert ratios["nano_graphs_over_floor"] == pytest.approx(graphs / floor)
    assert ratios["nano_prediction_over_floor"] == pytest.approx(times["nano, prediction"] / floor)
    added = times["student, network, bf16, graph"] / times["student without nmODE2, network, bf16, graph"]
    assert ratios["added_latency_graph_bf16"] == pytest.approx(added)
    assert ratios["student_without_nmODE2_eager_over_graph_bf16"] > 0
    rates = report.to_json()["images_per_second"]["batch_2_cpu:0"]
    assert rates["nano, prediction"] == pytest.approx(2000 / times["nano, prediction"])

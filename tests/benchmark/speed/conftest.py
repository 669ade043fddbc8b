"""Tiny networks to measure, on the CPU, and on a CPU that stands for a GPU."""

import pytest
import torch
from tiny_runs import ROOT

from meddet_d2.benchmark.speed import Setup, SpeedReport, network_speed, timed_networks
from meddet_d2.hardware.cuda_graphs import GraphedNetwork

MODEL = "{BOTTOM_UP: {NAME: test_efficientnet}, FPN: {OUT_CHANNELS: 16}, GFL: {CHANNELS: 16, NUM_CONVS: 1}}"
STUDENT = f"""
_BASE_: "{ROOT}/configs/quickstart.yaml"
MODEL: {MODEL}
DISTILL: {{TEACHERS: {{CONFIGS: [teacher.yaml], WEIGHTS: [teacher.pth]}}}}
INPUT: {{MIN_SIZE_TRAIN: [64]}}
"""
TEACHER = f"""
_BASE_: "{ROOT}/configs/quickstart/Base-Quickstart.yaml"
MODEL: {MODEL}
"""


@pytest.fixture
def configs(tmp_path):
    (tmp_path / "student.yaml").write_text(STUDENT)
    (tmp_path / "teacher.yaml").write_text(TEACHER)
    return {name: tmp_path / f"{name}.yaml" for name in ("student", "teacher")} | {"nano": tmp_path / "student.yaml"}


@pytest.fixture
def cpu(configs):
    return Setup(configs, 64, step_images=2)


@pytest.fixture
def recorded(monkeypatch):
    """What was recorded, by functions in place of CUDA's: each of their calls runs the function again."""
    found = []

    def record(function, *inputs):
        function(*inputs)
        found.append([tuple(given.shape) for given in inputs])
        return function

    def graph_network(detector, sizes):
        detector.network = GraphedNetwork(detector.network, sizes, recorder=record)

    monkeypatch.setattr(timed_networks, "record", record)
    monkeypatch.setattr(network_speed, "graph_network", graph_network)
    return found


@pytest.fixture
def gpu(configs, recorded):
    """What a GPU is measured by, on the CPU by a name that is not the plain one."""
    return Setup(configs, 64, "cpu:0", (1, 2), step_images=2, half=torch.bfloat16, graphs=True)


@pytest.fixture
def report():
    return SpeedReport(rounds=3)


@pytest.fixture
def medians():
    """``medians(report, group)``: milliseconds by call."""
    return lambda report, group: {
        name: call["median"] for name, call in report.to_json()["milliseconds"][group].items()
    }

"""On what is measured: devices, number formats, graphs that cannot be recorded."""

import pytest
import torch

from meddet_d2.benchmark.speed import timed_networks
from meddet_d2.benchmark.speed.timed_networks import Setup, network_alone


@pytest.mark.parametrize("error", [RuntimeError, torch.cuda.OutOfMemoryError])
def test_what_cannot_be_recorded_has_a_note_and_the_rest_goes_on(report, gpu, monkeypatch, error):
    def record(function, *inputs):
        raise error("operation not permitted when stream is capturing\nand more")

    monkeypatch.setattr(timed_networks, "record", record)
    calls = timed_networks.with_graph(report, gpu, "batch_1", "student", torch.neg, torch.ones(2))
    assert list(calls) == ["student, eager"] and torch.equal(calls["student, eager"](), -torch.ones(2))
    (note,) = report.notes
    assert "batch_1, student, graph," in note and "\n" not in note
    assert ("memory" if error is torch.cuda.OutOfMemoryError else "(operation not permitted when stream") in note


def test_formats_are_by_name_and_reach_the_network(gpu, cpu):
    assert gpu.precisions == {"fp32": torch.float32, "bf16": torch.bfloat16} and list(cpu.precisions) == ["fp32"]
    detector, images = gpu.detector("nano"), torch.zeros(1, 3, 64, 64)
    for dtype in gpu.precisions.values():
        assert network_alone(detector, dtype, gpu.device)(images)[0].dtype == dtype


def test_a_device_that_is_not_here_is_one_line(configs, monkeypatch):
    assert Setup.on("cpu", configs, 64) == Setup(configs, 64)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"--device cuda: .* give cpu"):
        Setup.on("cuda", configs, 64)


@pytest.mark.parametrize("capability, half", [((9, 0), torch.bfloat16), ((7, 5), torch.float16), ((6, 1), None)])
def test_a_gpu_gets_more_images_and_its_own_half(configs, monkeypatch, capability, half):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    setup = Setup.on("cuda", configs, 512)
    assert setup == Setup(configs, 512, "cuda", (1, 8, 32), 16, half, graphs=True)
    assert Setup.on("cuda", configs, 512, 4).step_images == 4

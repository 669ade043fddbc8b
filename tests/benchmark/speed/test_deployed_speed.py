"""Exported networks, written by torch and timed by onnxruntime."""

import pytest
from onnx import TensorProto, helper

from meddet_d2.benchmark.speed import deployed_speed
from meddet_d2.evaluation.timing import noise_batch


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(deployed_speed, "PAUSE", 0.0)


@pytest.fixture
def small_export(monkeypatch):
    """A model of one operator in place of a detector's."""
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, (1, 3, 64, 64))
    found = helper.make_tensor_value_info("found", TensorProto.UINT8, (1, 3, 64, 64))
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["found"])], "small", [images], [found])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    monkeypatch.setattr(deployed_speed, "_exported", lambda config: model.SerializeToString())


@pytest.mark.slow
def test_deployed_networks_are_timed_in_one_round(report, cpu, medians, monkeypatch):
    # Each network is written once: torch takes some ten seconds.
    written, write = {}, deployed_speed.network_graph

    def network_graph(detector):
        key = len(list(detector.parameters()))
        if key not in written:
            written[key] = write(detector)
        return written[key]

    monkeypatch.setattr(deployed_speed, "network_graph", network_graph)
    deployed_speed.time_deployed(report, cpu)
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


def test_a_provider_has_a_group_for_its_device(report, gpu, medians, small_export):
    deployed_speed.time_with_provider(report, gpu, "CPUExecutionProvider")
    times = medians(report, "onnx_cpu:0")
    assert set(times) == {f"{name}, {way}" for name in ("student", "teacher", "nano") for way in ("eager", "ONNX")}
    expected = times["nano, eager"] / times["nano, ONNX"]
    assert report.ratios["onnx_cpu:0"]["nano_eager_over_onnx"] == pytest.approx(expected) and not report.notes


def test_a_provider_that_is_not_there_is_told(report, gpu):
    deployed_speed.time_with_provider(report, gpu, "SomeExecutionProvider")
    (note,) = report.notes
    assert not report.seconds and "no SomeExecutionProvider" in note and "onnxruntime-gpu" in note


def test_a_provider_whose_libraries_are_missing_is_told(report, gpu, small_export, monkeypatch):
    """onnxruntime takes the CPU then, and says so in its log alone."""
    monkeypatch.setattr(deployed_speed.onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    deployed_speed.time_with_provider(report, gpu, "CUDAExecutionProvider")
    (note,) = report.notes
    assert not report.seconds and "could not load CUDAExecutionProvider" in note


def test_torchs_default_layout_is_that_of_images_and_weights(cpu):
    detector, seen = cpu.detector("student"), []
    plain = deployed_speed._channels_first(detector)
    for network in (detector, plain):
        network.backbone.bottom_up.register_forward_pre_hook(lambda module, images: seen.append(images[0]))
        network(noise_batch(64))
    assert [images.is_contiguous() for images in seen] == [False, True]
    assert all(weight.is_contiguous() for weight in plain.parameters())
    assert not all(weight.is_contiguous() for weight in detector.parameters())

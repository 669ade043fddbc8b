"""Exported networks against eager ones: on the CPU also in int8, on a GPU where onnxruntime has its provider."""

import copy
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from meddet_d2.deploy.gfl_export import detector_graph, network_graph
from meddet_d2.deploy.opened_detector import GPU_PROVIDER
from meddet_d2.deploy.quantize import quantized
from meddet_d2.evaluation.timing import noise_batch

from .speed_report import SpeedReport
from .timed_networks import PLAIN, Setup

CPU_PROVIDER = "CPUExecutionProvider"
# Seconds between torch and onnxruntime. Without them a call of torch after one of onnxruntime took 1.4 times as long.
PAUSE = 0.2
# Ratios of the deployed networks: group and name, dividend and divisor.
DEPLOYED = (
    ("nmode2", "added_latency", "student, eager", "student without nmODE2, eager"),
    ("nmode2", "added_latency_onnx", "student, ONNX", "student without nmODE2, ONNX"),
    ("student", "eager_over_onnx", "student, eager", "student, ONNX"),
    ("student", "default_layout_over_onnx", "student, eager in torch's default layout", "student, ONNX"),
    ("student", "onnx_over_int8", "student, ONNX", "student, ONNX int8"),
    ("nano", "student_onnx_over_nano_onnx", "student, ONNX", "nano, ONNX"),
    ("nano", "smallest_teacher_over_nano", "teacher, ONNX", "nano, ONNX"),
)


def time_deployed(report: SpeedReport, setup: Setup) -> None:
    """Fill "student" and "nano" and more of "nmode2" on the CPU, and "onnx_cuda" on a GPU."""
    if torch.device(setup.device).type == "cpu":
        _time_on_cpu(report, setup)
    else:
        time_with_provider(report, setup, GPU_PROVIDER)


def time_with_provider(report: SpeedReport, setup: Setup, provider: str) -> None:
    """Fill the group "onnx": student, nano and teacher, eager and exported, one image; a note if it has no provider."""
    group = report.group("onnx", setup.device)
    if provider not in onnxruntime.get_available_providers():
        report.notes.append(
            f"{group} was not measured: onnxruntime {onnxruntime.__version__} has no {provider}; "
            "onnxruntime-gpu has it."
        )
        return
    batch, calls = noise_batch(setup.size), {}
    # What the first one has no kernel for, the CPU computes.
    providers = list(dict.fromkeys((provider, CPU_PROVIDER)))
    for name in setup.configs:
        session = onnxruntime.InferenceSession(_exported(setup.configs[name]), providers=providers)
        if session.get_providers()[0] != provider:
            report.notes.append(f"{group} was not measured: onnxruntime could not load {provider}'s libraries.")
            return
        calls[f"{name}, eager"] = _eager(setup.detector(name), batch)
        calls[f"{name}, ONNX"] = _run(session, batch)
    report.time(group, calls, pause=PAUSE, prime=True)
    for name in setup.configs:
        report.ratio(group, f"{name}_eager_over_onnx", f"{name}, eager", f"{name}, ONNX")


def _time_on_cpu(report: SpeedReport, setup: Setup) -> None:
    """The student eager, exported and in int8, with and without nmODE^2; and the light student and a teacher."""
    batch, configs = noise_batch(setup.size), setup.configs

    def session(model: bytes) -> Callable[[], object]:
        return _run(onnxruntime.InferenceSession(model, providers=[CPU_PROVIDER]), batch)

    student, plain = setup.detector("student"), setup.detector("student", *PLAIN)
    int8 = detector_graph(student, quantized(_network(configs["student"]), _noise_inputs(student, setup.size)))
    calls = {
        "student, eager": _eager(student, batch),
        "student, eager in torch's default layout": _eager(_channels_first(student), batch),
        "student without nmODE2, eager": _eager(plain, batch),
        "student, ONNX": session(_exported(configs["student"])),
        "student without nmODE2, ONNX": session(_exported(configs["student"], *PLAIN)),
        "student, ONNX int8": session(int8.SerializeToString()),
        "teacher, ONNX": session(_exported(configs["teacher"])),
        "nano, ONNX": session(_exported(configs["nano"])),
    }
    report.time(report.group("student", setup.device), calls, pause=PAUSE, prime=True)
    for name in dict.fromkeys(group for group, *_ in DEPLOYED):
        report.group(name, setup.device)
    for group, ratio, dividend, divisor in DEPLOYED:
        report.ratio(group, ratio, dividend, divisor, timed_in="student")
    # The light student's group shows its figures once more, side by side with the others exported.
    names = [f"{name}, ONNX" for name in ("student", "teacher", "nano")]
    report.seconds["nano"] = {name: report.seconds["student"][name] for name in names}


@cache
def _network(config: Path, *overrides: Any) -> onnx.ModelProto:
    """Written once for a process; torch takes some ten seconds."""
    return network_graph(Setup({"": config}).detector("", *overrides))


def _exported(config: Path, *overrides: Any) -> bytes:
    """A config's detector as a model for onnxruntime."""
    detector = Setup({"": config}).detector("", *overrides)
    return detector_graph(detector, _network(config, *overrides)).SerializeToString()


def _run(session: onnxruntime.InferenceSession, batch: list[dict]) -> Callable[[], object]:
    return partial(session.run, None, {"images": batch[0]["image"].numpy()[None]})


def _eager(detector: nn.Module, batch: list[dict]) -> Callable[[], object]:
    return torch.inference_mode()(partial(detector, batch))


def _channels_first(detector: Any) -> nn.Module:
    """The same weights, which lie in memory as torch makes tensors, and so do its images: channels first."""
    detector = copy.deepcopy(detector).to(memory_format=torch.contiguous_format)
    detector.backbone.register_forward_pre_hook(lambda module, images: (images[0].contiguous(),))
    return detector


def _noise_inputs(detector: Any, size: int, images: int = 4) -> Iterator[dict[str, np.ndarray]]:
    for seed in range(images):
        inputs = noise_batch(size, seed=seed)
        yield {"normalised": detector.preprocess_image(inputs).tensor.contiguous().numpy()}

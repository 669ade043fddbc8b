"""What all parts of the speed benchmark share: on what they measure, and networks of random weights to measure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from meddet_d2.config import load_config
from meddet_d2.distillation.tasks import task_of
from meddet_d2.evaluation.timing import noise_batch
from meddet_d2.hardware.cuda_graphs import record
from meddet_d2.hardware.precision import PRECISIONS, choose_precision

from .speed_report import SpeedReport

# The student without its nmODE^2.
PLAIN = ("MODEL.NMODE.KIND", "none")


@dataclass(frozen=True)
class Setup:
    """On what is measured.

    Args:
        configs: the yaml of "student", a distillation, of "nano" and of "teacher".
        size: height and width of the images in pixels.
        device: "cpu" or "cuda".
        batches: numbers of images in one call of a network.
        step_images: those of a training step.
        half: number format to measure networks in besides fp32; None: fp32 alone.
        graphs: also measure CUDA graphs.
    """

    configs: Mapping[str, Path]
    size: int = 512
    device: str = "cpu"
    batches: tuple[int, ...] = (1,)
    step_images: int = 8
    half: torch.dtype | None = None
    graphs: bool = False

    @classmethod
    def on(cls, device: str, configs: Mapping[str, Path], size: int, step_images: int | None = None) -> "Setup":
        """What suits a device: a CPU gets what it does in a few minutes.

        Raises:
            ValueError: there is no such device, or no image.
        """
        for option, given in (("--size", size), ("--images", step_images)):
            if given is not None and given < 1:
                raise ValueError(f"{option} is {given}; give at least 1.")
        if torch.device(device).type == "cpu":
            return cls(configs, size, device, step_images=step_images or 8)
        if not torch.cuda.is_available():
            raise ValueError(f"--device {device}: torch finds no GPU here; give cpu.")
        half = choose_precision("auto", device).dtype
        return cls(configs, size, device, (1, 8, 32), step_images or 16, half, graphs=True)

    @property
    def precisions(self) -> dict[str, torch.dtype]:
        """Number formats by name."""
        half = {name: dtype for name, dtype in PRECISIONS.items() if dtype is not None and dtype == self.half}
        return {"fp32": torch.float32, **half}

    def config(self, network: str, *overrides: Any) -> Any:
        """The config of one of the networks, without pretrained weights."""
        fixed = ["MODEL.BOTTOM_UP.PRETRAINED", False, "MODEL.DEVICE", self.device]
        return load_config(str(self.configs[network]), [*fixed, *overrides])

    def detector(self, network: str, *overrides: Any) -> Any:
        """One of the networks, to predict with."""
        torch.manual_seed(0)
        return build_model(self.config(network, *overrides)).eval()

    def detectors(self) -> dict[str, Any]:
        """The student with and without nmODE^2, and the others."""
        plain = self.detector("student", *PLAIN)
        return {"student": self.detector("student"), "student without nmODE2": plain} | {
            name: self.detector(name) for name in self.configs if name != "student"
        }


def annotated_batch(size: int, images: int) -> list[dict]:
    """Images of noise to train on, with a column of discs each, as cervical images have them."""
    return [{**inputs, "instances": _discs(size)} for inputs in noise_batch(size, images)]


def network_alone(detector: nn.Module, dtype: torch.dtype, device: str) -> Callable[[Tensor], Any]:
    """Everything between normalised images (N, 3, H, W) and decoding, in a number format, without gradients."""
    outputs = partial(task_of(detector).raw_outputs, detector)

    @torch.inference_mode()
    def call(images: Tensor) -> Any:
        with autocast(dtype, device):
            return outputs(images)

    return call


def autocast(dtype: torch.dtype, device: str) -> torch.autocast:
    """For the network alone; a recording may not keep cast weights of an earlier call."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=dtype, enabled=dtype != torch.float32, cache_enabled=False)


def with_graph(
    report: SpeedReport, setup: Setup, group: str, name: str, function: Callable[..., Any], *inputs: Tensor
) -> dict[str, Callable[[], object]]:
    """Calls to time: a function as it is, and as a CUDA graph where ``setup`` wants one and it can be recorded.

    Returns:
        ``{"name, eager": ..., "name, graph": ...}``; a note of the report says why there is no graph.
    """
    calls: dict[str, Callable[[], object]] = {f"{name}, eager": partial(function, *inputs)}
    if setup.graphs:
        with report.allowing_failure(f"{group}, {name}, graph,"):
            try:
                calls[f"{name}, graph"] = partial(record(function, *inputs), *inputs)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                report.notes.append(f"{group}, {name}, graph, was not measured: it cannot be recorded ({reason}).")
    return calls


def _discs(size: int, count: int = 6) -> Instances:
    """42 x 18 of 512 pixels each."""
    tops = torch.linspace(0.15, 0.8, count) * size
    width, height = 42 / 512 * size, 18 / 512 * size
    left = torch.full((count,), 0.45 * size)
    instances = Instances((size, size))
    instances.gt_boxes = Boxes(torch.stack([left, tops, left + width, tops + height], dim=1))
    instances.gt_classes = torch.arange(count) % 2
    return instances

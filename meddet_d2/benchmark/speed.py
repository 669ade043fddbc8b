"""What the parts cost, side by side: nmODE^2, the exported student, the light student, a step of distillation.

Everything is timed in one run and in rounds (evaluation/timing.py), so that each ratio is of two medians under the same
drift of the machine. Weights are random: they do not change what is computed, but for the few boxes that NMS sees.
"""

import copy
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image
from torch import Tensor, nn

from detectron2.modeling import build_model
from detectron2.structures import Boxes, BoxMode, Instances
from meddet_d2.config import load_config
from meddet_d2.data import MedDetDatasetMapper
from meddet_d2.deploy.gfl_export import detector_graph, network_graph
from meddet_d2.deploy.quantize import quantized
from meddet_d2.distillation import DistillationModel, TeacherBank, build_distiller
from meddet_d2.engine.guards import FiniteGuard
from meddet_d2.engine.optimizer import build_optimizer
from meddet_d2.evaluation.timing import interleaved_seconds, noise_batch, quartiles
from meddet_d2.modeling.nmode.flow_map import flow_map, flow_table
from meddet_d2.modeling.nmode.nmode_solvers import odeint_solve

from .report_parts import table, write_timing
from .result_plots import draw_speed

# The map of the ratios of nmODE^2: P3 of an image of 512 x 512.
MAP = (1, 256, 64, 64)
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


class SpeedReport:
    """Seconds of timed calls, by group and name, and the ratios of their medians."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.seconds: dict[str, dict[str, list[float]]] = {}
        self.ratios: dict[str, dict[str, float | None]] = {}
        self.notes: list[str] = []

    def time(self, group: str, calls: Mapping[str, Callable[[], object]], **options: Any) -> None:
        """Time some calls of a group in rounds, with options of :func:`interleaved_seconds`."""
        self.seconds.setdefault(group, {}).update(interleaved_seconds(calls, rounds=self.rounds, **options))

    def median(self, group: str, name: str) -> float:
        """Seconds of one call."""
        return statistics.median(self.seconds[group][name])

    def ratio(self, group: str, name: str, dividend: str, divisor: str, timed_in: str = "") -> None:
        """Keep the ratio of two medians of a group, or of the group ``timed_in``, under ``group.name``."""
        medians = [self.median(timed_in or group, call) for call in (dividend, divisor)]
        self.ratios.setdefault(group, {})[name] = medians[0] / medians[1]

    def to_json(self) -> dict[str, Any]:
        """The ratios by group, and under "milliseconds" the median and the quartiles of every call."""
        spread = {
            group: {name: quartiles([1000 * value for value in values]) for name, values in calls.items()}
            for group, calls in self.seconds.items()
        }
        return {**self.ratios, "milliseconds": spread, "rounds": self.rounds, "notes": self.notes}

    def tables(self) -> str:
        """Both tables as markdown."""
        ratios = [
            {"ratio of medians": f"{group}.{name}", "value": "not measured" if value is None else f"{value:.2f}"}
            for group, values in self.ratios.items()
            for name, value in values.items()
        ]
        times = [
            {
                "part": group,
                "call": name,
                "ms": f"{ms['median']:.2f}",
                "(quartiles)": f"{ms['low']:.2f} to {ms['high']:.2f}",
            }
            for group, calls in self.to_json()["milliseconds"].items()
            for name, ms in calls.items()
        ]
        return "\n\n".join([table(ratios), table(times), *self.notes])


def time_nmode2(report: SpeedReport, device: str = "cpu") -> None:
    """nmODE^2 forward and backward: its flow map against torchdiffeq's RK4 and, compiled, against sigmoid.

    The report gets the group "nmode2", or of another device "nmode2_cuda" or as it is called.
    """
    group = _group("nmode2", device)
    generator = torch.Generator().manual_seed(0)
    gamma = (torch.randn(MAP, generator=generator) * 2).to(device).requires_grad_()
    upstream = torch.randn(MAP, generator=generator).to(device)
    solved = flow_table("nmode2", 1.0).to(device)

    def both_ways(function: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function(gamma), gamma, upstream)

    solve = both_ways(lambda x: odeint_solve(x, method="rk4", steps=4))
    report.time(group, {"torchdiffeq rk4, 4 steps": solve, "flow map": both_ways(lambda x: flow_map(x, solved))})
    report.ratio(group, "rk4_over_flow_map", "torchdiffeq rk4, 4 steps", "flow map")
    compiled = {
        "flow map, compiled": both_ways(torch.compile(lambda x: flow_map(x, solved))),
        "sigmoid, compiled": both_ways(torch.compile(torch.sigmoid)),
    }
    try:
        for call in compiled.values():
            call()
    except RuntimeError as error:  # of which class torch makes its own, for a missing C++ compiler too
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        report.ratios[group]["flow_map_over_sigmoid"] = None
        report.notes.append(f"{group}.flow_map_over_sigmoid was not measured: torch.compile failed ({reason}).")
        return
    report.time(group, compiled)
    report.ratio(group, "flow_map_over_sigmoid", "flow map, compiled", "sigmoid, compiled")


def time_deployed(report: SpeedReport, configs: Mapping[str, Path], size: int) -> None:
    """The student eager, exported and in int8, with and without nmODE^2; and the light student and a teacher.

    Args:
        report: gets the groups "student", "nano" and more of "nmode2".
        configs: "student", "teacher" and "nano".
        size: height and width of the image in pixels.
    """
    batch = noise_batch(size)
    image = batch[0]["image"].numpy()[None]

    def session(detector: Any, network: onnx.ModelProto) -> Callable[[], object]:
        model = detector_graph(detector, network).SerializeToString()
        return partial(
            onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run, None, {"images": image}
        )

    student, teacher, nano = (_detector(configs[name]) for name in ("student", "teacher", "nano"))
    plain = _detector(configs["student"], "MODEL.NMODE.KIND", "none")
    network = network_graph(student)
    calls = {
        "student, eager": _eager(student, batch),
        "student, eager in torch's default layout": _eager(_channels_first(student), batch),
        "student without nmODE2, eager": _eager(plain, batch),
        "student, ONNX": session(student, network),
        "student without nmODE2, ONNX": session(plain, network_graph(plain)),
        "student, ONNX int8": session(student, quantized(network, _noise_inputs(student, size))),
        "teacher, ONNX": session(teacher, network_graph(teacher)),
        "nano, ONNX": session(nano, network_graph(nano)),
    }
    report.time("student", calls, pause=PAUSE, prime=True)
    for group, name, dividend, divisor in DEPLOYED:
        report.ratio(group, name, dividend, divisor, timed_in="student")
    names = ("student, ONNX", "teacher, ONNX", "nano, ONNX")
    report.seconds["nano"] = {name: report.seconds["student"][name] for name in names}


def time_step(report: SpeedReport, config: Path, size: int, images: int, device: str = "cpu") -> None:
    """One step of distillation against its parts: a step of the student alone and the teachers' backbones and FPNs.

    Args:
        report: gets the group "step", on another device "step_cuda" or as it is called: "overhead", the ratio, and the
            shares of a step that student, teachers, distiller and the method's own parts
            (:meth:`Distiller.timed_parts`) have; the loader runs beside them, and "loader_over_step" must be below its
            processes' number.
        config: a distillation's yaml.
        size: height and width of the images in pixels.
        images: of a step.
        device: to run on.
    """
    group = _group("step", device)
    cfg = _config(config, "MODEL.DEVICE", device)
    batch = [{**inputs, "instances": _instances(size)} for inputs in noise_batch(size, images)]
    student, bank = build_model(cfg).train(), TeacherBank.build(cfg)
    bank.fold_norms()
    model = DistillationModel(student, bank, build_distiller(cfg, student, bank)).train()
    model.progress = 1.0
    optimizer, alone = build_optimizer(cfg, model), build_optimizer(cfg, student)
    trainer = SimpleNamespace(iter=0, step_metrics=SimpleNamespace(put=lambda values: None))
    trainer.guard = FiniteGuard(trainer)
    distiller: Any = model.distiller
    hooks = distiller.build_hooks(cfg)
    for hook in hooks:
        hook.trainer = trainer

    def descend(network: nn.Module, its_optimizer: torch.optim.Optimizer) -> None:
        losses = network(batch)
        its_optimizer.zero_grad()
        sum(losses.values()).backward()
        its_optimizer.step()

    def distil() -> None:
        descend(model, optimizer)
        for hook in (*hooks, trainer.guard):
            hook.after_step()

    model(batch)
    parts = distiller.timed_parts(hooks)
    calls = {
        "student alone": lambda: descend(student, alone),
        "teachers' backbones and FPNs": lambda: bank.observe(batch),
        "distillation": distil,
        **{f"of it the {name}": call for name, call in parts.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        report.time(group, {**calls, "loader, one process": _loader(cfg, batch, Path(folder))})
    named = {"student": "student alone", "teachers": "teachers' backbones and FPNs"}
    named |= {name: f"of it the {name}" for name in parts}
    whole = report.median(group, "distillation")
    shares = {name: report.median(group, call) / whole for name, call in named.items()}
    report.ratios[group] = {
        "overhead": 1 / (shares["student"] + shares["teachers"]),
        **{f"share_{name}": share for name, share in shares.items()},
        "share_distiller": 1 - sum(shares.values()),
        "loader_over_step": report.median(group, "loader, one process") / whole,
    }


def time_eager(report: SpeedReport, configs: Mapping[str, Path], size: int, device: str) -> None:
    """The student with and without nmODE^2, the light student and a teacher in torch, on a GPU.

    Args:
        report: gets the group "eager_cuda", or as the device is called.
        configs, size: as in :func:`time_deployed`.
        device: to run on.
    """
    group, batch, on_it = _group("eager", device), noise_batch(size), ("MODEL.DEVICE", device)
    calls = {name: _eager(_detector(config, *on_it), batch) for name, config in configs.items()}
    without = _detector(configs["student"], "MODEL.NMODE.KIND", "none", *on_it)
    report.time(group, {**calls, "student without nmODE2": _eager(without, batch)})
    report.ratio(group, "added_latency", "student", "student without nmODE2")
    for name in configs.keys() - {"student"}:
        report.ratio(group, f"{name}_over_student", name, "student")


def write(report: SpeedReport, output: Path, *, size: int, command: str) -> str:
    """Write speed.json, speed.md and speed.png into a folder; returns the tables, with how they were measured."""
    how = (
        f"Random weights, images of {size} x {size} pixels, calls interleaved in {report.rounds} rounds, medians and"
        " quartiles"
    )
    text, content, end = report.tables(), report.to_json(), f", onnxruntime {onnxruntime.__version__}."
    note = write_timing(output / "speed", how, end, text, {**content, "size": size}, command)
    draw_speed(content["milliseconds"], output)
    return f"{note}\n\n{text}"


def _group(name: str, device: str) -> str:
    """The ratios on the CPU have the plain names."""
    return name if device == "cpu" else f"{name}_{device}"


def _config(path: Path, *overrides: str) -> Any:
    return load_config(str(path), ["MODEL.BOTTOM_UP.PRETRAINED", False, "MODEL.DEVICE", "cpu", *overrides])


def _detector(path: Path, *overrides: str) -> Any:
    torch.manual_seed(0)
    return build_model(_config(path, *overrides)).eval()


def _channels_first(detector: Any) -> nn.Module:
    """The same weights, with images in the order in which torch makes them: what its preprocess_image changes."""
    detector = copy.deepcopy(detector)
    detector.backbone.register_forward_pre_hook(lambda module, images: (images[0].contiguous(),))
    return detector


def _eager(detector: nn.Module, batch: list[dict]) -> Callable[[], object]:
    return torch.inference_mode()(partial(detector, batch))


def _noise_inputs(detector: Any, size: int, images: int = 4) -> Iterator[dict[str, np.ndarray]]:
    for seed in range(images):
        inputs = noise_batch(size, seed=seed)
        yield {"normalised": detector.preprocess_image(inputs).tensor.contiguous().numpy()}


def _loader(cfg: Any, batch: list[dict], folder: Path) -> Callable[[], object]:
    """Reading and augmenting one batch from PNG files."""
    mapper, records = MedDetDatasetMapper(cfg, is_train=True), []
    for index, inputs in enumerate(batch):
        path = folder / f"{index}.png"
        Image.fromarray(inputs["image"].permute(1, 2, 0).numpy()).save(path)
        boxes = inputs["instances"].gt_boxes.tensor.tolist()
        objects = [{"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0} for box in boxes]
        records.append({"file_name": str(path), "image_id": index, "annotations": objects})
    return lambda: [mapper(record) for record in records]


def _instances(size: int, count: int = 6) -> Instances:
    """A column of discs, as cervical images have them: 42 x 18 of 512 pixels."""
    tops = torch.linspace(0.15, 0.8, count) * size
    width, height = 42 / 512 * size, 18 / 512 * size
    left = torch.full((count,), 0.45 * size)
    instances = Instances((size, size))
    instances.gt_boxes = Boxes(torch.stack([left, tops, left + width, tops + height], dim=1))
    instances.gt_classes = torch.arange(count) % 2
    return instances

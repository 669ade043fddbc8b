"""What the parts cost, side by side: nmODE^2, the exported student, the light student, a step of distillation.

Everything is timed in one run and in rounds (evaluation/timing.py), so that each ratio is of two medians under the same
drift of the machine. Weights are random: they do not change what is computed, but for the few boxes that NMS sees.
"""

import copy
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
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
from meddet_d2.evaluation.timing import interleaved_seconds, noise_batch
from meddet_d2.files import write_json
from meddet_d2.modeling.nmode.flow_map import flow_map, flow_table
from meddet_d2.modeling.nmode.nmode_solvers import odeint_solve

from ..provenance import describe_hardware, hardware, provenance_now
from .report_parts import table, write_text

SPEED = "speed.json"
# The map of the ratios of nmODE^2: P3 of an image of 512 x 512.
MAP = (1, 256, 64, 64)
# Seconds between torch and onnxruntime. Without them a call of torch after one of onnxruntime took 1.4 times as long.
PAUSE = 0.2

Calls = Mapping[str, Callable[[], object]]


class SpeedReport:
    """Seconds of timed calls, by group and name, and the ratios of their medians."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.seconds: dict[str, dict[str, list[float]]] = {}
        self.ratios: dict[str, dict[str, float | None]] = {}
        self.notes: list[str] = []

    def time(self, group: str, calls: Calls, **options: Any) -> None:
        """Time some calls in rounds. What a group has been timed on before stays.

        Args:
            group: whose calls they are.
            calls: by name.
            options: of :func:`interleaved_seconds`.
        """
        self.seconds.setdefault(group, {}).update(interleaved_seconds(calls, rounds=self.rounds, **options))

    def median(self, group: str, name: str) -> float:
        """Seconds of one call."""
        return statistics.median(self.seconds[group][name])

    def ratio(self, group: str, name: str, dividend: str, divisor: str) -> None:
        """Keep the ratio of two medians of a group under ``group.name``."""
        self.ratios.setdefault(group, {})[name] = self.median(group, dividend) / self.median(group, divisor)

    def missing(self, group: str, name: str, why: str) -> None:
        """Say that a ratio could not be measured."""
        self.ratios.setdefault(group, {})[name] = None
        self.notes.append(f"{group}.{name} was not measured: {why}.")

    def to_json(self) -> dict[str, Any]:
        """The ratios by group, and under "milliseconds" the median and the quartiles of every call."""
        spread = {
            group: {name: _quartiles(values) for name, values in calls.items()} for group, calls in self.seconds.items()
        }
        return {**self.ratios, "milliseconds": spread, "rounds": self.rounds, "notes": self.notes}

    def tables(self) -> str:
        """Both tables as markdown."""
        ratios = [
            [f"{group}.{name}", "not measured" if value is None else f"{value:.2f}"]
            for group, values in self.ratios.items()
            for name, value in values.items()
        ]
        times = []
        for group, calls in self.seconds.items():
            for name, values in calls.items():
                spread = _quartiles(values)
                times.append([group, name, f"{spread['median']:.2f}", f"{spread['low']:.2f} to {spread['high']:.2f}"])
        parts = [
            table(ratios, ("ratio of medians", "value")),
            table(times, ("part", "call", "ms", "(quartiles)")),
            *self.notes,
        ]
        return "\n\n".join(parts)


def time_nmode2(report: SpeedReport, device: str = "cpu") -> None:
    """nmODE^2 forward and backward: its flow map against torchdiffeq's RK4 and, compiled, against sigmoid.

    Args:
        report: gets the group "nmode2", on another device "nmode2_cuda" or as it is called.
        device: to run on.
    """
    group = _group("nmode2", device)
    generator = torch.Generator().manual_seed(0)
    gamma = (torch.randn(MAP, generator=generator) * 2).to(device).requires_grad_()
    upstream = torch.randn(MAP, generator=generator).to(device)
    solved = flow_table("nmode2", 1.0).to(device)

    def both_ways(function: Callable[[Tensor], Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function(gamma), gamma, upstream)

    report.time(
        group,
        {
            "torchdiffeq rk4, 4 steps": both_ways(lambda x: odeint_solve(x, method="rk4", steps=4)),
            "flow map": both_ways(lambda x: flow_map(x, solved)),
        },
    )
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
        report.missing(group, "flow_map_over_sigmoid", f"torch.compile failed ({reason})")
        return
    report.time(group, compiled)
    report.ratio(group, "flow_map_over_sigmoid", "flow map, compiled", "sigmoid, compiled")


def time_deployed(report: SpeedReport, configs: Mapping[str, Path], size: int) -> None:
    """The student eager, exported and in int8, with and without nmODE^2; beside it the light student and a teacher.

    Args:
        report: gets the groups "student", "nano" and more of "nmode2".
        configs: "student" and "teacher", and "nano" where there is one.
        size: height and width of the image in pixels.
    """
    batch = noise_batch(size)
    image = batch[0]["image"].numpy()[None]
    with tempfile.TemporaryDirectory() as folder:

        def session(name: str, model: onnx.ModelProto) -> Callable[[], object]:
            path = Path(folder) / f"{name}.onnx"
            onnx.save(model, path)
            running = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            return lambda: running.run(None, {"images": image})

        student, plain = (_detector(configs["student"], overrides) for overrides in ((), ("MODEL.NMODE.KIND", "none")))
        network = network_graph(student)
        int8 = quantized(network, _noise_inputs(student, size))
        calls = {
            "student, eager": _eager(student, batch),
            "student, eager in torch's default layout": _eager(_channels_first(student), batch),
            "student without nmODE2, eager": _eager(plain, batch),
            "student, ONNX": session("student", detector_graph(student, network)),
            "student without nmODE2, ONNX": session("plain", detector_graph(plain, network_graph(plain))),
            "student, ONNX int8": session("int8", detector_graph(student, int8)),
        }
        for name in ("teacher", "nano"):
            if name in configs:
                detector = _detector(configs[name])
                calls[f"{name}, ONNX"] = session(name, detector_graph(detector, network_graph(detector)))
        report.time("student", calls, pause=PAUSE, prime=True)
    for suffix, kind in (("", "eager"), ("_onnx", "ONNX")):
        with_it, without = (
            report.median("student", f"{name}, {kind}") for name in ("student", "student without nmODE2")
        )
        report.ratios.setdefault("nmode2", {})[f"added_latency{suffix}"] = with_it / without
    report.ratio("student", "eager_over_onnx", "student, eager", "student, ONNX")
    report.ratio("student", "default_layout_over_onnx", "student, eager in torch's default layout", "student, ONNX")
    report.ratio("student", "onnx_over_int8", "student, ONNX", "student, ONNX int8")
    if "nano" in configs:
        report.seconds["nano"] = {
            name: report.seconds["student"][name] for name in ("student, ONNX", "teacher, ONNX", "nano, ONNX")
        }
        report.ratio("nano", "student_onnx_over_nano_onnx", "student, ONNX", "nano, ONNX")
        report.ratio("nano", "smallest_teacher_over_nano", "teacher, ONNX", "nano, ONNX")


def time_step(report: SpeedReport, config: Path, size: int, images: int, device: str = "cpu") -> None:
    """One step of distillation against its parts: a step of the student alone and the teachers' backbones and FPNs.

    Args:
        report: gets the group "step", on another device "step_cuda" or as it is called: "overhead", the ratio, and the
            shares of a step that student, teachers, distiller (AFA, fusion, lent head, generator, losses) and
            discriminator have; the loader runs beside them, and "loader_over_step" must be below its processes' number.
        config: a distillation's yaml.
        size: height and width of the images in pixels.
        images: of a step.
        device: to run on.
    """
    group = _group("step", device)
    cfg = _config(config, device=device)
    batch = noise_batch(size, images)
    for inputs in batch:
        inputs["instances"] = _instances(size)
    student, bank = build_model(cfg).train(), TeacherBank.build(cfg)
    model = DistillationModel(student, bank, build_distiller(cfg, student, bank)).train()
    model.progress = 1.0
    optimizer, alone = build_optimizer(cfg, model), build_optimizer(cfg, student)
    trainer = SimpleNamespace(iter=0, storage=SimpleNamespace(put_scalars=lambda **values: None))
    trainer.guard = FiniteGuard(trainer)
    distiller: Any = model.distiller
    hook = next(iter(distiller.build_hooks(cfg)), None)
    if hook is not None:
        hook.trainer = trainer

    def descend(network: nn.Module, its_optimizer: torch.optim.Optimizer) -> None:
        losses = network(batch)
        its_optimizer.zero_grad()
        sum(losses.values()).backward()
        its_optimizer.step()

    def distil() -> None:
        descend(model, optimizer)
        if hook is not None:
            hook.after_step()

    calls = {
        "student alone": lambda: descend(student, alone),
        "teachers' backbones and FPNs": lambda: bank.observe(batch),
        "distillation": distil,
    }
    if hook is not None:
        model(batch)
        lesson = distiller.adversary.take()
        calls["of it the discriminator"] = lambda: hook.learn(lesson)
    with tempfile.TemporaryDirectory() as folder:
        report.time(group, {**calls, "loader, one process": _loader(cfg, batch, Path(folder))})
    whole = report.median(group, "distillation")
    shares = {
        "student": report.median(group, "student alone") / whole,
        "teachers": report.median(group, "teachers' backbones and FPNs") / whole,
        "discriminator": 0.0 if hook is None else report.median(group, "of it the discriminator") / whole,
    }
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
    group, batch = _group("eager", device), noise_batch(size)
    calls = {name: _eager(_detector(config, device=device), batch) for name, config in configs.items()}
    without = _detector(configs["student"], ("MODEL.NMODE.KIND", "none"), device=device)
    report.time(group, {**calls, "student without nmODE2": _eager(without, batch)})
    report.ratio(group, "added_latency", "student", "student without nmODE2")
    for name in configs.keys() - {"student"}:
        report.ratio(group, f"{name}_over_student", name, "student")


def write(report: SpeedReport, output: Path, *, size: int, command: str) -> str:
    """Write speed.json, speed.md and speed.png into a folder; returns the tables, with how they were measured."""
    made_by, machine = provenance_now(), hardware()
    note = (
        f"Random weights, images of {size} x {size} pixels, calls interleaved in {report.rounds} rounds, medians and"
        f" quartiles; on {describe_hardware(machine)}, {made_by['engine']}, torch {made_by['torch']}, onnxruntime"
        f" {onnxruntime.__version__}."
    )
    write_json(output / SPEED, {**report.to_json(), "size": size, "hardware": machine, "command": command, **made_by})
    text = f"{note}\n\n{report.tables()}"
    write_text(output / "speed.md", f"{text}\n\n```bash\n{command}\n```\n")
    return text


def _group(name: str, device: str) -> str:
    """The ratios on the CPU have the plain names."""
    return name if device == "cpu" else f"{name}_{device}"


def _config(path: Path, overrides: tuple = (), device: str = "cpu") -> Any:
    cfg = load_config(str(path), overrides)
    cfg.MODEL.BOTTOM_UP.PRETRAINED = False
    cfg.MODEL.DEVICE = device
    return cfg


def _detector(path: Path, overrides: tuple = (), device: str = "cpu") -> Any:
    torch.manual_seed(0)
    return build_model(_config(path, overrides, device)).eval()


def _channels_first(detector: Any) -> nn.Module:
    """The same weights, with images in the order in which torch makes them: what GFL.preprocess_image changes."""
    detector = copy.deepcopy(detector)
    detector.backbone.register_forward_pre_hook(lambda module, images: (images[0].contiguous(),))
    return detector


def _eager(detector: nn.Module, batch: list[dict]) -> Callable[[], object]:
    @torch.inference_mode()
    def call() -> object:
        return detector(batch)

    return call


def _noise_inputs(detector: Any, size: int, images: int = 4) -> Iterator[dict[str, np.ndarray]]:
    for seed in range(images):
        (image,) = (inputs["image"] for inputs in noise_batch(size, seed=seed))
        yield {"normalised": detector.preprocess_image([{"image": image}]).tensor.contiguous().numpy()}


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


def _quartiles(seconds: list[float]) -> dict[str, float]:
    low, median, high = (1000 * value for value in statistics.quantiles(seconds, n=4, method="inclusive"))
    return {"median": median, "low": low, "high": high}

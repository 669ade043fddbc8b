"""What every distillation method has in common.

A method is one file beside this one: a subclass of :class:`Distiller` in ``DISTILLER_REGISTRY``, imported in
``methods/__init__.py`` and chosen by ``DISTILL.METHOD``.

Shapes in this module: K teachers, L FPN levels (P3 first), N images, C channels, (H, W) the size of a level's map.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.common.registry import Registry
from torch import Tensor, nn

from .head_outputs import HeadOutputs, Regions

DISTILLER_REGISTRY = Registry("DISTILLER")
DISTILLER_REGISTRY.__doc__ = "Distillation methods: subclasses of :class:`Distiller`."


def _absent(*arguments: Any) -> Any:
    raise RuntimeError("This DistillationBatch was made from maps alone; give it the field that the method calls.")


@dataclass(frozen=True)
class DistillationBatch:
    """What one forward pass of each network gives a method.

    The callables compute when they are called: a method that does not ask for the teachers' heads does not pay for
    them. A method that compares something else again adds a field with a default here and its source in
    ``DistillationModel.forward``; no other method notices.

    Attributes:
        student: the student's L maps (N, C, H, W), in its autograd graph.
        teachers: for each of K teachers its L maps, without a graph. Channels and size may differ from the student's.
        gt_instances: for each image its boxes and classes, on the student's device.
        head_losses: ``head_losses(k, maps)`` gives the detection losses of teacher k's frozen head on maps of that
            teacher's channels, against ``gt_instances``: of the first images and the finest levels if there are fewer
            of either. The gradient reaches the maps only.
        progress: how much of the run is done, in [0, 1].
        head_outputs: ``head_outputs()`` gives what the student's head said in this same forward pass, in its graph.
        teacher_outputs: ``teacher_outputs(k)`` runs teacher k's head on its own maps, without a graph.
        regions: ``regions(ratio)`` gives the student's positive locations and the valuable region around them.
    """

    student: list[Tensor]
    teachers: list[list[Tensor]]
    gt_instances: list[Any]
    head_losses: Callable[[int, list[Tensor]], dict[str, Tensor]]
    progress: float = 0.0
    head_outputs: Callable[[], HeadOutputs] = _absent
    teacher_outputs: Callable[[int], HeadOutputs] = _absent
    regions: Callable[[float], Regions] = _absent


class Distiller(nn.Module):
    """Base class: turns maps and the student's detection losses into the losses to be added up.

    Its parameters are trained with the student's and its state is saved for a resume, apart from the student's.

    Args:
        discriminator: a network with an optimizer of its own (``DiscriminatorHook``), or None. It is no submodule, so
            it is neither in ``parameters()`` nor in ``state_dict()``, and ``to()`` does not move it:
            :func:`build_distiller` puts it on the student's device.

    Attributes:
        pairs: after a step the detached (real, fake) descriptions of each level's maps, as the discriminator takes
            them; None without one.
    """

    def __init__(self, *, discriminator: nn.Module | None = None):
        super().__init__()
        # In a tuple because nn.Module takes every module that is assigned to it as its own.
        self._outside = (discriminator,)
        self._measured: dict[str, Tensor] = {}
        self.pairs: list[tuple[Tensor, Tensor]] | None = None

    @classmethod
    def from_config(cls, cfg, student: nn.Module, teachers) -> dict[str, Any]:
        """The constructor's arguments for a config, a student and a ``TeacherBank``."""
        raise NotImplementedError(f"{cls.__name__} must say how it is built from a config.")

    def forward(self, batch: DistillationBatch, detection_losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute all losses of the step.

        Args:
            batch: the maps of student and teachers.
            detection_losses: the student's; a method returns them too, scaled if it scales them.

        Returns:
            Scalars whose sum is minimised. Every parameter of the distiller has part in it at every step, with a factor
            of zero where need be, so that DistributedDataParallel finds them all.
        """
        raise NotImplementedError(f"{type(self).__name__} must compute its losses.")

    @property
    def discriminator(self) -> nn.Module | None:
        """The network that is trained beside the distiller, or None."""
        return self._outside[0]

    @property
    def metrics(self) -> dict[str, float]:
        """Quantities of the last step to log. Reading them waits for the device; computing them does not."""
        if not self._measured:
            return {}
        values = torch.stack([value.float() for value in self._measured.values()]).tolist()
        return dict(zip(self._measured, values, strict=True))

    def measure(self, **values: Tensor) -> None:
        """Set the quantities that :attr:`metrics` reports: scalars."""
        self._measured = {name: value.detach() for name, value in values.items()}


def build_distiller(cfg, student: nn.Module, teachers) -> Distiller:
    """Build the method ``cfg.DISTILL.METHOD`` on the student's device.

    Args:
        cfg: a config with this project's keys.
        student: the detector to train.
        teachers: a ``TeacherBank``.

    Raises:
        ValueError: unknown method, or settings that it refuses.
    """
    name = cfg.DISTILL.METHOD
    if name not in DISTILLER_REGISTRY:
        known = ", ".join(sorted(key for key, _ in DISTILLER_REGISTRY))
        raise ValueError(f"DISTILL.METHOD is {name!r}; known methods are: {known}.")
    method = DISTILLER_REGISTRY.get(name)
    distiller = method(**method.from_config(cfg, student, teachers)).to(student.device)
    if distiller.discriminator is not None:
        distiller.discriminator.to(student.device)
    return distiller


def feature_channels(detector: nn.Module, levels: int | None = None) -> list[int]:
    """Channels of the first ``levels`` levels that a detector's head reads, the finest first; of all if None."""
    shapes = detector.backbone.output_shape()
    return [shapes[name].channels for name in detector.in_features[:levels]]


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}


def check_schedule(name: str) -> None:
    """Raise a ValueError unless ``name`` is in ``SCHEDULES``."""
    if name not in SCHEDULES:
        raise ValueError(f"DISTILL.DIST_SCHEDULE is {name!r}; it must be one of: {', '.join(SCHEDULES)}.")


def check_not_negative(**values: float) -> None:
    """Raise a ValueError unless all are >= 0; ``MGD_ALPHA=...`` stands for the key DISTILL.MGD.ALPHA."""
    for name, value in values.items():
        if not value >= 0:  # so that NaN fails too
            raise ValueError(f"DISTILL.{name.replace('_', '.', 1)} is {value}; it must be at least 0.")

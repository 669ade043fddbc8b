"""What every distillation method has in common.

A method is a folder or a file under ``methods/``: a subclass of :class:`Distiller` in ``DISTILLER_REGISTRY``, imported
in ``methods/__init__.py`` or loaded as a plugin, and chosen by ``DISTILL.METHOD``.

Shapes in this module: K teachers, L levels (the finest first), N images, C channels, (H, W) the size of a level's map.
"""

import functools
import math
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from fvcore.common.registry import Registry
from torch import Tensor, nn

from meddet_d2.config.arguments import arguments, require, require_choice

from .tasks import Observation, task_of
from .teacher_configs import Stage, alone_config, first_weights, teacher_stages

if TYPE_CHECKING:  # for reading alone: a method sees no more of them than these types
    from .teachers import TeacherBank, TeacherHeads

DISTILLER_REGISTRY = Registry("DISTILLER")
DISTILLER_REGISTRY.__doc__ = "Distillation methods: subclasses of :class:`Distiller`."


@dataclass(frozen=True)
class DistillationBatch:
    """What one step gives a method.

    Attributes:
        inputs: the mapper's dicts, one for each of N images.
        student: the student's L maps in its autograd graph, what its head said, and its own losses.
        teachers: for each of K teachers its L maps, without a graph. Channels and size may differ from the student's.
        targets: for each image what is to be found, on the student's device; for boxes ``gt_boxes`` and ``gt_classes``.
        heads: the teachers' heads, which run when the method asks.
        progress: how much of the run is done, in [0, 1].
    """

    inputs: list[dict]
    student: Observation
    teachers: list[Observation]
    targets: Sequence[Any]
    heads: "TeacherHeads"
    progress: float = 0.0


class Distiller(nn.Module):
    """Base class: turns what student and teachers showed into the losses to be added up.

    Its parameters are trained with the student's and its state is saved for a resume, apart from the student's.
    A constructor raises a ValueError, by the name of the config key, for an argument outside its range.

    Attributes:
        row_keys: keys of the method's own section that tell its rows in a table apart; a benchmark's scale cannot
            change them.
    """

    row_keys: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self._measured: dict[str, Tensor] = {}

    @classmethod
    def from_config(cls, cfg: Any, student: nn.Module, teachers: "TeacherBank") -> dict[str, Any]:
        """The constructor's arguments for a config, a student and its teachers."""
        raise NotImplementedError(f"{cls.__name__} must say how it is built from a config.")

    @classmethod
    def stages(cls, cfg: Any) -> list[Stage]:
        """What a run trains, in this order; the distilled student comes last.

        Here the teachers that are not there yet and, with ``DISTILL.TRAIN_ALONE``, the student without teachers. A
        method that pretrains something inserts its own.

        Raises:
            ValueError: ``DISTILL.WARM_START`` has nothing to begin with.
        """
        stages = teacher_stages(cfg)
        if cfg.DISTILL.TRAIN_ALONE:
            stages.append(Stage("the student alone", alone_config(cfg), row="student alone"))
        elif cfg.DISTILL.WARM_START and not os.path.isfile(first_weights(cfg)):
            raise ValueError(
                f"DISTILL.WARM_START is True, but {first_weights(cfg)} does not exist; set DISTILL.TRAIN_ALONE to "
                "True, which trains it."
            )
        row = f"student, {cfg.DISTILL.METHOD}"
        return [*stages, Stage("the student under its teachers", cfg, row=row, distilled=True)]

    def build_hooks(self, cfg: Any) -> list[Any]:
        """Hooks of the training loop that this method brings; they come before all others.

        Of several hooks of one class Detectron2 saves only the first one's state.
        """
        return []

    def timed_parts(self, hooks: Sequence[Any]) -> dict[str, Callable[[], object]]:
        """Parts of a step, beside student and teachers, to be timed alone by name.

        Args:
            hooks: of :meth:`build_hooks`, with their trainer; a forward pass has been made.
        """
        return {}

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        """Compute all losses of the step.

        Returns:
            Scalars whose sum is minimised, the student's own losses (``batch.student.losses``) among them, scaled if
            the method scales them. Every parameter of the distiller has part in it at every step, with a factor of zero
            where need be, so that DistributedDataParallel finds them all.
        """
        raise NotImplementedError(f"{type(self).__name__} must compute its losses.")

    @property
    def metrics(self) -> dict[str, Tensor]:
        """Quantities of the last step to log: scalars on the device, which nothing has waited for."""
        return self._measured

    def measure(self, **values: Tensor) -> None:
        """Set the quantities that :attr:`metrics` reports: scalars."""
        self._measured = {name: value.detach() for name, value in values.items()}


def method_class(name: str) -> type[Distiller]:
    """The method of a name.

    Raises:
        ValueError: it is not known.
    """
    if name not in DISTILLER_REGISTRY:
        known = ", ".join(sorted(key for key, _ in DISTILLER_REGISTRY))
        raise ValueError(f"DISTILL.METHOD is {name!r}; known methods are: {known}. Add --plugin for one of yours.")
    return DISTILLER_REGISTRY.get(name)


class TeacherwiseDistiller(Distiller):
    """A method that compares the student with each teacher by itself and adds the mean over the teachers.

    Args:
        weights: of the losses that it adds, by their names; >= 0.
        dist_schedule: in ``SCHEDULES``, a factor of all of them.
    """

    def __init__(self, weights: dict[str, float], dist_schedule: str):
        super().__init__()
        require_choice("DISTILL.DIST_SCHEDULE", dist_schedule, SCHEDULES)
        self.weights, self.dist_schedule = weights, dist_schedule

    @classmethod
    def from_config(cls, cfg: Any, student: nn.Module, teachers: "TeacherBank") -> dict[str, Any]:
        """The networks' channels, and the keys of the section of DISTILL with the name of the class or of one above."""
        kind = next(kind for kind in cls.__mro__ if kind.__name__.upper() in cfg.DISTILL)
        section = cfg.DISTILL[kind.__name__.upper()]
        return {**arguments(kind, cfg.DISTILL, section), **paired_channels(student, teachers)}

    def terms(self, batch: DistillationBatch) -> Iterator[Sequence[Tensor]]:
        """For each teacher a scalar for each of the weighted losses."""
        raise NotImplementedError(f"{type(self).__name__} must compare the student with a teacher.")

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        """The student's losses as they are, and those of ``weights``."""
        means = torch.stack([torch.stack(tuple(terms)) for terms in self.terms(batch)]).mean(dim=0)
        factor = SCHEDULES[self.dist_schedule](batch.progress)
        added = {name: factor * weight * x for (name, weight), x in zip(self.weights.items(), means, strict=True)}
        return {**batch.student.losses, **added}


def build_distiller(cfg: Any, student: nn.Module, teachers: "TeacherBank") -> Distiller:
    """Build the method ``cfg.DISTILL.METHOD`` on the student's device.

    Raises:
        ValueError: a teacher that does not fit the student, an unknown method, or settings that it refuses.
    """
    method = method_class(cfg.DISTILL.METHOD)
    teachers.check_student(student)
    return method(**method.from_config(cfg, student, teachers)).to(next(student.parameters()).device)


def feature_channels(network: nn.Module, levels: int | None = None) -> list[int]:
    """Channels of the network's first ``levels`` maps, the finest first; of all if None."""
    return [shape.channels for shape in task_of(network).shapes(network)[:levels]]


def paired_channels(student: nn.Module, teachers: "TeacherBank") -> dict[str, Any]:
    """The student's channels on its L levels, and on the same those of each of K teachers, as a method's arguments."""
    ours = feature_channels(student)
    theirs = [feature_channels(network, len(ours)) for network in teachers.networks]
    return {"student_channels": ours, "teacher_channels": theirs}


def require_result(student: nn.Module, result: str, method: str, networks: str) -> None:
    """Refuse a student of another kind than a method is for.

    Args:
        student: to be distilled.
        result: the :attr:`Task.result` that the method needs.
        method: its name.
        networks: in words, those that give it.

    Raises:
        ValueError: the student's result is another.
    """
    fits = task_of(student).result == result
    require(fits, "MODEL.META_ARCHITECTURE", type(student).__name__, f"one of {networks} for DISTILL.METHOD {method}")


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}


def total(values: Iterable[Tensor]) -> Tensor:
    """The sum of at least one tensor, from the first to the last."""
    return functools.reduce(operator.add, values)


def check_not_negative(**values: float) -> None:
    """Raise a ValueError unless all are >= 0; ``MGD_ALPHA=...`` stands for the key DISTILL.MGD.ALPHA."""
    for name, value in values.items():
        require(value >= 0, f"DISTILL.{name.replace('_', '.', 1)}", value, "at least 0")

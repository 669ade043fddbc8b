"""What differs between kinds of networks, behind one protocol.

A kind of network is one file beside this one: a class in ``TASK_REGISTRY`` that names its meta-architectures. Nothing
else in distillation, training, validation or export asks what kind of network it holds.

Shapes in this module: N images, C channels, (H, W) the size of a level's map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from fvcore.common.registry import Registry
from torch import Tensor, nn

TASK_REGISTRY = Registry("TASK")
TASK_REGISTRY.__doc__ = "Kinds of networks: classes that follow the protocol :class:`Task`."


class LevelShape(NamedTuple):
    """One of the maps that a network shows."""

    channels: int
    stride: int  # pixels of a cell


@dataclass(frozen=True)
class Observation:
    """What one forward pass of one network showed.

    Attributes:
        features: the network's maps (N, C, H, W), the finest first.
        outputs: what its head said, in the task's own form; None where the head did not run.
        losses: of its own training, weighted scalars; empty without targets.
    """

    features: list[Tensor]
    outputs: Any = None
    losses: dict[str, Tensor] = field(default_factory=dict)


class Task(Protocol):
    """One kind of network, as distillation, training, validation and export need to know it. It has no state.

    Attributes:
        architectures: names of the meta-architectures (``MODEL.META_ARCHITECTURE``) that this class speaks for. It also
            speaks for their subclasses.
        result: what comes out of such a network, such as "boxes": evaluators and pictures are chosen by it.
        parts: the parts of a network that are counted apart, each with the beginning of its modules' names; the first
            that fits counts.
        losses: names of losses that every such network's own training has; their sum is drawn against the iterations.
    """

    architectures: tuple[str, ...]
    result: str
    parts: Mapping[str, str]
    losses: tuple[str, ...]

    def view(self, inputs: list[dict], role: str) -> list[dict]:
        """What the networks of one role are shown of a step's inputs.

        A teacher gets nothing but this, and the cache of its maps is keyed by all of it. So a teacher's view holds only
        what decides its maps: tensors, numbers and texts, alone or in lists and dicts.

        Args:
            inputs: the mapper's dicts, one for each image. "padded_size", (H, W), may be there: see :meth:`size`.
            role: "student" or "teacher".
        """

    def example_inputs(self, image: Tensor) -> list[dict]:
        """One input that shows such a network nothing but this picture, (3, H, W) in the range of the pixel mean."""

    def size(self, item: dict) -> tuple[int, int]:
        """Height and width of the largest picture in one input.

        All processes pad to the largest of a step, which each input then has as "padded_size".
        """

    def observe(
        self,
        network: nn.Module,
        inputs: list[dict],
        levels: int | None = None,
        *,
        targets: Sequence[Any] | None = None,
        together: bool = True,
    ) -> Observation:
        """One forward pass.

        Args:
            network: of this kind.
            inputs: its view.
            levels: how many of its maps are wanted, the finest first; None: all.
            targets: as :meth:`targets` gives them, for outputs and losses; None: the maps alone, without the head.
            together: the images are this process's part of a step, which all processes compute at once; False: they are
                a batch of their own.
        """

    def targets(self, network: nn.Module, inputs: list[dict]) -> Sequence[Any]:
        """What the network is to find, for each image, on its device.

        Raises:
            ValueError: an input without annotations, or with a class that the network does not know.
        """

    def head_outputs(self, network: nn.Module, features: list[Tensor]) -> Any:
        """What the network's head says on all its maps, in the form of :attr:`Observation.outputs`."""

    def head_losses(self, network: nn.Module, features: list[Tensor], targets: Sequence[Any]) -> dict[str, Tensor]:
        """The losses of the network's head on maps of its channels: of all levels, or of the finest few."""

    def raw_outputs(self, network: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        """Everything between normalised images (N, 3, H, W) and decoding: what is counted, and exported."""

    def shapes(self, network: nn.Module) -> list[LevelShape]:
        """Of the network's maps, the finest first."""

    def names(self, cfg: Any) -> Sequence[str] | None:
        """What a config's network finds, by name, in the order of its outputs; None where the data does not say.

        A checkpoint holds them, and one that names others is refused.
        """

    def drop_auxiliary(self, network: nn.Module) -> None:
        """Leave out, in place, what only the network's own training needs: before it teaches, and before it is used."""

    def compatible(self, student: nn.Module, teacher: nn.Module) -> str | None:
        """None, or what differs and which key mends it, as a part of a sentence."""


def find_task(names: Sequence[str]) -> Task:
    """The task of the first of some meta-architectures that has one.

    Args:
        names: of a class and of those that it is made of, the nearest first.

    Raises:
        ValueError: no task speaks for any of them, or more than one for the first that has one.
    """
    for name in names:
        found = {key: task for key, task in TASK_REGISTRY if name in task.architectures}
        if len(found) > 1:
            raise ValueError(f"MODEL.META_ARCHITECTURE {name} has the tasks {' and '.join(found)}; leave one.")
        for task in found.values():
            return task()
    known = ", ".join(sorted(one for _, task in TASK_REGISTRY for one in task.architectures))
    raise ValueError(
        f"MODEL.META_ARCHITECTURE is {names[0]}, which no task speaks for; known are {known}. If a plugin "
        "has it, add --plugin; or register a task for it in TASK_REGISTRY (docs/how_to/distil.md)."
    )


def task_of(network: nn.Module) -> Task:
    """The task of a network, by its class or the nearest one above it; raises as :func:`find_task`."""
    return find_task([kind.__name__ for kind in type(network).__mro__])

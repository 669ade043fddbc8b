"""The frozen teachers: building, loading, checking and reading them."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from meddet_d2.config.arguments import require
from meddet_d2.files import checksum
from meddet_d2.hardware.folding import fold_norms
from meddet_d2.hardware.precision import Precision, choose_precision
from meddet_d2.modeling.weights import load_detector_weights

from . import teacher_configs
from .feature_cache import FeatureCache
from .feature_store import FeatureStore, fingerprint
from .tasks import Observation, Task, task_of


class TeacherBank:
    """Trained networks that only show their maps and lend their heads.

    They are in ``eval`` mode and want no gradient for as long as they live. This is no ``nn.Module``, so whatever holds
    the bank neither trains, saves nor wraps them.

    Args:
        networks: K trained networks, each of a kind that has a task; changed in place (frozen).
        names: what an error calls each of them, their config files as a rule.
        cache: bytes of maps to remember, shared out evenly among the teachers; 0: none. See :class:`FeatureCache`.
        precision: of the teachers' forward passes, and of what learns from them.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        names: Sequence[str],
        cache: int = 0,
        precision: Precision = Precision(),  # noqa: B008 (frozen)
    ):
        if not networks or len(networks) != len(names):
            raise ValueError(f"A TeacherBank needs a name for each of at least one network; got {len(names)} names.")
        self.tasks = [task_of(network) for network in networks]
        for task, network in zip(self.tasks, networks, strict=True):
            task.drop_auxiliary(network)
        self.networks = [network.eval().requires_grad_(False) for network in networks]
        for network in self.networks:
            # Of its own training, if that was in this process.
            network.zero_grad(set_to_none=True)
            # As the images are: convolutions then find both in their own order.
            network.to(memory_format=torch.channels_last)
        self.precision = precision
        self.names = list(names)
        # Of the files that the weights were loaded from, by the teachers' names.
        self.checksums: dict[str, str] = {}
        self.caches = [FeatureCache(cache // len(networks)) for _ in networks] if cache > 0 else None

    @classmethod
    def build(cls, cfg: CfgNode) -> "TeacherBank":
        """The teachers in use, as :func:`teacher_configs.lent_config` describes them, untrained.

        Teachers are called as ``teacher_configs.name_of`` says, with a number where several have the same name.

        Raises:
            ValueError: as ``teacher_configs.in_use`` and ``lent_config``, ``CACHE_GIB`` is negative, or the device has
                no such ``PRECISION``.
            FileNotFoundError: a config is missing.
        """
        cache = cfg.DISTILL.TEACHERS.CACHE_GIB
        require(cache >= 0, "DISTILL.TEACHERS.CACHE_GIB", cache, "at least 0")
        configs = [config for config, _ in teacher_configs.in_use(cfg)]
        networks = [build_model(teacher_configs.lent_config(config, cfg)) for config in configs]
        stems = [teacher_configs.name_of(config) for config in configs]
        shared = {stem for stem, count in Counter(stems).items() if count > 1}
        names = [f"{stem}-{k}" if stem in shared else stem for k, stem in enumerate(stems)]
        precision = choose_precision(cfg.DISTILL.PRECISION, cfg.MODEL.DEVICE)
        return cls(networks, names, cache=int(cache * 2**30), precision=precision)

    @classmethod
    def from_config(cls, cfg: CfgNode, *, fold: bool = False) -> "TeacherBank":
        """:meth:`build` the teachers and load their checkpoints.

        Args:
            cfg: of a distillation.
            fold: their BatchNorm into their convolutions, which is faster, and after which they have fewer parameters.

        Raises:
            ValueError: as :meth:`build`, or a checkpoint does not fit its config.
            FileNotFoundError: a config or a checkpoint is missing; the latter names the command that makes it.
        """
        teacher_configs.require(cfg)
        bank = cls.build(cfg)
        chosen = zip(bank.names, bank.tasks, bank.networks, teacher_configs.in_use(cfg), strict=True)
        for name, task, network, (_, weights) in chosen:
            load_detector_weights(network, weights, task.names(cfg))
            bank.checksums[name] = checksum(weights)
        if fold:
            bank.fold_norms()
        if cfg.DISTILL.TEACHERS.CACHE_DIR:
            bank.keep_on_disk(cfg.DISTILL.TEACHERS.CACHE_DIR, int(cfg.DISTILL.TEACHERS.CACHE_DIR_GIB * 2**30))
        return bank

    def fold_norms(self) -> None:
        """Fold the networks' BatchNorm into their convolutions; call it when the weights are what they will be."""
        image = torch.randint(256, (3, 128, 128), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        for task, network in zip(self.tasks, self.networks, strict=True):
            views = task.view(task.example_inputs(image), "teacher")
            fold_norms(network, lambda one, task=task, views=views: task.observe(one, views).features)  # type: ignore[misc]

    def keep_on_disk(self, folder: str, capacity: int) -> None:
        """Keep the maps in a folder, too; see :class:`FeatureStore`. Call it when the weights are what they will be."""
        self.caches = self.caches or [FeatureCache(0) for _ in self.networks]
        for cache, network in zip(self.caches, self.networks, strict=True):
            teacher, device = fingerprint(network, self.precision.dtype), next(network.parameters()).device
            cache.store = FeatureStore(folder, capacity, teacher, stores=len(self.networks), device=device)

    @torch.no_grad()
    def observe(self, inputs: list[dict], levels: int | None = None) -> list[Observation]:
        """Run each teacher up to its maps, and not its head.

        Args:
            inputs: the mapper's dicts; each teacher gets its task's view of them.
            levels: how many maps of each are wanted, the finest first; None: all.

        Returns:
            Of each teacher its maps (N, C, H, W), in ``precision`` if that is bf16.
        """
        # Not torch.inference_mode(): AFA must save these maps for its backward pass, which inference tensors refuse.
        with self.precision.frozen():
            maps = [self._maps(k, inputs, levels) for k in range(len(self.networks))]
        # What learns from bf16 runs in bf16, or in what an autocast around it says. From fp16 it learns in fp32.
        if self.precision.dtype == torch.float16:
            maps = [[x.float() for x in levels_of_one] for levels_of_one in maps]
        return [Observation(features) for features in maps]

    def _maps(self, index: int, inputs: list[dict], levels: int | None) -> list[Tensor]:
        task, network = self.tasks[index], self.networks[index]
        views = task.view(inputs, "teacher")
        if self.caches is None:
            return task.observe(network, views, levels).features
        views = padded_alike(task, network, views)
        return self.caches[index](views, partial(_observe_one, task, network, levels), settings=(levels,))

    def check_student(self, student: nn.Module) -> None:
        """Refuse a student that speaks of other things than its teachers.

        Raises:
            ValueError: naming the teacher, the key and both values.
        """
        task = task_of(student)
        for name, network in zip(self.names, self.networks, strict=True):
            difference = task.compatible(student, network)
            if difference is not None:
                raise ValueError(
                    f"Teacher {name} does not fit the student: {difference} in the student; make the two configs agree "
                    "and train again the network that you change."
                )


class TeacherHeads:
    """The teachers' frozen heads, lent to a method for one step; a head runs when the method asks.

    Args:
        bank: the teachers.
        observations: what they showed in this step.
        targets: for each image what is to be found.
    """

    def __init__(self, bank: TeacherBank, observations: Sequence[Observation], targets: Sequence[Any]):
        self.bank, self.observations, self.targets = bank, observations, targets

    def losses(self, index: int, features: list[Tensor]) -> dict[str, Tensor]:
        """The losses of one teacher's head on the given maps.

        Args:
            index: which teacher.
            features: one map (N, C, H, W), of that teacher's channels, for each of its levels or for the finest few.
                Their images are the step's first N.

        Returns:
            Its weighted losses. Their gradient reaches ``features`` and no parameter of the teacher.
        """
        bank, targets = self.bank, self.targets[: len(features[0])]
        with bank.precision.learning():
            return bank.tasks[index].head_losses(bank.networks[index], features, targets)

    @torch.no_grad()
    def outputs(self, index: int) -> Any:
        """What one teacher's head says on its own maps, without a graph, in the form of ``Observation.outputs``."""
        bank = self.bank
        with bank.precision.frozen():
            return bank.tasks[index].head_outputs(bank.networks[index], self.observations[index].features)


def padded_alike(task: Task, network: Any, views: list[dict]) -> list[dict]:
    """Views that each say to which size the network pads this batch, so that each can be shown by itself."""
    divisor = max(network.backbone.size_divisibility, 1)
    largest = map(max, zip(*(view.get("padded_size", task.size(view)) for view in views), strict=True))
    size = tuple(-(-side // divisor) * divisor for side in largest)
    return [{**view, "padded_size": size} for view in views]


def _observe_one(task: Task, network: nn.Module, levels: int | None, view: dict) -> list[Tensor]:
    return task.observe(network, [view], levels).features

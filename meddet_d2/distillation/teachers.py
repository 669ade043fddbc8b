"""The frozen teachers: building, loading, checking and reading them."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from meddet_d2 import config as project_config
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from meddet_d2.files import checksum
from meddet_d2.modeling.weights import load_detector_weights

from .feature_cache import FeatureCache, digest
from .feature_store import FeatureStore, fingerprint
from .head_outputs import HeadOutputs
from .precision import Precision, choose_precision
from .taps import FeatureTap


class TeacherBank:
    """Trained detectors that only show their FPN maps and lend their heads.

    They are in ``eval`` mode and want no gradient for as long as they live. This is no ``nn.Module``, so whatever holds
    the bank neither trains, saves nor wraps them.

    Args:
        detectors: K ``GFL`` detectors; changed in place (frozen).
        names: what an error calls each of them, their config files as a rule.
        cache: bytes of maps to remember, shared out evenly among the teachers; 0: none. See :class:`FeatureCache`.
        precision: of the teachers' forward passes, and of what learns from them.
    """

    def __init__(
        self,
        detectors: Sequence[nn.Module],
        names: Sequence[str],
        cache: int = 0,
        precision: Precision = Precision(),  # noqa: B008 (frozen)
    ):
        if not detectors or len(detectors) != len(names):
            raise ValueError(f"A TeacherBank needs a name for each of at least one detector; got {len(names)} names.")
        self.detectors = [detector.eval().requires_grad_(False) for detector in detectors]
        for detector in self.detectors:
            # Of its own training, if that was in this process.
            detector.zero_grad(set_to_none=True)
            # As the images are (GFL.preprocess_image): convolutions then find both in their own order.
            detector.to(memory_format=torch.channels_last)
        self.precision = precision
        self.names = list(names)
        # Of the files that the weights were loaded from, by the teachers' names.
        self.checksums: dict[str, str] = {}
        self.caches = [FeatureCache(cache // len(detectors)) for _ in detectors] if cache > 0 else None

    @classmethod
    def build(cls, cfg: CfgNode) -> "TeacherBank":
        """The teachers in use, as their configs describe them, untrained, on ``cfg.MODEL.DEVICE``.

        Teachers are called as :func:`name_of` says, with a number where several have the same name.

        Raises:
            ValueError: as :func:`in_use`, a teacher reads images in another channel order than the student,
                ``CACHE_GIB`` is negative, or the device has no such ``PRECISION``.
            FileNotFoundError: a config is missing.
        """
        cache = cfg.DISTILL.TEACHERS.CACHE_GIB
        if not cache >= 0:
            raise ValueError(f"DISTILL.TEACHERS.CACHE_GIB is {cache}; give at least 0.")
        configs = [config for config, _ in in_use(cfg)]
        detectors = []
        for config in configs:
            teacher_cfg = load_config(config, cfg)
            # All its weights come from its checkpoint.
            teacher_cfg.MODEL.BOTTOM_UP.PRETRAINED = False
            detectors.append(build_model(teacher_cfg))
        stems = [name_of(config) for config in configs]
        shared = {stem for stem, count in Counter(stems).items() if count > 1}
        names = [f"{stem}-{k}" if stem in shared else stem for k, stem in enumerate(stems)]
        precision = choose_precision(cfg.DISTILL.PRECISION, cfg.MODEL.DEVICE)
        return cls(detectors, names, cache=int(cache * 2**30), precision=precision)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "TeacherBank":
        """:meth:`build` the teachers and load their checkpoints.

        Raises:
            ValueError: as :meth:`build`, or a checkpoint does not fit its config.
            FileNotFoundError: a config or a checkpoint is missing; the latter names the command that makes it.
        """
        require(cfg)
        bank = cls.build(cfg)
        for name, detector, (_, weights) in zip(bank.names, bank.detectors, in_use(cfg), strict=True):
            load_detector_weights(detector, weights)
            bank.checksums[name] = checksum(weights)
        if cfg.DISTILL.TEACHERS.CACHE_DIR:
            bank.keep_on_disk(cfg.DISTILL.TEACHERS.CACHE_DIR, int(cfg.DISTILL.TEACHERS.CACHE_DIR_GIB * 2**30))
        return bank

    def keep_on_disk(self, folder: str, capacity: int) -> None:
        """Keep the maps in a folder, too; see :class:`FeatureStore`. Call it when the weights are what they will be."""
        self.caches = self.caches or [FeatureCache(0) for _ in self.detectors]
        for cache, detector in zip(self.caches, self.detectors, strict=True):
            teacher = fingerprint(detector, self.precision.dtype)
            cache.store = FeatureStore(folder, capacity, teacher, stores=len(self.detectors))

    @torch.no_grad()
    def features(self, batched_inputs: list[dict], levels: int | None = None) -> list[list[Tensor]]:
        """Run each teacher's backbone and FPN, and not its head.

        Args:
            batched_inputs: the mapper's dicts; each teacher normalises the images by its own mean and deviation.
            levels: how many of its ``in_features`` are wanted, the finest first; None: all.

        Returns:
            For each teacher these maps (N, C, H, W), in ``precision`` if that is bf16.
        """
        # Not torch.inference_mode(): AFA must save these maps for its backward pass, which inference tensors refuse.
        with self.precision.frozen():
            maps = self._maps(batched_inputs, levels)
        # What learns from bf16 runs in bf16, or in what an autocast around it says. From fp16 it learns in fp32.
        return [[x.float() for x in pyramid] for pyramid in maps] if self.precision.dtype == torch.float16 else maps

    def _maps(self, batched_inputs: list[dict], levels: int | None) -> list[list[Tensor]]:
        images = [detector.preprocess_image(batched_inputs).tensor for detector in self.detectors]
        if not self.caches:
            return [_pyramid(detector, levels, x) for detector, x in zip(self.detectors, images, strict=True)]
        digests = [digest(inputs["image"]) for inputs in batched_inputs]
        trios = zip(self.caches, self.detectors, images, strict=True)
        return [cache(digests, x, partial(_pyramid, detector, levels)) for cache, detector, x in trios]

    def head_losses(self, index: int, features: list[Tensor], gt_instances: list) -> dict[str, Tensor]:
        """Detection losses of one teacher's frozen head on the given maps.

        Args:
            index: which teacher.
            features: one map (N, C, H, W) for each, or the first few, of its ``in_features``, of its channels.
            gt_instances: boxes and classes of each image, the first N of which count.

        Returns:
            Its weighted losses. Their gradient reaches ``features`` and no parameter of the teacher.
        """
        with self.precision.learning():
            return self.detectors[index].detection_losses(features, gt_instances[: len(features[0])])

    @torch.no_grad()
    def head_outputs(self, index: int, features: list[Tensor]) -> HeadOutputs:
        """What one teacher's head says on its maps, one (N, C, H, W) for each of its ``in_features``; no graph."""
        with self.precision.frozen():
            return HeadOutputs.join(self.detectors[index].head(features))

    def to(self, device: torch.device | str) -> "TeacherBank":
        """Move all teachers."""
        for detector in self.detectors:
            detector.to(device)
        return self

    def check_student(self, student: nn.Module) -> None:
        """Refuse a student that speaks of other classes, bins or levels than its teachers.

        It may leave out the teachers' coarsest levels.

        Raises:
            ValueError: naming the teacher, the key and both values.
        """
        for name, detector in zip(self.names, self.detectors, strict=True):
            for key, attribute in (
                ("MODEL.GFL.NUM_CLASSES", "num_classes"),
                ("MODEL.GFL.REG_MAX", "reg_max"),
                ("MODEL.GFL.IN_FEATURES", "in_features"),
                ("the strides of MODEL.GFL.IN_FEATURES", "strides"),
            ):
                theirs, ours = (_plain(getattr(network, attribute)) for network in (detector, student))
                if (theirs[: len(ours)] if isinstance(ours, tuple) else theirs) != ours:
                    raise ValueError(
                        f"Teacher {name} does not fit the student: {key} is {theirs} there and {ours} in the student; "
                        "make the two configs agree and train again the network that you change."
                    )


def _pyramid(detector: nn.Module, levels: int | None, images: Tensor) -> list[Tensor]:
    """Maps of the first ``in_features``, by a tap and not by the return value: as the student's are taken."""
    with FeatureTap(detector.backbone) as tap:
        detector.backbone(images)
    maps = tap.take()
    return [maps[name] for name in detector.in_features[:levels]]


def missing(cfg: CfgNode) -> list[tuple[str, str]]:
    """The (config, weights) of the teachers in use whose checkpoint does not exist yet.

    Raises:
        ValueError, FileNotFoundError: as :func:`in_use`.
    """
    return [(config, weights) for config, weights in in_use(cfg) if not Path(weights).is_file()]


def require(cfg: CfgNode) -> None:
    """Raise a FileNotFoundError, with the command that makes it, if a teacher's checkpoint does not exist."""
    for config, weights in missing(cfg)[:1]:
        file, overrides = project_config.split_teacher(config)
        command = shlex.join(["--config-file", file, "OUTPUT_DIR", str(Path(weights).parent), *overrides])
        raise FileNotFoundError(
            f"DISTILL.TEACHERS.WEIGHTS: {weights} does not exist; train this teacher with: "
            f"python tools/train_net.py {command}"
        )


def name_of(config: str) -> str:
    """What a teacher is called: the values of the overrides in its entry of CONFIGS, or its config file's stem."""
    file, overrides = project_config.split_teacher(config)
    return re.sub(r"[^\w.+]+", "-", " ".join(overrides[1::2])).strip("-") or Path(file).stem


def load_config(config: str, cfg: CfgNode) -> CfgNode:
    """A teacher's own config, with the overrides and the device of the run ``cfg``.

    Raises:
        ValueError: it reads images in another channel order than the student.
    """
    file, overrides = project_config.split_teacher(config)
    teacher = project_config.load_config(file, [*overrides, *cfg.DISTILL.TEACHERS.OPTS])
    teacher.MODEL.DEVICE = cfg.MODEL.DEVICE
    if teacher.INPUT.FORMAT != cfg.INPUT.FORMAT:
        # Both are shown the same tensors, and a teacher with red and blue exchanged is wrong without an error.
        raise ValueError(
            f"Teacher {config} does not fit the student: INPUT.FORMAT is {teacher.INPUT.FORMAT} there and "
            f"{cfg.INPUT.FORMAT} in the student; make the configs agree and train again the network that you change."
        )
    return teacher


def in_use(cfg: CfgNode) -> list[tuple[str, str]]:
    """The config and the checkpoint of each teacher that ``cfg.DISTILL.TEACHERS.USE`` chooses, in its order.

    Raises:
        ValueError: CONFIGS and WEIGHTS do not pair up, or USE chooses a teacher twice or one that is not there.
        FileNotFoundError: the config of a chosen teacher does not exist.
    """
    configs, weights = cfg.DISTILL.TEACHERS.CONFIGS, cfg.DISTILL.TEACHERS.WEIGHTS
    if not configs or len(configs) != len(weights):
        raise ValueError(
            f"DISTILL.TEACHERS.CONFIGS has {len(configs)} entries and DISTILL.TEACHERS.WEIGHTS has {len(weights)}; "
            "name at least one teacher, and each in both."
        )
    chosen = tuple(cfg.DISTILL.TEACHERS.USE) or tuple(range(len(configs)))
    # True and False are integers to Python, and a negative index would be one from the end.
    if not all(type(k) is int and 0 <= k < len(configs) for k in chosen) or len(set(chosen)) != len(chosen):
        raise ValueError(
            f"DISTILL.TEACHERS.USE is {chosen}; name teachers by different indices from 0 to {len(configs) - 1}."
        )
    for k in chosen:
        file, _ = project_config.split_teacher(configs[k])
        if not Path(file).is_file():
            raise FileNotFoundError(
                f"DISTILL.TEACHERS.CONFIGS: {file} is neither beside the config that names it nor in {Path.cwd()}."
            )
    return [(configs[k], weights[k]) for k in chosen]


def _plain(value):
    """Lists and tuples compare equal."""
    return tuple(value) if isinstance(value, list | tuple) else value

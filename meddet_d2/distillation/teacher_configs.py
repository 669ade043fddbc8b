"""Which networks a run needs, and each one's config: the teachers', and the stages in which they are trained."""

import itertools
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddet_d2 import config as project_config
from detectron2.config import CfgNode
from meddet_d2.plugins import plugin_options


@dataclass(frozen=True)
class Stage:
    """One training of a run.

    Attributes:
        name: for the log.
        cfg: the network's whole config; it works in ``cfg.OUTPUT_DIR``.
        row: its name in the run's table; None: it is not in it.
        distilled: the student under its teachers; otherwise a network by itself.
    """

    name: str
    cfg: CfgNode
    row: str | None = None
    distilled: bool = False


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
        options = [*plugin_options(), "--config-file", file, "OUTPUT_DIR", str(Path(weights).parent), *overrides]
        raise FileNotFoundError(
            f"DISTILL.TEACHERS.WEIGHTS: {weights} does not exist; train this teacher with: "
            f"meddet train {shlex.join(options)}"
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
    if "DATASETS" in cfg.DISTILL.TEACHERS.INHERIT:
        # Its number of classes is that of the data.
        teacher.DATASETS = cfg.DATASETS.clone()
    if teacher.INPUT.FORMAT != cfg.INPUT.FORMAT:
        # Both are shown the same tensors, and a teacher with red and blue exchanged is wrong without an error.
        raise ValueError(
            f"Teacher {config} does not fit the student: INPUT.FORMAT is {teacher.INPUT.FORMAT} there and "
            f"{cfg.INPUT.FORMAT} in the student; make the configs agree and train again the network that you change."
        )
    return teacher


def inherited_config(config: str, cfg: CfgNode, folder: str) -> CfgNode:
    """A teacher's config for this run: its own, with what ``DISTILL.TEACHERS.INHERIT`` takes over from the run's.

    Args:
        config: the teacher's entry of CONFIGS.
        cfg: the run's config.
        folder: the teacher's OUTPUT_DIR.

    Raises:
        ValueError: INHERIT names a key that there is not, or as :func:`load_config`.
    """
    teacher = load_config(config, cfg)
    for key in cfg.DISTILL.TEACHERS.INHERIT:
        *sections, name = str(key).split(".")
        ours, theirs = cfg, teacher
        try:
            for section in sections:
                ours, theirs = ours[section], theirs[section]
            value = ours[name]
        except (KeyError, TypeError):
            raise ValueError(f"DISTILL.TEACHERS.INHERIT names {key}; there is no such key or section.") from None
        theirs[name] = value.clone() if isinstance(value, CfgNode) else value
    teacher.OUTPUT_DIR = folder
    teacher.freeze()
    return teacher


def lent_config(config: str, cfg: CfgNode) -> CfgNode:
    """The config that builds a teacher for this run: the one that trains it, without pretrained weights.

    A network that takes one size of image is built for the largest that it is fed: the run's while it teaches, and that
    of its ``INPUT`` while it is evaluated.

    Raises:
        ValueError: as :func:`inherited_config`.
    """
    teacher = inherited_config(config, cfg, cfg.OUTPUT_DIR)
    sides = {f"INPUT.{key}": max(cfg.INPUT[key], teacher.INPUT[key]) for key in ("MAX_SIZE_TRAIN", "MAX_SIZE_TEST")}
    return changed(teacher, ["MODEL.BOTTOM_UP.PRETRAINED", False, *itertools.chain(*sides.items())])


def teacher_config(cfg: CfgNode, config: str, weights: str) -> CfgNode:
    """The config that trains a teacher for this run.

    Raises:
        ValueError: ``weights`` is not a ``model_final.pth``, which is what a training writes; or as
            :func:`inherited_config`.
    """
    if Path(weights).name != "model_final.pth":
        raise ValueError(
            f"DISTILL.TEACHERS.WEIGHTS names {weights}; a teacher that is trained for a run ends as "
            "<folder>/model_final.pth, so name it so."
        )
    return inherited_config(config, cfg, str(Path(weights).parent))


def teacher_stages(cfg: CfgNode) -> list[Stage]:
    """The trainings of the teachers whose checkpoint does not exist yet."""
    return [
        Stage(f"teacher {name_of(config)}", teacher_config(cfg, config, weights)) for config, weights in missing(cfg)
    ]


def alone_config(cfg: CfgNode) -> CfgNode:
    """The config that trains the student of a run without its teachers."""
    return changed(cfg, ["DISTILL.ENABLED", False, "OUTPUT_DIR", os.path.join(cfg.OUTPUT_DIR, "student_alone")])


def first_weights(cfg: CfgNode) -> str:
    """The checkpoint that the student begins with, if ``DISTILL.WARM_START``: what its training alone came to."""
    return os.path.join(alone_config(cfg).OUTPUT_DIR, "model_final.pth")


def changed(cfg: CfgNode, options: Sequence[Any]) -> CfgNode:
    """A frozen copy of a config with some values (KEY, VALUE, ...) exchanged."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(list(options))
    cfg.freeze()
    return cfg

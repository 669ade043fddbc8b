"""From rows, seeds and a scale to the runs that have to be made, each of them once.

A run is known by what it computes: the whole resolved config, without the keys that say where and from which seed, and
its seed. Rows that come to the same run share it, and so do the students of one set of teachers.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from meddet_d2 import config as project_config
from detectron2.config import CfgNode
from meddet_d2.distillation import teacher_configs
from meddet_d2.files import checksum

from .suite import Row, Suite, check_seeds

# What a row is about. A scale makes a run smaller; if it changed one of these, the table would compare other things
# than it says.
METHOD_KEYS = (
    "DISTILL.MEDDET.AATM.ENABLED",
    "DISTILL.ENABLED",
    "DISTILL.MEDDET.FUSION.NAME",
    "DISTILL.METHOD",
    "DISTILL.TEACHERS.USE",
    "MODEL.BACKBONE.NAME",
    "MODEL.BOTTOM_UP.LIBRARY",
    "MODEL.BOTTOM_UP.NAME",
    "MODEL.BOTTOM_UP.WIDTH_MULT",
    "MODEL.META_ARCHITECTURE",
    "MODEL.NMODE.KIND",
    "MODEL.NMODE.PLACES",
)
# The benchmark sets these itself.
OWN_KEYS = ("SEED", "OUTPUT_DIR", "DISTILL.TRAIN_ALONE", "DISTILL.TEACHERS.TRAIN_MISSING")
WEIGHTS = "model_final.pth"


@dataclass(eq=False)  # by identity: comparing whole configs takes long
class Run:
    """One training and its evaluation.

    Attributes:
        kind: "teacher" or "student".
        name: for people; the first row's, or the teacher's config.
        seed: of the training.
        config_hash: of everything that decides its figures but the seed.
        cfg: the whole config; frozen.
        folder: where it works.
        source: the config file that it began from, relative to the working directory where it can be, and a teacher's
            overrides after it.
        teachers: the runs that must be done before it.
        rows: the (table, row) pairs that it stands for; none for a teacher.
    """

    kind: str
    name: str
    seed: int
    config_hash: str
    cfg: CfgNode
    folder: Path
    source: str
    teachers: tuple["Run", ...] = ()
    rows: list[tuple[str, str]] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{'teacher ' if self.kind == 'teacher' else ''}{self.name}, seed {self.seed}"


@dataclass(frozen=True)
class TeacherChoice:
    """Where the teachers come from.

    Attributes:
        seed: of a set of teachers that all students share.
        per_seed: train a set for every seed of the students instead, with that seed.
        given: train none; take the checkpoints that DISTILL.TEACHERS.WEIGHTS names.
    """

    seed: int = 1848
    per_seed: bool = False
    given: bool = False

    def describe(self) -> str:
        if self.given:
            return "given checkpoints"
        return "one set for each seed" if self.per_seed else f"one set for all seeds, trained with seed {self.seed}"


class Planner:
    """Turns rows into runs.

    Args:
        output: the results folder.
        scale: an overlay for every row's config, or None for the paper's size.
        overrides: KEY, VALUE, ... for every row's config, after the overlay.
        teachers: where the teachers come from.

    Raises:
        ValueError: the overrides name a key that the benchmark sets itself.
    """

    def __init__(
        self,
        output: Path,
        *,
        scale: Path | None = None,
        overrides: Sequence[str] = (),
        teachers: TeacherChoice | None = None,
    ):
        taken = [key for key in overrides[::2] if key in OWN_KEYS]
        if taken:
            raise ValueError(f"{', '.join(taken)} cannot be overridden: the benchmark sets it for every run.")
        self.output, self.scale, self.overrides = Path(output), scale, list(overrides)
        self.teachers = teachers or TeacherChoice()
        self.runs: dict[tuple[str, int], Run] = {}

    def plan(self, suite: Suite, rows: Sequence[Row], seeds: Sequence[int] | None = None) -> list[Run]:
        """The runs of some rows in the order in which they are made: teachers first, then seed by seed.

        Seed by seed, so that a benchmark that is stopped early has every row.

        Args:
            suite: the rows' suite.
            rows: of the suite.
            seeds: instead of the suite's and the rows' own.

        Raises:
            FileNotFoundError, ValueError: a row's config is missing or wrong; the message names the row.
        """
        seeds = None if seeds is None else check_seeds(list(seeds), "--seeds")
        jobs = [(order, seed, row) for row in rows for order, seed in enumerate(seeds or row.seeds or suite.seeds)]
        for _, seed, row in sorted(jobs, key=lambda job: job[0]):
            self._student(row, seed)
        return sorted(self.runs.values(), key=lambda run: run.kind != "teacher")

    def _student(self, row: Row, seed: int) -> None:
        try:
            cfg = scaled_config(row.config, self.scale, self.overrides)
            cfg.SEED = seed
            cfg.DISTILL.TRAIN_ALONE = False
            cfg.DISTILL.TEACHERS.TRAIN_MISSING = False
            cfg.DISTILL.TEACHERS.EVALUATE = False  # a teacher that is trained here was evaluated then
            teachers, known_by = self._teachers(cfg) if cfg.DISTILL.ENABLED else ((), [])
        except (ValueError, OSError) as error:
            raise type(error)(f"{row.label}: {error}") from error
        run = self._add("student", row.name, cfg, relative(row.config), teachers, known_by)
        if (row.table, row.name) not in run.rows:
            run.rows.append((row.table, row.name))

    def _teachers(self, cfg: CfgNode) -> tuple[tuple[Run, ...], list[str]]:
        """The teachers' runs, and what a student's hash knows them by; the student's config gets their checkpoints."""
        teachers = cfg.DISTILL.TEACHERS
        if self.teachers.given:
            teacher_configs.require(cfg)
            return (), [checksum(weights)[:12] for _, weights in teacher_configs.in_use(cfg)]
        shared = cfg.clone()
        shared.SEED = cfg.SEED if self.teachers.per_seed else self.teachers.seed
        # Those that are not in use are not trained, and nobody opens their checkpoints.
        teachers.WEIGHTS = ("not-in-use.pth",) * len(teachers.CONFIGS)
        runs = {}
        for config, _ in teacher_configs.in_use(cfg):
            file, overrides = project_config.split_teacher(config)
            source = " ".join([relative(file), *overrides])
            teacher = teacher_configs.teacher_config(shared, config, WEIGHTS).clone()
            teacher.defrost()
            runs[config] = self._add("teacher", teacher_configs.name_of(config), teacher, source)
        teachers.WEIGHTS = tuple(
            str(runs[config].folder / WEIGHTS) if config in runs else unused
            for config, unused in zip(teachers.CONFIGS, teachers.WEIGHTS, strict=True)
        )
        seed = "each" if self.teachers.per_seed else str(self.teachers.seed)
        return tuple(runs.values()), [f"{run.config_hash} of seed {seed}" for run in runs.values()]

    def _add(self, kind, name, cfg, source, teachers=(), known_by=()) -> Run:
        known = config_hash(cfg, known_by)
        run = self.runs.get((known, cfg.SEED))
        if run is None:
            folder = self.output / f"{kind}s" / f"{_slug(cfg)}-seed{cfg.SEED}-{known[:8]}"
            cfg.OUTPUT_DIR = str(folder)
            cfg.freeze()
            run = Run(kind, name, cfg.SEED, known, cfg, folder, source, tuple(teachers))
            self.runs[known, cfg.SEED] = run
        return run


def scaled_config(path: Path, scale: Path | None, overrides: Sequence[str] = ()) -> CfgNode:
    """A row's config under an overlay and overrides.

    Raises:
        ValueError: they change what the row is about (``METHOD_KEYS``), or a key or value is wrong.
        FileNotFoundError: a file does not exist.
    """
    own = project_config.load_config(str(path))
    cfg = project_config.load_config(str(path), overrides, overlay=None if scale is None else str(scale))
    for key in METHOD_KEYS:
        before, after = lookup(own, key), lookup(cfg, key)
        if before != after:
            raise ValueError(
                f"{scale if key not in overrides else 'an override'} changes {key} from {before} to {after}, which is "
                "what the row is about; leave it out, or write another config for another row."
            )
    return cfg


def lookup(cfg: CfgNode, key: str) -> Any:
    """The value of a dotted key."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def identity(content: dict, teachers: Sequence[str] = ()) -> dict:
    """What of a config decides a run's figures, its seed aside.

    Args:
        content: the config as plain dicts and lists.
        teachers: what the checkpoints of those in use are known by, in order; their paths say nothing.
    """
    content = json.loads(json.dumps(content))
    for key in ("SEED", "OUTPUT_DIR"):
        content.pop(key, None)
    content["MODEL"].pop("DEVICE", None)  # recorded with the hardware
    if content["MODEL"]["NMODE"]["KIND"] == "none":
        content["MODEL"].pop("NMODE")
    if content["DISTILL"]["ENABLED"]:
        content["DISTILL"]["TEACHERS"] = list(teachers)
    else:
        content.pop("DISTILL")
    return content


def config_hash(cfg: CfgNode, teachers: Sequence[str] = ()) -> str:
    """A hash of :func:`identity`."""
    text = json.dumps(identity(yaml.safe_load(cfg.dump()), teachers), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _slug(cfg: CfgNode) -> str:
    """Words for a folder's name, from the config alone: by which of its rows a run is asked for must not matter."""
    method = cfg.DISTILL.METHOD if cfg.DISTILL.ENABLED else "alone"
    return re.sub(r"[^a-z0-9]+", "-", f"{cfg.MODEL.BOTTOM_UP.NAME} {method}".lower()).strip("-")


def relative(path: Path | str) -> str:
    """A path for a record: from the working directory if it lies there, otherwise the file's name alone."""
    path = Path(path).resolve()
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else path.name

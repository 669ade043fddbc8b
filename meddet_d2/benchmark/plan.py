"""From rows, seeds and a scale to the runs that have to be made, each of them once.

A run is known by what it computes: the whole resolved config, without the keys that say where and from which seed, and
its seed. Rows that come to the same run share it, and so do the students of one set of teachers.
"""

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from tqdm import tqdm

from meddet_d2 import config as project_config
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from meddet_d2.data import register_datasets
from meddet_d2.distillation import DISTILLER_REGISTRY, teacher_configs
from meddet_d2.engine.guards import check_config
from meddet_d2.engine.stages import check_distillation
from meddet_d2.files import checksum

from ..command import message_of
from .suite import Row, Suite, check_seeds

# What a row is about, and each method's `row_keys` with it. A scale makes a run smaller; if it changed one of these,
# the table would compare other things than it says.
ROW_KEYS = (
    "DISTILL.ENABLED",
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
# In its place for teachers that are not in use: they are not trained, and nobody opens their checkpoints.
UNUSED = "not-in-use.pth"


@dataclass(eq=False)  # by identity: comparing whole configs takes long
class Run:
    """One training and its evaluation."""

    kind: str  # "teacher" or "student"
    name: str  # for people: the first row's, or that of the teacher's config
    seed: int
    config_hash: str  # of everything that decides its figures but the seed
    cfg: CfgNode  # frozen
    folder: Path
    source: str  # the config that it began from, by `relative`, and a teacher's overrides after it
    teachers: tuple["Run", ...] = ()  # which must be done before it
    rows: list[tuple[str, str]] = field(default_factory=list)  # (table, row) pairs that it stands for

    @property
    def label(self) -> str:
        return f"{'teacher ' if self.kind == 'teacher' else ''}{self.name}, seed {self.seed}"


@dataclass
class Planner:
    """Turns rows into runs.

    Raises:
        ValueError: the overrides name a key that the benchmark sets itself.
    """

    output: Path  # the results folder
    scale: Path | None = None  # an overlay for every row's config; None: the paper's size
    overrides: Sequence[str] = ()  # KEY, VALUE, ... for every row's config, after the overlay
    teacher_seed: int = 1848  # of a set of teachers that all students share
    per_seed: bool = False  # train a set for every seed of the students instead, with that seed
    given: bool = False  # train none; take the checkpoints that DISTILL.TEACHERS.WEIGHTS names
    runs: dict[tuple[str, int], Run] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        taken = [key for key in self.overrides[::2] if key in OWN_KEYS]
        if taken:
            raise ValueError(f"{', '.join(taken)} cannot be overridden: the benchmark sets it for every run.")

    @property
    def teachers(self) -> str:
        """Where the teachers come from, in words."""
        sets = "each seed" if self.per_seed else f"all seeds, trained with seed {self.teacher_seed}"
        return "given checkpoints" if self.given else f"one set for {sets}"

    def plan(self, suite: Suite, rows: Sequence[Row], seeds: Sequence[int] | None = None) -> list[Run]:
        """The runs of some rows in the order in which they are made: teachers first, then seed by seed.

        Seed by seed, so that a benchmark that is stopped early has every row.

        Args:
            suite, rows: some of the suite's rows.
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
        if self.given:
            teacher_configs.require(cfg)
            return (), [checksum(weights)[:12] for _, weights in teacher_configs.in_use(cfg)]
        shared = cfg.clone()
        shared.SEED = cfg.SEED if self.per_seed else self.teacher_seed
        teachers.WEIGHTS = (UNUSED,) * len(teachers.CONFIGS)
        runs = {}
        for config, _ in teacher_configs.in_use(cfg):
            file, overrides = project_config.split_teacher(config)
            source = " ".join([relative(file), *overrides])
            teacher = teacher_configs.teacher_config(shared, config, WEIGHTS).clone()
            teacher.defrost()
            runs[config] = self._add("teacher", teacher_configs.name_of(config), teacher, source)
        weights = {config: str(run.folder / WEIGHTS) for config, run in runs.items()}
        teachers.WEIGHTS = tuple(weights.get(config, UNUSED) for config in teachers.CONFIGS)
        seed = "each" if self.per_seed else str(self.teacher_seed)
        return tuple(runs.values()), [f"{run.config_hash} of seed {seed}" for run in runs.values()]

    def _add(self, kind, name, cfg, source, teachers=(), known_by=()) -> Run:
        known = config_hash(cfg, known_by)
        run = self.runs.get((known, cfg.SEED))
        if run is None:
            # A name from the config alone: by which of its rows a run is asked for must not matter.
            words = f"{cfg.MODEL.BOTTOM_UP.NAME} {cfg.DISTILL.METHOD if cfg.DISTILL.ENABLED else 'alone'}"
            slug = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
            folder = Path(self.output) / f"{kind}s" / f"{slug}-seed{cfg.SEED}-{known[:8]}"
            cfg.OUTPUT_DIR = str(folder)
            cfg.freeze()
            run = Run(kind, name, cfg.SEED, known, cfg, folder, source, tuple(teachers))
            self.runs[known, cfg.SEED] = run
        return run


def scaled_config(path: Path, scale: Path | None, overrides: Sequence[str] = ()) -> CfgNode:
    """A row's config under an overlay and overrides.

    Raises:
        ValueError: they change what the row is about (``row_keys``), or a key or value is wrong.
        FileNotFoundError: a file does not exist.
    """
    own = project_config.load_config(str(path))
    cfg = project_config.load_config(str(path), overrides, overlay=None if scale is None else str(scale))
    for key in row_keys():
        before, after = (functools.reduce(getattr, key.split("."), content) for content in (own, cfg))
        if before != after:
            raise ValueError(
                f"{scale if key not in overrides else 'an override'} changes {key} from {before} to {after}, which is "
                "what the row is about; leave it out, or write another config for another row."
            )
    return cfg


def row_keys() -> list[str]:
    """``ROW_KEYS`` and those of every method."""
    return [*ROW_KEYS, *(key for _, method in DISTILLER_REGISTRY for key in method.row_keys)]


def identity(content: dict, teachers: Sequence[str] = ()) -> dict:
    """What of a config decides a run's figures, its seed aside.

    Args:
        content: the config as plain dicts and lists, which are changed.
        teachers: what the checkpoints of those in use are known by, in order; their paths say nothing.
    """
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


def relative(path: Path | str) -> str:
    """A path for a record: from the working directory if it lies there, otherwise the file's name alone."""
    path = Path(path).resolve()
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else path.name


def check_runs(runs: Sequence[Run]) -> None:
    """Build every network, teacher and distiller once without memory, and read (or draw) the data sets.

    Raises:
        ValueError: as building or reading says, with the run's name before it. An unknown backbone, method or fusion
            comes with those that are known.
    """
    distinct = {run.config_hash: run for run in runs}.values()
    known: set[str] = set()
    for run in tqdm(distinct, desc="Checking the configs", unit="config", disable=None, leave=False):
        try:
            check_config(run.cfg)
            if run.cfg.DISTILL.ENABLED:
                check_distillation(run.cfg)
            else:
                options = ["MODEL.DEVICE", "meta", "MODEL.BOTTOM_UP.PRETRAINED", False]
                build_model(teacher_configs.changed(run.cfg, options))
            data = run.cfg.DATASETS.dump()
            if data not in known:
                register_datasets(run.cfg)
                for name in (*run.cfg.DATASETS.TRAIN, *run.cfg.DATASETS.TEST):
                    DatasetCatalog.get(name)
                known.add(data)
        except (ValueError, OSError, KeyError) as error:
            raise ValueError(f"{run.name} ({run.source}): {message_of(error)}") from error

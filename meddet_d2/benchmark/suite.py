"""The list of runs that makes the tables: a yaml file of rows, each a config and what the paper prints for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddet_d2.files import read_yaml

ROW_KEYS = {"table", "row", "config", "seeds", "paper", "teacher"}
SUITE_KEYS = {"seeds", "teachers", "rows", "efficiency"}
TEACHER_KEYS = {"seed", "per_seed"}
# As the paper prints them: its mAP in percent, its recall in [0, 1], images per second, millions of parameters,
# 10^9 multiply-adds.
PAPER_KEYS = {"map", "recall", "fps", "params_m", "gflops"}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        table, name: where it stands, and what it is called there.
        config: the yaml of the network or method, at the paper's size.
        seeds: of this row alone; None for the suite's.
        paper: the paper's figures by ``PAPER_KEYS``; none where it has no such row.
        teacher: a teacher, in the comparison of sizes and speeds.
    """

    table: str
    name: str
    config: Path
    seeds: tuple[int, ...] | None
    paper: Mapping[str, float]
    teacher: bool = False

    @property
    def label(self) -> str:
        return f"table {self.table}, {self.name}"


@dataclass(frozen=True)
class Suite:
    """A suite file.

    Attributes:
        path: of the file.
        rows: to train and evaluate, in the order of the tables.
        efficiency: networks to count and time side by side.
        seeds: of the rows that name none.
        teacher_seed: the teachers' seed, where all seeds share one set of teachers.
        teachers_per_seed: train a set of teachers for every seed instead, with that seed.
    """

    path: Path
    rows: tuple[Row, ...]
    efficiency: tuple[Row, ...]
    seeds: tuple[int, ...]
    teacher_seed: int
    teachers_per_seed: bool

    def select(self, tables: Sequence[str] | None = None, names: Sequence[str] | None = None) -> list[Row]:
        """The rows of some tables, or with some names, or both; all by default.

        Raises:
            ValueError: a table or a row that the suite does not have, with those that it has.
        """
        check_known("table", tables, [row.table for row in self.rows], self.path)
        check_known("row", names, [row.name for row in self.rows], self.path)
        chosen = [row for row in self.rows if tables is None or row.table in tables]
        chosen = [row for row in chosen if names is None or row.name in names]
        if not chosen:
            raise ValueError(f"{self.path} has no row {names} in table {tables}; see benchmark.py list.")
        return chosen


def load_suite(path: str | Path) -> Suite:
    """Read a suite file.

    Args:
        path: its ``config`` entries are relative to its folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no yaml or no suite; the message names the row and the key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"The suite {path} does not exist; configs/benchmark/tables.yaml is the paper's.")
    content = _mapping(read_yaml(path), SUITE_KEYS, str(path))
    teachers = _mapping(content.get("teachers", {}), TEACHER_KEYS, f"{path}, teachers")
    rows, efficiency = (_rows(content.get(key, []), path, key) for key in ("rows", "efficiency"))
    if not rows:
        raise ValueError(f"{path} lists no rows; give at least one {{table, row, config}}.")
    per_seed = teachers.get("per_seed", False)
    if not isinstance(per_seed, bool):
        raise ValueError(f"{path}, teachers: per_seed is {per_seed!r}; give true or false.")
    return Suite(
        path=path,
        rows=rows,
        efficiency=efficiency,
        seeds=check_seeds(content.get("seeds", [1]), str(path)),
        teacher_seed=check_seeds([teachers.get("seed", 1848)], f"{path}, teachers")[0],
        teachers_per_seed=per_seed,
    )


def check_seeds(seeds: Any, where: str) -> tuple[int, ...]:
    """Seeds that are whole, not negative (which would mean a random one) and all different.

    Raises:
        ValueError: naming ``where``.
    """
    listed = isinstance(seeds, list | tuple) and bool(seeds)
    if not listed or not all(type(seed) is int and seed >= 0 for seed in seeds) or len(set(seeds)) != len(seeds):
        raise ValueError(f"{where}: the seeds are {seeds}; list different whole numbers from 0 up.")
    return tuple(seeds)


def _rows(items: Any, path: Path, key: str) -> tuple[Row, ...]:
    if not isinstance(items, list):
        raise ValueError(f"{path}: {key} must be a list of rows.")
    rows = [_row(item, path, f"{path}, {key}, entry {number}") for number, item in enumerate(items, 1)]
    seen: set[str] = set()
    for row in rows:
        if row.label in seen:
            raise ValueError(f"{path} has {row.label} twice; give one of them another name.")
        seen.add(row.label)
    return tuple(rows)


def _row(item: Any, path: Path, where: str) -> Row:
    item = _mapping(item, ROW_KEYS, where)
    for key in ("table", "row", "config"):
        if not isinstance(item.get(key), str):
            raise ValueError(f"{where}: {key} is {item.get(key)!r}; give a text (in quotes).")
    where = f"{path}, table {item['table']}, {item['row']}"
    paper = _mapping(item.get("paper", {}), PAPER_KEYS, f"{where}, paper")
    for key, value in paper.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{where}, paper: {key} is {value!r}; give a number.")
    return Row(
        table=item["table"],
        name=item["row"],
        config=path.parent / item["config"],
        seeds=check_seeds(item["seeds"], where) if "seeds" in item else None,
        paper=paper,
        teacher=bool(item.get("teacher", False)),
    )


def _mapping(content: Any, keys: set[str], where: str) -> dict:
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected keys and values ({', '.join(sorted(keys))}), got {content!r}.")
    unknown = [str(key) for key in content if key not in keys]
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; the keys are {', '.join(sorted(keys))}.")
    return content


def check_known(kind: str, asked: Sequence[str] | None, names: Sequence[str], path: Path) -> None:
    """Raise a ValueError, which lists those that there are, if something is asked for that is not among ``names``."""
    known = list(dict.fromkeys(names))
    unknown = [name for name in asked or () if name not in known]
    if unknown:
        raise ValueError(f"{path} has no {kind} {', '.join(map(repr, unknown))}; it has {', '.join(known)}.")

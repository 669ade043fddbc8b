"""The list of runs that makes the tables: a yaml file of rows, each a config and what the paper prints for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meddet_d2.files import read_yaml

# The keys of a suite and of its parts, and the kind of each one's value; None: `check_seeds` looks at it.
SUITE_KEYS = {"seeds": None, "teachers": dict, "rows": list, "efficiency": list}
TEACHER_KEYS = {"seed": None, "per_seed": bool}
ROW_KEYS = {"table": str, "row": str, "config": str, "seeds": None, "paper": dict, "teacher": bool}
# As the paper prints them: its mAP in percent, its recall in [0, 1], images per second, millions of parameters,
# 10^9 multiply-adds.
PAPER_KEYS = dict.fromkeys(("map", "recall", "fps", "params_m", "gflops"), float)
KINDS = {
    str: "a text (in quotes)", bool: "true or false", float: "a number", list: "a list of rows",
    dict: "keys and values",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    table: str
    name: str
    config: Path  # of the network or method, at the paper's size
    seeds: tuple[int, ...] | None  # of this row alone; None: the suite's
    paper: Mapping[str, float]  # the paper's figures by PAPER_KEYS
    teacher: bool = False  # in the comparison of sizes and speeds

    @property
    def label(self) -> str:
        return f"table {self.table}, {self.name}"


@dataclass(frozen=True)
class Suite:
    """A suite file: what to train and evaluate, in the order of the tables, and what to count and time side by side."""

    path: Path
    rows: tuple[Row, ...]
    efficiency: tuple[Row, ...]
    seeds: tuple[int, ...]  # of the rows that name none
    teacher_seed: int  # where all seeds share one set of teachers
    teachers_per_seed: bool  # a set of teachers for every seed instead, with that seed


def select(rows: Sequence[Any], tables: Sequence[str] | None, names: Sequence[str] | None, path: Path) -> list[Any]:
    """The rows, of a suite or of its results, of some tables, or with some names, or both; None: all.

    Raises:
        ValueError: nothing is chosen, or a table or a row is not there; the message lists those that are in ``path``.
    """
    chosen = list(rows)
    for kind, attribute, asked in (("table", "table", tables), ("row", "name", names)):
        known = dict.fromkeys(getattr(row, attribute) for row in rows)
        unknown = [name for name in asked or () if name not in known]
        if unknown:
            raise ValueError(f"{path} has no {kind} {', '.join(map(repr, unknown))}; it has {', '.join(known)}.")
        chosen = [row for row in chosen if asked is None or getattr(row, attribute) in asked]
    if not chosen:
        raise ValueError(f"{path} has no row {names} in table {tables}; see benchmark.py list.")
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
    content = _checked(read_yaml(path), SUITE_KEYS, str(path))
    teachers = _checked(content.get("teachers", {}), TEACHER_KEYS, f"{path}, teachers")
    if not content.get("rows"):
        raise ValueError(f"{path} lists no rows; give at least one {{table, row, config}}.")
    return Suite(
        path=path,
        rows=_rows(content, path, "rows"),
        efficiency=_rows(content, path, "efficiency"),
        seeds=check_seeds(content.get("seeds", [1]), str(path)),
        teacher_seed=check_seeds([teachers.get("seed", 1848)], f"{path}, teachers")[0],
        teachers_per_seed=teachers.get("per_seed", False),
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


def _rows(content: dict, path: Path, key: str) -> tuple[Row, ...]:
    rows: dict[str, Row] = {}
    for number, item in enumerate(content.get(key, []), 1):
        if isinstance(item, dict):
            item = {**dict.fromkeys(("table", "row", "config")), **item}
        item = _checked(item, ROW_KEYS, f"{path}, {key}, entry {number}")
        where = f"{path}, table {item['table']}, {item['row']}"
        row = Row(
            table=item["table"],
            name=item["row"],
            config=path.parent / item["config"],
            seeds=check_seeds(item["seeds"], where) if "seeds" in item else None,
            paper=_checked(item.get("paper", {}), PAPER_KEYS, f"{where}, paper"),
            teacher=item.get("teacher", False),
        )
        if row.label in rows:
            raise ValueError(f"{path} has {row.label} twice; give one of them another name.")
        rows[row.label] = row
    return tuple(rows.values())


def _checked(content: Any, kinds: Mapping[str, type | None], where: str) -> dict:
    """``content``, if it is a table of these keys alone, each of its kind."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected keys and values ({', '.join(sorted(kinds))}), got {content!r}.")
    unknown = [str(key) for key in content if key not in kinds]
    if unknown:
        raise ValueError(f"{where}: unknown {', '.join(unknown)}; the keys are {', '.join(sorted(kinds))}.")
    for key, kind in kinds.items():
        if key in content and kind is not None:
            value = content[key]
            # True is a number to Python.
            fits = isinstance(value, int | float if kind is float else kind) and (type(value) is bool) is (kind is bool)
            if not fits:
                raise ValueError(f"{where}: {key} is {value!r}; give {KINDS[kind]}.")
    return content

"""What the benchmark's reports are made of: figures, markdown tables, csv files, and how all came about."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from meddet_d2.files import replacing


def number(value: float | None, form: str = ".1f") -> str:
    """A figure; nothing of None."""
    return "" if value is None else f"{value:{form}}"


def mean_and_sd(mean: float | None, sd: float | None, form: str = ".1f", sign: str = "") -> str:
    """ "mean ± sd", the mean alone of one value, nothing of none."""
    return number(mean, sign + form) + ("" if sd is None else f" ± {sd:{form}}")


def table(lines: Iterable[Sequence[Any]], headers: Sequence[str]) -> str:
    """Lines of texts as a markdown table."""
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def history(facts: Mapping[str, str], commands: Iterable[str]) -> str:
    """The last section of a report."""
    lines = [f"- {name}: {text}" for name, text in facts.items()]
    return "\n".join(["## How these came about", "", *lines, "", "```bash", *commands, "```"])


def commit_of(record: Mapping[str, Any]) -> str:
    """A record's commit, and whether there was more in the tree."""
    return f"{record['commit'] or 'unknown'}{' with uncommitted changes' if record['dirty'] else ''}"


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """Write a table as csv, whole or not at all."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])


def read_json(path: Path) -> dict | None:
    """A json file's content; None if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

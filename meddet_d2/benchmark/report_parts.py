"""What the benchmark's reports are made of: figures, markdown tables, files, and how all came about."""

import csv
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from meddet_d2.files import new_table, write_json, write_text

from ..provenance import describe_hardware, hardware, provenance_now


def mean_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean, None of nothing, and sample standard deviation, None of fewer than two."""
    return statistics.fmean(values) if values else None, statistics.stdev(values) if len(values) > 1 else None


def number(value: float | None, form: str = ".1f") -> str:
    """A figure; nothing of None."""
    return "" if value is None else f"{value:{form}}"


def mean_and_sd(mean: float | None, sd: float | None, form: str = ".1f", sign: str = "") -> str:
    """ "mean ± sd", the mean alone of one value, nothing of none."""
    return number(mean, sign + form) + ("" if sd is None else f" ± {sd:{form}}")


def millions(count: float | None) -> str:
    """A number of parameters; nothing of None."""
    return "" if count is None else f"{count / 1e6:.2f} M"


def table(lines: Iterable[Mapping[str, Any]]) -> str:
    """Lines, at least one, each of texts by column, as a markdown table."""
    return tabulate(lines, headers="keys", tablefmt="pipe", disable_numparse=True)


def history(facts: Mapping[str, str], commands: Iterable[str]) -> str:
    """The last section of a report."""
    lines = [f"- {name}: {text}" for name, text in facts.items()]
    return "\n".join(["## How these came about", "", *lines, "", "```bash", *commands, "```"])


def joined(texts: Iterable[Any]) -> str:
    """Different texts, sorted."""
    return "; ".join(sorted(set(map(str, texts))))


def commit_of(record: Mapping[str, Any]) -> str:
    """A record's commit, and whether there was more in the tree."""
    return f"{record['commit'] or 'unknown'}{' with uncommitted changes' if record['dirty'] else ''}"


def made_by_in_words(record: Mapping[str, Any]) -> str:
    """A record's engine and torch."""
    return f"{record['engine']}, torch {record['torch']}"


def write_timing(path: Path, how: str, end: str, text: str, content: Mapping[str, Any], command: str) -> str:
    """Write what was timed as json and as markdown.

    Args:
        path: of both, without a suffix.
        how: the beginning of the note on how it was measured, up to the machine; ``end`` is the rest.
        text: the tables.
        content: of the json.
        command: that measured it.

    Returns:
        The note.
    """
    made = {"hardware": hardware(), "command": command, **provenance_now()}
    note = f"{how}; on {describe_hardware(made['hardware'])}, {made_by_in_words(made)}{end}"
    write_json(path.with_suffix(".json"), {"note": note, **content, **made})
    write_text(path.with_suffix(".md"), f"{note}\n\n{text}\n\n```bash\n{command}\n```\n")
    return note


def write_csv(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write lines, at least one and all with the columns of the first, as csv, whole or not at all."""
    with new_table(path) as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)


def read_json(path: Path) -> dict | None:
    """A json file's content; None if there is no such file, a ValueError if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to make it again.") from error

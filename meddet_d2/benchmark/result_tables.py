"""From the records of a results folder to tables.md, results.csv and results.json.

Every figure of ours is in percent and comes from the json records alone; the paper's stand in columns of their own.
"""

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from meddet_d2.evaluation.detection_evaluator import data_note
from meddet_d2.files import replacing, write_json

from ..provenance import describe_hardware
from .efficiency import EFFICIENCY
from .results_folder import ResultsFolder

METRICS = ("AP50", "AP", "AP75", "recall50")
PAPER_MAP, PAPER_RECALL = "the paper's mAP on CDH-1848", "the paper's recall on CDH-1848"


@dataclass(frozen=True)
class RowResult:
    """What came out of one row over its seeds.

    Attributes:
        table, row: as the suite names them.
        paper: the paper's figures, maybe none.
        records: seed -> record, and under "run" its folder; of the seeds that are done.
        failed: seed -> the error.
        missing: seeds that were asked for and never ended.
    """

    table: str
    row: str
    paper: Mapping[str, float]
    records: Mapping[int, dict]
    failed: Mapping[int, str]
    missing: Sequence[int]

    @property
    def seeds(self) -> list[int]:
        return sorted(self.records)

    def values(self, metric: str) -> list[float]:
        """A metric in percent, one for each seed that is done and has it."""
        found = [self.records[seed]["metrics"].get(metric) for seed in self.seeds]
        return [value for value in found if value is not None]

    def mean(self, metric: str) -> float | None:
        """Mean over the seeds; None without any."""
        values = self.values(metric)
        return statistics.fmean(values) if values else None

    def sd(self, metric: str) -> float | None:
        """Sample standard deviation over the seeds; None for fewer than two."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None


def collect(folder: ResultsFolder) -> list[RowResult]:
    """The rows that were asked for, in the suite's order.

    Raises:
        ValueError: nothing was.
    """
    plan, records = folder.read_plan(), folder.records()
    rows: dict[tuple[str, str], RowResult] = {}
    for entry in plan["entries"]:
        place = entry["table"], entry["row"]
        row = rows.setdefault(place, RowResult(*place, entry["paper"], {}, {}, []))
        record = records.get(entry["run"], {})
        if record.get("status") == "done":
            row.records[entry["seed"]] = {**record, "run": entry["run"]}
        elif record.get("status") == "failed":
            row.failed[entry["seed"]] = record["error"]
        else:
            row.missing.append(entry["seed"])
    if not rows:
        raise ValueError(f"{folder.path} holds no benchmark; make one with: python tools/benchmark.py run --output ...")
    return list(rows.values())


def write_report(folder: ResultsFolder) -> list[RowResult]:
    """Write results.json, results.csv and tables.md, and return the rows they show."""
    rows, plan, records = collect(folder), folder.read_plan(), folder.records()
    write_json(folder.path / "results.json", summary(rows))
    _write_csv(rows, folder.path / "results.csv")
    with replacing(folder.path / "tables.md") as temporary:
        temporary.write_text(_tables(rows, plan, records, read_json(folder.path / EFFICIENCY)), encoding="utf-8")
    return rows


def summary(rows: Sequence[RowResult]) -> list[dict]:
    """The list that results.json holds; means are None where no seed is done, and the deviation where one is."""
    return [
        {
            "table": row.table,
            "row": row.row,
            "seeds": row.seeds,
            "ap50_mean": row.mean("AP50"),
            "ap50_sd": row.sd("AP50"),
            "recall_mean": row.mean("recall50"),
        }
        for row in rows
    ]


def _write_csv(rows: Sequence[RowResult], path: Path) -> None:
    """One line for each row and seed, failed and missing ones too."""
    header = ("table", "row", "seed", "status", *METRICS, "parameters", "seconds", "run", "paper_map", "paper_recall")
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            paper = (row.paper.get("map", ""), row.paper.get("recall", ""))
            for seed in sorted({*row.records, *row.failed, *row.missing}):
                record = row.records.get(seed)
                status = "done" if record else "failed" if seed in row.failed else "missing"
                metrics = [record["metrics"].get(metric) for metric in METRICS] if record else [None] * len(METRICS)
                rest = [record[key] for key in ("parameters", "seconds", "run")] if record else [None] * 3
                writer.writerow([row.table, row.row, seed, status, *metrics, *rest, *paper])


def _tables(rows: Sequence[RowResult], plan: dict, records: dict[str, dict], efficiency: dict | None) -> str:
    done = [record for record in records.values() if record["status"] == "done"]
    parts = [f"{_origin(done)}\n", *_warnings(done, rows)]
    for table in dict.fromkeys(row.table for row in rows):
        parts.append(f"## Table {table}\n\n{_table([row for row in rows if row.table == table])}\n")
    teachers = [records[key] for key in plan.get("teachers", []) if key in records]
    teachers.sort(key=lambda record: (record["seed"], record.get("parameters", 0)))
    if teachers:
        parts.append(f"## Teachers ({plan['invocations'][-1]['teachers']})\n\n{_teacher_table(teachers)}\n")
    if efficiency:
        parts.append(f"## Table II, sizes and speeds\n\n{efficiency['note']}\n\n{efficiency['table']}\n")
    troubles = [
        f"- table {row.table}, {row.row}, seed {seed}: failed, {error}"
        for row in rows
        for seed, error in row.failed.items()
    ]
    troubles += [f"- table {row.table}, {row.row}, seed {seed}: not run" for row in rows for seed in row.missing]
    if troubles:
        parts.append("## Not there\n\n" + "\n".join(troubles) + "\n")
    parts.append("## How these came about\n\n" + "\n".join(_history(plan, done)) + "\n")
    return "\n".join(parts)


def _origin(done: Sequence[dict]) -> str:
    """The first line: on what data."""
    if not done:
        return "No run is done yet."
    sets = {record["dataset"]: record["test_images"] for record in done}
    notes = [
        f"{name} ({data_note(name) or 'see datasets/README.md'}, {count} test images)" for name, count in sets.items()
    ]
    return f"Measured on {' and '.join(notes)}; not comparable with the paper's figures, which are on CDH-1848."


def _warnings(done: Sequence[dict], rows: Sequence[RowResult]) -> list[str]:
    text = (
        "AP50, AP and recall (at IoU 0.5) are means over the seeds in percent, ± is the sample standard deviation and n"
        " the number of seeds. The spread is that of training alone: the seeds share the data and its split"
        + (" and the teachers" if any(record["teachers"] for record in done) else "")
        + ". The paper does not define its mAP, most likely it is AP50.\n"
    )
    warnings = [text]
    for what in ("sources", "engine", "torch"):
        found = sorted({str(record[what]) for record in done})
        if len(found) > 1:
            warnings.append(f"**Mixed:** these results were made by different {what} ({', '.join(found)}).\n")
    threads = sorted({record["hardware"]["threads"] for record in done})
    if len(threads) > 1:
        warnings.append(
            f"**Different threads:** these runs had {' or '.join(map(str, threads))} CPU threads. Their number decides"
            " the last bits of sums, and training carries them on: with another number a run's figures were others.\n"
        )
    if max((len(row.records) for row in rows), default=0) == 1:
        warnings.append("**One seed:** no spread, and differences between rows may be chance alone.\n")
    return warnings


def _table(rows: Sequence[RowResult]) -> str:
    lines = []
    for row in rows:
        parameters = next((record["parameters"] for record in row.records.values()), None)
        first = "failed" if row.failed and not row.records else "missing"
        lines.append(
            [
                row.row,
                _spread(row, "AP50") if row.records else first,
                len(row.records),
                _spread(row, "AP"),
                _spread(row, "recall50"),
                "" if parameters is None else f"{parameters / 1e6:.2f} M",
                _plain(row.paper.get("map")),
                _plain(row.paper.get("recall"), 100),
            ]
        )
    headers = ("row", "AP50", "n", "AP", "recall", "parameters", PAPER_MAP, PAPER_RECALL)
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def _teacher_table(records: Sequence[dict]) -> str:
    lines = []
    for record in records:
        metrics = record.get("metrics", {})
        figures = [_plain(metrics.get(metric)) for metric in ("AP50", "AP", "recall50")]
        parameters = f"{record['parameters'] / 1e6:.2f} M" if "parameters" in record else record["status"]
        lines.append([record["name"], record["seed"], *figures, parameters])
    headers = ("teacher", "seed", "AP50", "AP", "recall", "parameters")
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def _history(plan: dict, done: Sequence[dict]) -> list[str]:
    seeds = sorted({entry["seed"] for entry in plan["entries"]})
    commits = {
        f"{record['commit'] or 'unknown'}{' with uncommitted changes' if record['dirty'] else ''}" for record in done
    }
    facts = {
        "seeds": ", ".join(map(str, seeds)),
        "hardware": "; ".join(sorted({describe_hardware(record["hardware"]) for record in done})),
        "engine": "; ".join(sorted({f"{record['engine']}, torch {record['torch']}" for record in done})),
        "commit": "; ".join(sorted(commits)),
        "sources": "; ".join(sorted({record["sources"] for record in done})),
        "training time": f"{sum(record['seconds'] for record in done) / 3600:.2f} hours, all runs added up",
        "resumed runs": str(sum(bool(record["resumed"]) for record in done)),
    }
    commands = list(dict.fromkeys(invocation["command"] for invocation in plan["invocations"]))
    return [*(f"- {name}: {text}" for name, text in facts.items()), "", "```bash", *commands, "```"]


def read_json(path: Path) -> dict | None:
    """A json file's content; None if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _spread(row: RowResult, metric: str) -> str:
    mean, sd = row.mean(metric), row.sd(metric)
    if mean is None:
        return ""
    return f"{mean:.1f}" if sd is None else f"{mean:.1f} ± {sd:.1f}"


def _plain(value: float | None, factor: float = 1.0) -> str:
    return "" if value is None else f"{value * factor:.1f}"

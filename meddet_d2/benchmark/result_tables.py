"""From the records of a results folder to tables.md, results.csv and results.json.

Every figure of ours is in percent and comes from the json records alone; the paper's stand in columns of their own.
"""

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from meddet_d2.evaluation.detection_evaluator import data_note
from meddet_d2.files import write_json

from ..provenance import describe_hardware
from .efficiency import EFFICIENCY
from .report_parts import commit_of, history, mean_and_sd, number, read_json, table, write_csv, write_text
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
    records: dict[int, dict]
    failed: dict[int, str]
    missing: list[int]

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
        raise ValueError(f"{folder.path} holds no benchmark; make one with: meddet benchmark run --output ...")
    return list(rows.values())


def write_report(folder: ResultsFolder) -> list[RowResult]:
    """Write results.json, results.csv and tables.md, and return the rows they show."""
    rows, plan, records = collect(folder), folder.read_plan(), folder.records()
    write_json(folder.path / "results.json", summary(rows))
    _write_csv(rows, folder.path / "results.csv")
    write_text(folder.path / "tables.md", _tables(rows, plan, records, read_json(folder.path / EFFICIENCY)))
    return rows


def summary(rows: Sequence[RowResult]) -> list[dict]:
    """The list that results.json holds; means are None where no seed is done, and the deviation where one is.

    "hours" are of the row's own runs, its teachers' not counted.
    """
    return [
        {
            "table": row.table,
            "row": row.row,
            "seeds": row.seeds,
            "ap50_mean": row.mean("AP50"),
            "ap50_sd": row.sd("AP50"),
            "recall_mean": row.mean("recall50"),
            "commits": sorted(set(map(commit_of, row.records.values()))),
            "hours": sum(record["seconds"] for record in row.records.values()) / 3600,
            "hardware": sorted({describe_hardware(record["hardware"]) for record in row.records.values()}),
        }
        for row in rows
    ]


def in_words(result: Mapping) -> str:
    """An entry of results.json, with a seed done, as the header of its config tells it."""
    words = f"AP50 {mean_and_sd(result['ap50_mean'], None)}"
    if result["ap50_sd"] is not None:
        words += f", sd {result['ap50_sd']:.1f}"
    words += f", seeds {' '.join(map(str, result['seeds']))}"
    if "commits" in result:  # results.json had none of these before
        commits = ", ".join(re.sub(r"\b([0-9a-f]{7})[0-9a-f]{33}\b", r"\1", commit) for commit in result["commits"])
        words += f"; commit {commits}, {result['hours']:.2f} hours on {'; '.join(result['hardware'])}"
    return f"{words}."


def _write_csv(rows: Sequence[RowResult], path: Path) -> None:
    """One line for each row and seed, failed and missing ones too."""
    header = ("table", "row", "seed", "status", *METRICS, "parameters", "seconds", "run", "paper_map", "paper_recall")
    lines = []
    for row in rows:
        for seed in sorted({*row.records, *row.failed, *row.missing}):
            record = row.records.get(seed, {})
            status = "done" if record else "failed" if seed in row.failed else "missing"
            metrics = [record.get("metrics", {}).get(metric) for metric in METRICS]
            rest = [record.get(key) for key in ("parameters", "seconds", "run")]
            lines.append([row.table, row.row, seed, status, *metrics, *rest, *map(row.paper.get, ("map", "recall"))])
    write_csv(path, header, lines)


def _tables(rows: Sequence[RowResult], plan: dict, records: dict[str, dict], efficiency: dict | None) -> str:
    done = [record for record in records.values() if record["status"] == "done"]
    parts = [f"{_origin(done)}\n", *_warnings(done, rows)]
    for name in dict.fromkeys(row.table for row in rows):
        parts.append(f"## Table {name}\n\n{_table([row for row in rows if row.table == name])}\n")
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
    parts.append(_history(plan, done) + "\n")
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
                _spread(row, "AP50") or first,
                len(row.records),
                _spread(row, "AP"),
                _spread(row, "recall50"),
                "" if parameters is None else f"{parameters / 1e6:.2f} M",
                number(row.paper.get("map")),
                number(100 * row.paper["recall"]) if "recall" in row.paper else "",
            ]
        )
    headers = ("row", "AP50", "n", "AP", "recall", "parameters", PAPER_MAP, PAPER_RECALL)
    return table(lines, headers)


def _teacher_table(records: Sequence[dict]) -> str:
    lines = []
    for record in records:
        metrics = record.get("metrics", {})
        figures = [number(metrics.get(metric)) for metric in ("AP50", "AP", "recall50")]
        parameters = f"{record['parameters'] / 1e6:.2f} M" if "parameters" in record else record["status"]
        lines.append([record["name"], record["seed"], *figures, parameters])
    headers = ("teacher", "seed", "AP50", "AP", "recall", "parameters")
    return table(lines, headers)


def _history(plan: dict, done: Sequence[dict]) -> str:
    facts = {
        "seeds": ", ".join(map(str, sorted({entry["seed"] for entry in plan["entries"]}))),
        "hardware": "; ".join(sorted({describe_hardware(record["hardware"]) for record in done})),
        "engine": "; ".join(sorted({f"{record['engine']}, torch {record['torch']}" for record in done})),
        "commit": "; ".join(sorted(set(map(commit_of, done)))),
        "sources": "; ".join(sorted({record["sources"] for record in done})),
        "training time": f"{sum(record['seconds'] for record in done) / 3600:.2f} hours, all runs added up",
        "resumed runs": str(sum(bool(record["resumed"]) for record in done)),
    }
    return history(facts, dict.fromkeys(invocation["command"] for invocation in plan["invocations"]))


def _spread(row: RowResult, metric: str) -> str:
    return mean_and_sd(row.mean(metric), row.sd(metric))

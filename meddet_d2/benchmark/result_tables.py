"""From the records of a results folder to tables.md, results.csv and results.json.

Every figure of ours is in percent and comes from the json records alone; the paper's stand in separate columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meddet_d2.data.registration import data_note
from meddet_d2.files import write_json, write_text

from ..provenance import describe_hardware
from . import report_parts as parts
from .efficiency import EFFICIENCY
from .results_folder import ResultsFolder

METRICS = ("AP50", "AP", "AP75", "recall50")
PAPER_MAP, PAPER_RECALL = "the paper's mAP on CDH-1848", "the paper's recall on CDH-1848"


@dataclass(frozen=True)
class RowResult:
    """What came out of one row over its seeds."""

    table: str
    name: str
    paper: Mapping[str, float]  # the paper's figures, maybe none
    # By seed; with the folder under "run", and a status: "done", "failed" or "missing", which never ended.
    outcomes: dict[int, dict] = field(default_factory=dict)

    @property
    def records(self) -> dict[int, dict]:
        """By seed, of those that are done."""
        return {seed: record for seed, record in sorted(self.outcomes.items()) if record["status"] == "done"}

    def values(self, metric: str) -> list[float]:
        """A metric in percent, one for each seed that is done and has it."""
        found = [record["metrics"].get(metric) for record in self.records.values()]
        return [value for value in found if value is not None]

    def mean_sd(self, metric: str) -> tuple[float | None, float | None]:
        """Mean and sample standard deviation over the seeds, as in report_parts."""
        return parts.mean_sd(self.values(metric))


def collect(folder: ResultsFolder) -> list[RowResult]:
    """The rows that were asked for, in the suite's order.

    Raises:
        ValueError: nothing was.
    """
    plan, records = folder.read_plan(), folder.records()
    rows: dict[tuple[str, str], RowResult] = {}
    for entry in plan["entries"]:
        place = entry["table"], entry["row"]
        record = records.get(entry["run"], {})
        status = record.get("status") if record.get("status") in ("done", "failed") else "missing"
        row = rows.setdefault(place, RowResult(*place, entry["paper"]))
        row.outcomes[entry["seed"]] = {**record, "run": entry["run"], "status": status}
    if not rows:
        raise ValueError(f"{folder.path} holds no benchmark; make one with: meddet benchmark run --output ...")
    return list(rows.values())


def write_report(folder: ResultsFolder) -> None:
    """Write results.json, results.csv and tables.md."""
    rows = collect(folder)
    write_json(folder.path / "results.json", summary(rows))
    parts.write_csv(folder.path / "results.csv", [line for row in rows for line in _csv_lines(row)])
    write_text(folder.path / "tables.md", _tables(folder, rows))


def summary(rows: Sequence[RowResult]) -> list[dict]:
    """The list that results.json holds; means are None where no seed is done, and the deviation where one is.

    "hours" are of the row's own runs, its teachers' not counted.
    """
    return [
        {
            "table": row.table,
            "row": row.name,
            "seeds": list(row.records),
            **dict(zip(("ap50_mean", "ap50_sd"), row.mean_sd("AP50"), strict=True)),
            "recall_mean": row.mean_sd("recall50")[0],
            "commits": sorted(set(map(parts.commit_of, row.records.values()))),
            "hours": sum(record["seconds"] for record in row.records.values()) / 3600,
            "hardware": sorted({describe_hardware(record["hardware"]) for record in row.records.values()}),
        }
        for row in rows
    ]


def _csv_lines(row: RowResult) -> list[dict]:
    """One line for each seed, failed and missing ones too."""
    lines = []
    for seed, outcome in sorted(row.outcomes.items()):
        record, status = row.records.get(seed, {}), outcome["status"]
        metrics = {metric: record.get("metrics", {}).get(metric) for metric in METRICS}
        rest = {key: record.get(key) for key in ("parameters", "seconds", "run")}
        paper = {f"paper_{key}": row.paper.get(key) for key in ("map", "recall")}
        lines.append({"table": row.table, "row": row.name, "seed": seed, "status": status, **metrics, **rest, **paper})
    return lines


def _tables(folder: ResultsFolder, rows: Sequence[RowResult]) -> str:
    plan, records, efficiency = folder.read_plan(), folder.records(), parts.read_json(folder.path / EFFICIENCY)
    done = [record for record in records.values() if record["status"] == "done"]
    sections = [_origin(done), *_warnings(done, rows)]
    for name in dict.fromkeys(row.table for row in rows):
        sections.append(f"## Table {name}\n\n{parts.table(_line(row) for row in rows if row.table == name)}")
    teachers = [records[key] for key in plan.get("teachers", []) if key in records]
    if teachers:
        teachers.sort(key=lambda record: (record["seed"], record.get("parameters", 0)))
        choice = plan["invocations"][-1]["teachers"]
        sections.append(f"## Teachers ({choice})\n\n{parts.table(map(_teacher_line, teachers))}")
    if efficiency:
        sections.append(f"## Table II, sizes and speeds\n\n{efficiency['note']}\n\n{efficiency['table']}")
    outcomes = [(row, seed, outcome) for row in rows for seed, outcome in row.outcomes.items()]
    lines = ["## Not there\n"]
    # What failed comes first.
    for row, seed, outcome in sorted(outcomes, key=lambda one: one[2]["status"]):
        if outcome["status"] != "done":
            what = f"failed, {outcome['error']}" if outcome["status"] == "failed" else "not run"
            lines.append(f"- table {row.table}, {row.name}, seed {seed}: {what}")
    sections += ["\n".join(lines)] if len(lines) > 1 else []
    facts = {
        "seeds": ", ".join(map(str, sorted({entry["seed"] for entry in plan["entries"]}))),
        "hardware": parts.joined(describe_hardware(record["hardware"]) for record in done),
        "engine": parts.joined(map(parts.made_by_in_words, done)),
        "commit": parts.joined(map(parts.commit_of, done)),
        "sources": parts.joined(record["sources"] for record in done),
        "training time": f"{sum(record['seconds'] for record in done) / 3600:.2f} hours, all runs added up",
        "resumed runs": str(sum(bool(record["resumed"]) for record in done)),
    }
    sections.append(parts.history(facts, dict.fromkeys(invocation["command"] for invocation in plan["invocations"])))
    return "\n\n".join(sections) + "\n"


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
    taught = " and the teachers" if any(record["teachers"] for record in done) else ""
    warnings = [
        "AP50, AP and recall (at IoU 0.5) are means over the seeds in percent, ± is the sample standard deviation and n"
        f" the number of seeds. The spread is that of training alone: the seeds share the data and its split{taught}."
        " The paper does not define its mAP, most likely it is AP50."
    ]
    for what in ("sources", "engine", "torch"):
        found = sorted({str(record[what]) for record in done})
        if len(found) > 1:
            warnings.append(f"**Mixed:** these results were made by different {what} ({', '.join(found)}).")
    threads = sorted({record["hardware"]["threads"] for record in done})
    if len(threads) > 1:
        warnings.append(
            f"**Different threads:** these runs had {' or '.join(map(str, threads))} CPU threads. Their number decides"
            " the last bits of sums, and training carries them on: with another number a run's figures were others."
        )
    if max((len(row.records) for row in rows), default=0) == 1:
        warnings.append("**One seed:** no spread, and differences between rows may be chance alone.")
    return warnings


def _line(row: RowResult) -> dict:
    failed = any(outcome["status"] == "failed" for outcome in row.outcomes.values())
    return {
        "row": row.name,
        "AP50": parts.mean_and_sd(*row.mean_sd("AP50")) or ("failed" if failed else "missing"),
        "n": len(row.records),
        "AP": parts.mean_and_sd(*row.mean_sd("AP")),
        "recall": parts.mean_and_sd(*row.mean_sd("recall50")),
        "parameters": parts.millions(next((record["parameters"] for record in row.records.values()), None)),
        PAPER_MAP: parts.number(row.paper.get("map")),
        PAPER_RECALL: parts.number(100 * row.paper["recall"]) if "recall" in row.paper else "",
    }


def _teacher_line(record: dict) -> dict:
    metrics = record.get("metrics", {})
    return {
        "teacher": record["name"],
        "seed": record["seed"],
        "AP50": parts.number(metrics.get("AP50")),
        "AP": parts.number(metrics.get("AP")),
        "recall": parts.number(metrics.get("recall50")),
        "parameters": parts.millions(record.get("parameters")) or record["status"],
    }

"""From robustness.json to tables: performance under each corruption, its mean (mPC), and its ratio to clean (rPC).

mPC is the mean over the corruptions of the mean over their severities, and rPC is mPC / clean, as Michaelis et al.
("Benchmarking robustness in object detection", 2019) define them. Both are of one network; a row's are the means over
its seeds.
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddet_d2.evaluation.detection_evaluator import data_note
from meddet_d2.files import write_json

from ..provenance import describe_hardware
from .report_parts import commit_of, history, mean_and_sd, number, table, write_csv, write_text
from .robustness import CLEAN, METRICS, ROBUSTNESS, condition_name
from .robustness_plot import draw

# Of these the tables are made; AP is what the definition of mPC was written for, AP50 what this project reports.
SHOWN = ("AP50", "AP")


def columns(content: Mapping, record: Mapping, metric: str) -> dict[str, float | None] | None:
    """A network's columns in the tables, in percent.

    Args:
        content: of robustness.json.
        record: one of its networks.
        metric: one of ``SHOWN``.

    Returns:
        "clean", each corruption's mean over its severities, "mPC", and "rPC", which is None where clean is 0. None if
        a condition is not measured yet, or has no such value.
    """
    measured = record["measured"]
    values = {
        corruption: [
            measured.get(condition_name(corruption, severity), {}).get(metric) for severity in content["severities"]
        ]
        for corruption in content["corruptions"]
    }
    clean = measured.get(CLEAN, {}).get(metric)
    if clean is None or None in itertools.chain.from_iterable(values.values()):
        return None
    means = {corruption: statistics.fmean(found) for corruption, found in values.items()}
    mpc = statistics.fmean(means.values())
    return {CLEAN: clean, **means, "mPC": mpc, "rPC": 100 * mpc / clean if clean > 0 else None}


def summary(content: Mapping) -> dict:
    """What the tables show, of the networks that are measured in full.

    Args:
        content: of robustness.json.

    Returns:
        For each metric of ``SHOWN`` {"rows": [{"row", "seeds", "columns"}], "pairs": [{"with", "without", "seeds",
        "columns"}]}. The columns are {"values" (one for each seed), "mean", "sd"}. A pair is two rows that differ in
        nmODE^2 alone, and its values are with minus without, of the seeds that both have.
    """
    found = {}
    for metric in SHOWN:
        rows: dict[str, dict[int, dict]] = {}
        for record in content["networks"]:
            shown = columns(content, record, metric)
            if shown is not None:
                rows.setdefault(record["row"], {})[record["seed"]] = shown
        pairs = []
        for with_it, without in _pairs(content["networks"]):
            seeds = _differences(rows.get(with_it, {}), rows.get(without, {}))
            if seeds:
                pairs.append({"with": with_it, "without": without, **_statistics(seeds)})
        found[metric] = {"rows": [{"row": row, **_statistics(seeds)} for row, seeds in rows.items()], "pairs": pairs}
    return found


def _statistics(seeds: Mapping[int, Mapping[str, float | None]]) -> dict:
    """Seeds and columns, turned from one dict for each seed to one for each column."""
    ordered = [seeds[seed] for seed in sorted(seeds)]
    turned = {}
    for name in ordered[0]:
        values = [column[name] for column in ordered]
        there = [value for value in values if value is not None]
        turned[name] = {
            "values": values,
            "mean": statistics.fmean(there) if there else None,
            "sd": statistics.stdev(there) if len(there) > 1 else None,
        }
    return {"seeds": sorted(seeds), "columns": turned}


def write(content: dict, output: Path) -> str:
    """Write robustness.json (with the summary), robustness.csv, robustness.md and robustness.png; returns the tables.

    Raises:
        ValueError: no network is measured in full.
    """
    found = summary(content)
    if not found[SHOWN[0]]["rows"]:
        raise ValueError(f"{output / ROBUSTNESS} holds no network that is measured in full; the same command goes on.")
    write_json(output / ROBUSTNESS, {**content, "summary": found})
    _write_csv(content, output / "robustness.csv")
    text = _tables(content, found)
    write_text(output / "robustness.md", f"{text}\n\n{_history(content)}\n")
    draw(content, output / "robustness.png")
    return text


def _pairs(networks: Sequence[Mapping]) -> list[tuple[str, str]]:
    """(with nmODE^2, without) of the rows that are alike but for it."""
    places = {(record["row"], record["nmode"], record["config_but_nmode"]): None for record in networks}
    return [
        (row, other)
        for row, kind, config in places
        for other, other_kind, other_config in places
        if kind != "none" and other_kind == "none" and config == other_config
    ]


def _differences(with_it: Mapping, without: Mapping) -> dict:
    return {
        seed: {
            name: None if value is None or without[seed][name] is None else value - without[seed][name]
            for name, value in columns.items()
        }
        for seed, columns in sorted(with_it.items())
        if seed in without
    }


def _write_csv(content: Mapping, path: Path) -> None:
    """One line for each network and condition; "clean" has severity 0."""
    lines = []
    for record in content["networks"]:
        for name, metrics in record["measured"].items():
            corruption, _, severity = name.partition("/")
            values = [metrics[metric] for metric in METRICS]
            lines.append([record["row"], record["seed"], record["nmode"], corruption, severity or 0, *values])
    write_csv(path, ("row", "seed", "nmode", "corruption", "severity", *METRICS), lines)


def _tables(content: Mapping, found: Mapping) -> str:
    note = data_note(content["dataset"])
    parts = [
        f"Measured on {content['dataset']} ({note or 'see datasets/README.md'}, {content['images']} images), corrupted"
        f" by {len(content['corruptions'])} kinds of MRI noise in the severities"
        f" {', '.join(map(str, content['severities']))} (docs/methods/noise.md)."
        " Every network saw the same corrupted images."
        + (" A phantom is a phantom: nothing here is a result on patients." if "phantom" in note else ""),
        "Figures are percent. A corruption's is the mean over its severities, mPC the mean over the corruptions, rPC"
        " mPC in percent of clean. ± is the sample standard deviation over n seeds of training, on the same images.",
    ]
    for metric in SHOWN:
        parts += [f"## {metric}", _row_table(found[metric]["rows"])]
    for metric in SHOWN:
        if found[metric]["pairs"]:
            parts += [f"## With nmODE² minus without, {metric}", *map(_pair_table, found[metric]["pairs"])]
    if not found[SHOWN[0]]["pairs"]:
        parts.append("No two rows with a seed in common differ in nmODE² alone: no comparison with and without it.")
    complete = {(row["row"], seed) for row in found[SHOWN[0]]["rows"] for seed in row["seeds"]}
    missing = [f"{r['row']}, seed {r['seed']}" for r in content["networks"] if (r["row"], r["seed"]) not in complete]
    if missing:
        parts.append(f"**Not measured in full, and in no table:** {'; '.join(missing)}.")
    return "\n\n".join(parts)


def _row_table(rows: Sequence[Mapping]) -> str:
    lines = [
        [row["row"], len(row["seeds"]), *(mean_and_sd(c["mean"], c["sd"]) for c in row["columns"].values())]
        for row in rows
    ]
    return table(lines, ("row", "n", *_names(rows[0])))


def _pair_table(pair: Mapping) -> str:
    """A line for each seed, and their mean with its spread."""
    columns = pair["columns"].values()
    lines = [
        [f"seed {seed}", *(number(column["values"][place], "+.2f") for column in columns)]
        for place, seed in enumerate(pair["seeds"])
    ]
    lines.append(["mean", *(mean_and_sd(column["mean"], column["sd"], ".2f", "+") for column in columns)])
    return table(lines, (f"{pair['with']} − {pair['without']}", *_names(pair)))


def _names(row: Mapping) -> list[str]:
    return [name.replace("_", " ") for name in row["columns"]]


def _history(content: Mapping) -> str:
    trained = {record["trained"].get("commit") or "unknown" for record in content["networks"]}
    facts = {
        "hardware": describe_hardware(content["hardware"]),
        "engine": f"{content['engine']}, torch {content['torch']}",
        "commit": commit_of(content),
        "sources": content["sources"],
        "commit of the training": "; ".join(sorted(trained)),
        "seeds of the noise": "made of corruption, severity and the image's id",
    }
    return history(facts, content["commands"])

"""From robustness.json to tables: performance under each corruption, its mean (mPC), and its ratio to clean (rPC).

mPC is the mean over the corruptions of the mean over their severities, and rPC is mPC / clean, as Michaelis et al.
("Benchmarking robustness in object detection", 2019) define them. Both are of one network; a row's are the means over
its seeds.
"""

import itertools
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meddet_d2.data.registration import data_note
from meddet_d2.files import write_json, write_text

from ..provenance import describe_hardware
from . import report_parts as parts
from .result_plots import draw_robustness
from .robustness import CLEAN, METRICS, ROBUSTNESS, condition_name

# Of these the tables are made; AP is what the definition of mPC was written for, AP50 what this project reports.
SHOWN = ("AP50", "AP")
Columns = dict[str, float | None]


def columns(content: Mapping, record: Mapping, metric: str) -> Columns | None:
    """A network's columns in the tables, in percent.

    Args:
        content: of robustness.json.
        record: one of its networks.
        metric: one of ``SHOWN``.

    Returns:
        "clean", each corruption's mean over its severities, "mPC", and "rPC", which is None where clean is 0. None if
        a condition is not measured yet, or has no such value.
    """
    measured: Any = {condition: metrics.get(metric) for condition, metrics in record["measured"].items()}
    kinds, severities, clean = content["corruptions"], content["severities"], measured.get(CLEAN)
    found = {kind: [measured.get(condition_name(kind, severity)) for severity in severities] for kind in kinds}
    if clean is None or None in itertools.chain.from_iterable(found.values()):
        return None
    means = {corruption: statistics.fmean(values) for corruption, values in found.items()}
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
    kinds = {(record["row"], record["nmode"], record["config_but_nmode"]): None for record in content["networks"]}
    found = {}
    for metric in SHOWN:
        rows: dict[str, dict[int, Columns]] = {}
        for record in content["networks"]:
            if (shown := columns(content, record, metric)) is not None:
                rows.setdefault(record["row"], {})[record["seed"]] = shown
        pairs = []
        for (row, kind, config), (other, other_kind, other_config) in itertools.product(kinds, kinds):
            if kind != "none" and other_kind == "none" and config == other_config:
                theirs = rows.get(other, {})
                ours = {seed: shown for seed, shown in rows.get(row, {}).items() if seed in theirs}
                if differences := {seed: _minus(shown, theirs[seed]) for seed, shown in ours.items()}:
                    pairs.append({"with": row, "without": other, **_over_seeds(differences)})
        found[metric] = {"rows": [{"row": row, **_over_seeds(seeds)} for row, seeds in rows.items()], "pairs": pairs}
    return found


def _minus(ours: Columns, theirs: Columns) -> Columns:
    """The differences of two networks' columns; None where one has no value."""
    pairs: Any = {name: (value, theirs[name]) for name, value in ours.items()}
    return {name: None if None in pair else pair[0] - pair[1] for name, pair in pairs.items()}


def _over_seeds(seeds: Mapping[int, Columns]) -> dict:
    """Seeds and columns, turned from one dict for each seed to one for each column."""
    ordered = [seeds[seed] for seed in sorted(seeds)]
    turned = {}
    for name in ordered[0]:
        values = [shown[name] for shown in ordered]
        mean, sd = parts.mean_sd([value for value in values if value is not None])
        turned[name] = {"values": values, "mean": mean, "sd": sd}
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
    parts.write_csv(output / "robustness.csv", _csv_lines(content))
    text = _tables(content, found)
    facts = {
        "hardware": describe_hardware(content["hardware"]),
        "engine": parts.made_by_in_words(content),
        "commit": parts.commit_of(content),
        "sources": content["sources"],
        "commit of the training": parts.joined(
            record["trained"].get("commit") or "unknown" for record in content["networks"]
        ),
        "seeds of the noise": "made of corruption, severity and the image's id",
    }
    write_text(output / "robustness.md", f"{text}\n\n{parts.history(facts, content['commands'])}\n")
    draw_robustness(content, output / "robustness.png")
    return text


def _csv_lines(content: Mapping) -> list[dict]:
    """One line for each network and condition; "clean" has severity 0."""
    lines = []
    for record in content["networks"]:
        for name, metrics in record["measured"].items():
            corruption, _, severity = name.partition("/")
            network = {key: record[key] for key in ("row", "seed", "nmode")}
            values = {metric: metrics[metric] for metric in METRICS}
            lines.append({**network, "corruption": corruption, "severity": severity or 0, **values})
    return lines


def _tables(content: Mapping, found: Mapping) -> str:
    note = data_note(content["dataset"])
    sections = [
        f"Measured on {content['dataset']} ({note or 'see datasets/README.md'}, {content['images']} images), corrupted"
        f" by {len(content['corruptions'])} kinds of MRI noise in the severities"
        f" {', '.join(map(str, content['severities']))} (docs/methods/noise.md)."
        " Every network saw the same corrupted images."
        + (" A phantom is a phantom: nothing here is a result on patients." if "phantom" in note else ""),
        "Figures are percent. A corruption's is the mean over its severities, mPC the mean over the corruptions, rPC"
        " mPC in percent of clean. ± is the sample standard deviation over n seeds of training, on the same images.",
    ]
    for metric in SHOWN:
        lines = [{"row": row["row"], "n": len(row["seeds"]), **_means(row)} for row in found[metric]["rows"]]
        sections += [f"## {metric}", parts.table(lines)]
    for metric in SHOWN:
        if found[metric]["pairs"]:
            sections += [f"## With nmODE² minus without, {metric}", *map(_pair_table, found[metric]["pairs"])]
    if not found[SHOWN[0]]["pairs"]:
        sections.append("No two rows with a seed in common differ in nmODE² alone: no comparison with and without it.")
    complete = {(row["row"], seed) for row in found[SHOWN[0]]["rows"] for seed in row["seeds"]}
    missing = [f"{r['row']}, seed {r['seed']}" for r in content["networks"] if (r["row"], r["seed"]) not in complete]
    if missing:
        sections.append(f"**Not measured in full, and in no table:** {'; '.join(missing)}.")
    return "\n\n".join(sections)


def _means(row: Mapping, form: str = ".1f", sign: str = "") -> dict[str, str]:
    return {name: parts.mean_and_sd(cell["mean"], cell["sd"], form, sign) for name, cell in _cells(row)}


def _cells(row: Mapping) -> list[tuple[str, dict]]:
    return [(name.replace("_", " "), cell) for name, cell in row["columns"].items()]


def _pair_table(pair: Mapping) -> str:
    """A line for each seed, and their mean with its spread."""
    title = f"{pair['with']} − {pair['without']}"
    lines = [
        {title: f"seed {seed}", **{name: parts.number(cell["values"][place], "+.2f") for name, cell in _cells(pair)}}
        for place, seed in enumerate(pair["seeds"])
    ]
    return parts.table([*lines, {title: "mean", **_means(pair, ".2f", "+")}])

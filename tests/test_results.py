"""docs/results: the figures that people read are those of the json beside the page."""

import json
from pathlib import Path

import pytest

from meddet_d2.benchmark import robustness_report

RESULTS = Path(__file__).parents[1] / "docs" / "results"
DISTILLED = {
    "I": {"FitNets", "MGD", "FGD", "LD", "MedDet"},
    "III": {"KD", "KD + nmODE2", "KD + nmODE2 + LWFF", "MedDet"},
}


def printed_tables(page: Path) -> dict[str, dict[str, list[str]]]:
    """Table -> row -> its cells, from the page's sections "## Table ..."."""
    tables, cells = {}, {}
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            cells = tables.setdefault(line.removeprefix("## ").removeprefix("Table "), {})
        elif line.startswith("|"):
            name, *rest = (cell.strip() for cell in line.strip("|").split("|"))
            cells[name] = rest
    return tables


@pytest.fixture
def entries() -> list[dict]:
    return json.loads((RESULTS / "phantom.json").read_text())


def test_the_page_prints_what_the_json_holds(entries):
    tables = printed_tables(RESULTS / "phantom.md")
    for entry in entries:
        ap50, n, _, recall, *_ = tables[entry["table"]][entry["row"]]
        spread = "" if entry["ap50_sd"] is None else f" ± {entry['ap50_sd']:.1f}"
        assert (ap50, n) == (f"{entry['ap50_mean']:.1f}{spread}", str(len(entry["seeds"]))), entry
        assert float(recall.split(" ")[0]) == pytest.approx(entry["recall_mean"], abs=0.051), entry
    assert sum(len(rows) for name, rows in tables.items() if name in {e["table"] for e in entries}) >= len(entries)


def test_what_is_compared_has_three_seeds(entries):
    seeds = {(entry["table"], entry["row"]): set(entry["seeds"]) for entry in entries}
    for table, rows in DISTILLED.items():
        for row in rows:
            assert len(seeds[table, row]) >= 3, (table, row)


def test_the_speed_page_prints_what_its_json_holds():
    content = json.loads((RESULTS / "speed.json").read_text())
    lines = (RESULTS / "speed.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    printed = {row[0].strip("`"): row[1] for row in cells}
    groups = {name: ratios for name, ratios in content.items() if name in ("nmode2", "student", "nano", "step")}
    assert len(groups) == 4
    for group, ratios in groups.items():
        for name, value in ratios.items():
            assert printed[f"{group}.{name}"] == f"{value:.2f}"
    times = {(row[0], row[1]): row[2] for row in cells if len(row) == 4}
    for group, calls in content["milliseconds"].items():
        for name, spread in calls.items():
            assert times[group, name] == f"{spread['median']:.2f}"


@pytest.fixture
def robustness() -> dict:
    return json.loads((RESULTS / "robustness.json").read_text())


def test_the_robustness_page_prints_what_its_json_holds(robustness):
    tables = printed_tables(RESULTS / "robustness.md")
    for metric in ("AP50", "AP"):
        found = robustness["summary"][metric]
        for row in found["rows"]:
            n, *cells = tables[metric][row["row"]]
            assert int(n) == len(row["seeds"])
            assert cells == [f"{c['mean']:.1f} ± {c['sd']:.1f}" for c in row["columns"].values()], row["row"]
        (pair,) = found["pairs"]
        printed = tables[f"With nmODE² minus without, {metric}"]
        columns = pair["columns"].values()
        assert printed["mean"] == [f"{column['mean']:+.2f} ± {column['sd']:.2f}" for column in columns]
        for place, seed in enumerate(pair["seeds"]):
            assert printed[f"seed {seed}"] == [f"{column['values'][place]:+.2f}" for column in columns]


def test_the_robustness_summary_is_that_of_its_networks(robustness):
    summary = json.loads(json.dumps(robustness_report.summary(robustness)))
    assert summary == robustness["summary"]
    # Every network under every condition, and three seeds of each row.
    assert {len(record["measured"]) for record in robustness["networks"]} == {1 + 7 * 5}
    assert {tuple(row["seeds"]) for row in summary["AP50"]["rows"]} == {(1, 2, 3)}
    assert {(pair["with"], pair["without"]) for pair in summary["AP50"]["pairs"]} == {("KD + nmODE2", "KD")}


def test_the_networks_under_noise_are_those_of_the_phantoms_tables(robustness, entries):
    clean = {entry["row"]: entry["ap50_mean"] for entry in entries if entry["table"] in ("I", "III")}
    for row in robustness["summary"]["AP50"]["rows"]:
        assert row["columns"]["clean"]["mean"] == pytest.approx(clean[row["row"]], abs=0.01), row["row"]


def test_the_robustness_page_names_the_commit_of_its_json(robustness):
    text = (RESULTS / "robustness.md").read_text(encoding="utf-8")
    commits = {robustness["commit"], *(record["trained"]["commit"] for record in robustness["networks"])}
    assert all(commit[:7] in text for commit in commits) and not robustness["dirty"]

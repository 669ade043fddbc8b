"""Sizes and speeds side by side."""

import json

import pytest

from meddet_d2.benchmark import efficiency
from meddet_d2.benchmark.efficiency import compare, table, write


def network(name, teacher, millions, speed):
    return {
        "name": name,
        "teacher": teacher,
        "parameters": int(millions * 1e6),
        "macs_mmcv": int(millions * 2e9),
        "throughput": {"median": speed, "low": speed - 1, "high": speed + 1},
        "paper": {"fps": 3.9} if teacher else {},
    }


def test_ratios_are_to_the_smallest_teacher():
    text = table([network("large", True, 40, 5), network("small", True, 20, 10), network("student", False, 5, 40)])
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert cells[4][:5] == ["student", "5.00 M (0.25)", "10.00 G (0.25)", "40.00 (4.00)", "39.00 to 41.00"]
    assert cells[2][1] == "40.00 M (2.00)" and cells[3][7] == "3.9" and cells[4][7] == ""
    assert cells[0][7] == "the paper's FPS"
    assert "relative to small, the smallest teacher" in text


def test_the_students_figures_are_the_papers(suite, tmp_path):
    """Counted at 512 x 512 without running it there."""
    rows = suite().rows[:1]
    (counted,) = compare(rows, size=64, rounds=3)
    assert counted["parameters"] / 1e6 == pytest.approx(10.42, abs=0.005)
    speed = counted["throughput"]
    assert speed["low"] <= speed["median"] <= speed["high"]
    text = write([counted], tmp_path, size=64, images=1, rounds=3, command="python tools/benchmark.py efficiency")
    assert "Random weights" in text and "The paper's FPS are of another machine" in text
    content = json.loads((tmp_path / efficiency.EFFICIENCY).read_text())
    assert content["networks"][0]["parameters"] == counted["parameters"] and content["hardware"]["cpu"]
    assert "python tools/benchmark.py efficiency" in (tmp_path / "efficiency.md").read_text()

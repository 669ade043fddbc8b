"""Sizes and speeds side by side."""

import json

import pytest

from meddet_d2.benchmark import efficiency
from meddet_d2.benchmark.efficiency import NetworkCost, compare, interleaved_seconds, noise_batch, table, write
from meddet_d2.evaluation.summary import Throughput


def test_timed_calls_are_interleaved_in_rounds():
    order, now = [], [0.0]

    def network(name, seconds):
        def call():
            order.append(name)
            now[0] += seconds

        return call

    calls = {"A": network("A", 1.0), "B": network("B", 2.0), "C": network("C", 3.0)}
    seconds = interleaved_seconds(calls, rounds=4, warmup=2, clock=lambda: now[0])
    assert "".join(order) == "ABC" * 6
    assert seconds == {"A": [1.0] * 4, "B": [2.0] * 4, "C": [3.0] * 4}, "without the warm-up"
    order.clear()
    primed = interleaved_seconds(calls, rounds=3, warmup=1, prime=True, clock=lambda: now[0])
    assert "".join(order) == "AABBCC" * 4 and primed == {"A": [1.0] * 3, "B": [2.0] * 3, "C": [3.0] * 3}


def test_too_few_rounds_and_no_images_are_told():
    with pytest.raises(ValueError, match="3 rounds"):
        interleaved_seconds({"A": int}, rounds=2)
    for size, images in ((0, 1), (64, 0)):
        with pytest.raises(ValueError, match="at least one"):
            noise_batch(size, images)


def network(name, teacher, millions, speed):
    return NetworkCost(
        name=name,
        teacher=teacher,
        parameters=int(millions * 1e6),
        macs_mmcv=int(millions * 2e9),
        throughput=Throughput(speed, speed - 1, speed + 1),
        paper={"fps": 3.9} if teacher else {},
    )


def test_ratios_are_to_the_smallest_teacher():
    text = table([network("large", True, 40, 5), network("small", True, 20, 10), network("student", False, 5, 40)])
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert cells[4][:5] == ["student", "5.00 M (0.25)", "10.00 G (0.25)", "40.00 (4.00)", "39.00 to 41.00"]
    assert cells[2][1] == "40.00 M (2.00)" and cells[3][7] == "3.9" and cells[4][7] == ""
    assert cells[0][7] == "the paper's FPS"
    assert "relative to small, the smallest teacher" in text


def test_the_students_figures_are_the_papers(suite, tmp_path):
    """Counted at 512 x 512 without running it there."""
    rows = suite().select(["I"], ["Alone"])
    (counted,) = compare(rows, size=64, rounds=3)
    assert counted.parameters / 1e6 == pytest.approx(10.42, abs=0.005)
    assert counted.throughput.low <= counted.throughput.median <= counted.throughput.high
    text = write([counted], tmp_path, size=64, images=1, rounds=3, command="python tools/benchmark.py efficiency")
    assert "Random weights" in text and "The paper's FPS are of another machine" in text
    content = json.loads((tmp_path / efficiency.EFFICIENCY).read_text())
    assert content["networks"][0]["parameters"] == counted.parameters and content["hardware"]["cpu"]
    assert "python tools/benchmark.py efficiency" in (tmp_path / "efficiency.md").read_text()

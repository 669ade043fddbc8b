"""What the page shows of landmarks: places in mm or px, missing ones by that word, and the command's csv."""

import base64
import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest

from meddet_d2.deploy import Landmarks
from meddet_d2.deploy.web_session import Session, show
from meddet_d2.formats import MRSlice

NAMES = ("C2 top left", "<b>", "C7/T1")


class Detector:
    """The same three landmarks on every image, of which the last is hardly seen."""

    classes, result, least_score = NAMES, "landmarks", 0.0

    def __init__(self):
        self.calls = 0

    def __call__(self, image):
        self.calls += 1
        return Landmarks(np.array([[40, 70, 0.95], [10.5, 20, 0.5], [0, 0, 0.02]], np.float32))


def session_of(spacing) -> Session:
    pixels = np.full((96, 96, 3), 90, np.uint8)
    return Session(files=[[MRSlice(pixels, "i0123456789abcdef", None, spacing, {}, (), Path("x.png"))]], middles=[0])


def rows_of(html: str) -> list[list[str]]:
    """The table's cells, as text."""
    rows = re.findall(r"<tr>(<td.*?)</tr>", html)
    return [[re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td.*?</td>", row)] for row in rows]


MM, PX = ["10.0", "35.0"], ["40.0", "70.0"]


@pytest.mark.parametrize("spacing, unit, place", [((0.5, 0.25), "mm", MM), (None, "px", PX)])
def test_a_row_a_landmark(spacing, unit, place):
    html = show(session_of(spacing), Detector(), 0, 0, 0.1)
    first, second, third = rows_of(html)
    assert first == ["C2tl", "C2 top left", "0.95", *place] and f"x, {unit}" in html
    assert second[1] == "&lt;b&gt;" and third == ["C7/T1", "C7/T1", "0.02", "missing"]
    assert "below 0.10" in html and "No box" not in html


def test_the_threshold_does_not_run_the_network_and_the_csv_has_all():
    detector, session = Detector(), session_of((0.5, 0.25))
    assert [row[-1] for row in rows_of(show(session, detector, 0, 0, 0.6))] == ["35.0", "missing", "missing"]
    html = show(session, detector, 0, 0, 0.0)
    assert detector.calls == 1 and "missing" not in html
    content = re.search(r"data:text/csv;charset=utf-8;base64,([^\"]+)", html)[1]
    lines = list(csv.DictReader(io.StringIO(base64.b64decode(content).decode())))
    assert [line["landmark"] for line in lines] == list(NAMES) and lines[0]["x_mm"] == "10.0"

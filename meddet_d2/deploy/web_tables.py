"""What the web page's tables show of a reading, one function for each result; no HTML, which is the templates'."""

from typing import Any

from ..drawing import DASHES, color_of, short_names
from .point_reading import PointReading
from .reading import Reading, disc_numbers


def box_values(reading: Reading) -> dict[str, Any]:
    """Of web_boxes.html.j2: "rows" from top to bottom, and "twice": whether a number stands twice."""
    rows = []
    for number, finding in zip(disc_numbers(reading.findings), reading.findings, strict=True):
        x0, y0, x1, y1 = finding.box
        width, height = finding.size_mm or (x1 - x0, y1 - y0)
        rows.append(
            {
                "number": number,
                "label": finding.label,
                "color": color_of(label := reading.classes.index(finding.label)),
                "line": ("solid", "dashed", "dotted", "dashed")[label % len(DASHES)],
                "score": f"{finding.score:.2f}",
                "size": f"{width:.1f} × {height:.1f}",
            }
        )
    return {"rows": rows, "twice": len({row["number"] for row in rows}) < len(rows)}


def point_values(reading: PointReading) -> dict[str, Any]:
    """Of web_points.html.j2: "rows" in the order of the landmarks; a missing one's "place" is None."""
    rows = []
    for short, point in zip(short_names(reading.classes), reading.findings, strict=True):
        shown = point.place_mm or point.place
        rows.append(
            {
                "short": short,
                "label": point.name,
                "score": f"{point.score:.2f}",
                "place": shown and tuple(f"{value:.1f}" for value in shown),
            }
        )
    return {"rows": rows, "missing": len(reading.missing)}

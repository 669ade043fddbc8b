"""data.html: a data set's counts, figures, findings and some of its images, as one file that can be passed on.

On the page stand numbers, the splits' names, classes and levels. File names, patients and whatever else a json holds
stay on the terminal and in findings.json: a name may be in them.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from meddet_d2.drawing import Box, draw_legend, draw_panel
from meddet_d2.files import write_text
from meddet_d2.pages import picture, plot, render

from ...formats import read_image
from ...layout.landmarks import labelled
from . import data_plots as plots
from .annotation_checks import ImageRecord
from .data_report import Report
from .findings import Finding, count

# Images on the page: those with findings in all, and of each split so many with boxes and so many healthy ones.
FLAGGED, WITH_BOXES, HEALTHY = 36, 8, 4
# Rows of the table for one code; findings.json has all.
ROWS = 40
# Pixels of a thumbnail's longer side, and its JPEG quality.
PANEL, QUALITY = 420, 80
# Frames around boxes with a finding, drawn as the class behind the last: their distance in pixels of the thumbnail.
FRAME_GAP = 5
UNKNOWN = "not known"
NOTICES = {
    "phantom": "Synthetic images (a phantom): no figure on them is a figure on patients.",
    "lumbar": "Lumbar images: no figure on them is a figure on CDH-1848, which is cervical.",
}
_FIGURES = (
    (plots.plot_boxes, "Boxes in pixels."),
    (partial(plots.plot_boxes, millimetre=True), "Boxes in millimetres, of the images with a spacing."),
    (plots.plot_classes, "Classes in each split."),
    (plots.plot_per_image, "Boxes in an image."),
    (plots.plot_aspects, "Width over height. The outermost bins hold all that lies beyond."),
    (plots.plot_levels, "Levels."),
)


def write_page(report: Report, path: Path) -> None:
    """Write data.html. Images are drawn with a fixed seed: on one day a data set has one page.

    Raises:
        OSError: it cannot be written.
    """
    classes = list(dict.fromkeys(name for split in report.splits for name in split.classes))
    flagged, hidden = _flagged(report, len(classes))
    drawn = [(draw(report.splits), caption) for draw, caption in _FIGURES]
    page = render(
        "data.html.j2",
        title="A look at the data",
        lead=_lead(report),
        notices=[NOTICES[region] for region in dict.fromkeys(s.region for s in report.splits) if region],
        counts=count(report.findings),
        groups=[(code, list(found)) for code, found in groupby(report.findings, key=lambda finding: finding.code)],
        most=ROWS,
        rows=_rows(report),
        splits=list(report.counts),
        figures=[{"svg": plot(figure, caption), "caption": caption} for figure, caption in drawn if figure is not None],
        legend=picture(draw_legend([*classes, "named in a finding"])),
        classes=classes,
        flagged=flagged,
        hidden=hidden,
        limit=FLAGGED,
        with_boxes=WITH_BOXES,
        healthy=HEALTHY,
        samples=[(split.name, _sample(report, split.name, len(classes))) for split in report.splits],
    )
    write_text(path, page)


def _lead(report: Report) -> str:
    counts = list(report.counts.values())
    images, boxes = (sum(one[key] for one in counts) for key in ("images", "boxes"))
    # One of two splits counts once.
    patients = len({image.patient for split in report.splits for image in split.images} - {None})
    names = ", ".join(report.counts) or "none that can be read"
    return f"Splits: {names}. {images} images, {patients} patients, {boxes} boxes."


def _rows(report: Report) -> list[tuple[str, list[str]]]:
    """The table of counts: a row's name and a cell for each split."""
    counts = list(report.counts.values())
    rows = [
        (key.replace("_", " ").capitalize(), [str(one[key]) for one in counts])
        for key in ("images", "patients", "healthy_images", "boxes")
    ]
    if any(one["unusable_boxes"] for one in counts):
        rows.append(("Boxes that are wrong, not counted", [str(one["unusable_boxes"]) for one in counts]))
    rows += [
        *_landmark_rows(counts),
        *(
            (f"Boxes: {name}", [_share(one["classes"].get(name, 0), one["boxes"]) for one in counts])
            for name in report.classes
        ),
        ("Boxes in an image", [_range_of_counts(one["boxes_per_image"]) for one in counts]),
        ("Image sizes", [_sizes(one["image_sizes"]) for one in counts]),
        ("Size of a pixel in mm", [_quantiles(one["spacing_mm"], 2) for one in counts]),
        ("Box width, pixels", [_quantiles(one["width_pixels"], 0) for one in counts]),
        ("Box height, pixels", [_quantiles(one["height_pixels"], 0) for one in counts]),
        ("Box width, mm", [_quantiles(one["width_mm"], 1) for one in counts]),
        ("Box height, mm", [_quantiles(one["height_mm"], 1) for one in counts]),
        ("Width / height", [_quantiles(one["aspect"], 1) for one in counts]),
    ]
    # Without any spacing there is nothing to say of millimetres.
    return [(name, cells) for name, cells in rows if not name.endswith(" mm") or set(cells) != {UNKNOWN}]


def _landmark_rows(counts: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Empty unless there is a landmark set."""
    if not any("landmarks" in one for one in counts):
        return []
    keys = (("Labelled landmarks", "landmarks"), ("Landmarks that are not labelled", "missing_landmarks"))
    return [(name, [str(one.get(key, 0)) for one in counts]) for name, key in keys]


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.0f} %)" if whole else "0"


def _range_of_counts(counts: dict[str, int]) -> str:
    numbers = [int(number) for number in counts]
    return "–".join(dict.fromkeys((str(min(numbers)), str(max(numbers))))) if numbers else "none"


def _sizes(counts: dict[str, int]) -> str:
    if not counts:
        return "none"
    most = next(iter(counts))
    return most if len(counts) == 1 else f"{len(counts)}, most often {most}"


def _quantiles(values: dict[str, float] | None, digits: int) -> str:
    if values is None:
        return UNKNOWN
    median, low, high = (f"{values[key]:.{digits}f}" for key in ("median", "p5", "p95"))
    return median if low == high else f"{median} ({low}–{high})"


def _flagged(report: Report, frame: int) -> tuple[list[dict[str, Any]], int]:
    """Images with findings, errors first, and how many of them are not shown."""
    by_image: dict[tuple, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        if finding.image is not None:
            by_image[finding.split, finding.image].append(finding)
    readable = {(image.split, image.number): image for image in report.readable}
    chosen = [key for key in by_image if key in readable][:FLAGGED]
    shown = [thumb for key in chosen for thumb in _thumbnail(readable[key], by_image[key], frame)]
    return shown, len(by_image) - len(shown)


def _sample(report: Report, split: str, frame: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    images = [image for image in report.readable if image.split == split]
    chosen: list[ImageRecord] = []
    for healthy, most in ((False, WITH_BOXES), (True, HEALTHY)):
        group = [image for image in images if (image.annotated == 0) == healthy]
        chosen += [group[pick] for pick in sorted(rng.permutation(len(group))[:most])]
    return [thumb for image in chosen for thumb in _thumbnail(image, [], frame)]


def _thumbnail(image: ImageRecord, findings: Sequence[Finding], frame: int) -> list[dict[str, Any]]:
    """An image as the template shows it, or none if its file has gone; ``frame`` is the number of classes."""
    assert image.path is not None, "it was measured"
    try:
        pixels = read_image(image.path)
    except (OSError, ValueError):
        return []
    named = {finding.annotation for finding in findings if finding.annotation is not None}
    gap = FRAME_GAP * max(pixels.shape[:2]) / PANEL
    boxes = []
    for box in image.boxes:
        boxes.append(Box(box.corners, frame + 1 if box.label is None else box.label))
        if box.number in named:
            x0, y0, x1, y1 = box.corners
            boxes.append(Box((x0 - gap, y0 - gap, x1 + gap, y1 + gap), frame))
    # A landmark is a small square.
    half = 3 * max(pixels.shape[:2]) / PANEL
    boxes += [Box((x - half, y - half, x + half, y + half), 0) for x, y in labelled(image.landmarks)]
    codes = list(dict.fromkeys(f"{finding.code.code} {finding.name}" for finding in findings))
    address = picture(draw_panel(pixels, boxes, PANEL), quality=QUALITY)
    shown = {"number": image.number, "split": image.split, "boxes": len(image.boxes), "codes": codes}
    return [{"address": address, **shown}]

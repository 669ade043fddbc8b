"""A speed report as files: json, a markdown page with a section for each device, and a picture for each."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..report_parts import table, write_timing
from ..result_plots import draw_speed
from .speed_report import SpeedReport, named

HEADINGS = {"cpu": "On the CPU", "cuda": "On a GPU"}
NO_GPU = "No GPU figure is measured yet."


def page(report: SpeedReport) -> str:
    """All tables as markdown, the CPU's and a GPU's under headings of their own, and the notes."""
    found = list(dict.fromkeys(report.devices.values()))
    sections = []
    for device in dict.fromkeys([*HEADINGS, *found]):
        groups = {group for group, its in report.devices.items() if its == device}
        tables = list(_tables(report, groups))
        if device == "cuda" and not tables:
            tables = [NO_GPU]
        if tables:
            sections += [f"## {HEADINGS.get(device, f'On {device}')}", *tables]
    notes = [f"- {note}" for note in report.notes]
    return "\n\n".join([*sections, *(["## Not measured", "\n".join(notes)] if notes else [])])


def write(report: SpeedReport, output: Path, *, size: int, command: str) -> str:
    """Write speed.json, speed.md and a picture for each device, speed.png and speed_cuda.png, into a folder.

    Args:
        report: with at least one group.
        output: the folder.
        size: height and width of the images in pixels.
        command: that measured.

    Returns:
        The tables, with how they were measured.
    """
    how = (
        f"Random weights, images of {size} x {size} pixels, calls interleaved in {report.rounds} rounds, medians and"
        " quartiles"
    )
    text, content = page(report), report.to_json()
    note = write_timing(output / "speed", how, _end(), text, {**content, "size": size}, command)
    for device in dict.fromkeys(report.devices.values()):
        times = {group: calls for group, calls in content["milliseconds"].items() if report.devices[group] == device}
        if times:
            draw_speed(times, output / f"{named('speed', device)}.png")
    return f"{note}\n\n{text}"


def _end() -> str:
    """The end of the note: the version of onnxruntime, if it took part."""
    version = getattr(sys.modules.get("onnxruntime"), "__version__", None)
    return f", onnxruntime {version}." if version else "."


def _tables(report: SpeedReport, groups: set[str]) -> Iterable[str]:
    content = report.to_json()

    def of(figures: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, Any]]:
        return [(group, name, value) for group in figures if group in groups for name, value in figures[group].items()]

    ratios = [
        {"ratio of medians": f"{group}.{name}", "value": "not measured" if value is None else f"{value:.2f}"}
        for group, name, value in of(report.ratios)
    ]
    times = []
    for group, name, ms in of(content["milliseconds"]):
        rate = content["images_per_second"].get(group, {}).get(name)
        times.append(
            {
                "part": group,
                "call": name,
                "ms": f"{ms['median']:.2f}",
                "(quartiles)": f"{ms['low']:.2f} to {ms['high']:.2f}",
                "images/s": "" if rate is None else f"{rate:.1f}",
            }
        )
    launches = [
        {"part": name, **{f"{what}, {images} images": n for images, one in found.items() for what, n in one.items()}}
        for _, name, found in of(report.launches)
    ]
    memory = [{"peak memory": name, "GiB": f"{value:.2f}"} for _, name, value in of(report.memory)]
    return [table(lines) for lines in (ratios, times, launches, memory) if lines]

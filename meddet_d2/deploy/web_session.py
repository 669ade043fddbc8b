"""What the page of tools/web_app.py does with uploaded files, apart from Gradio: read, find, and say it as HTML.

No torch, no Detectron2. Nothing is written to disk: pictures and csv go into the page, under the pseudonym's name.
"""

import base64
import io
import logging
import traceback
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..formats import MRSlice, Pseudonyms, ReadError, read_slices
from ..pages import picture, render
from .reading import Detector, thresholds_of
from .result_kinds import RESULT_KINDS, ResultKind, kind_of
from .results import write_lines

logger = logging.getLogger(__name__)

# Of one upload, whose slices lie in memory until half an hour after the visitor's last click.
MAX_FILES, MAX_SLICES = 20, 512
UNEXPECTED = "Something went wrong with {what} that this page did not expect; whoever runs it finds where in its log."


@dataclass
class Session:
    """What one visitor uploaded last.

    Attributes:
        files: of each file that could be read its slices, in order.
        middles: of each of these files the index of the slice to begin with.
        problems: one sentence for each that could not.
        found: (file, slice) -> every detection of the network there, so that it runs once for a slice.
    """

    files: list[list[MRSlice]] = field(default_factory=list)
    middles: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    found: dict[tuple[int, int], Any] = field(default_factory=dict)


def receive(paths: Iterable[Path], pseudonyms: Pseudonyms) -> Session:
    """Read uploaded files and delete them, readable or not.

    Args:
        paths: of the uploads, in folders of Gradio's, which are deleted too.
        pseudonyms: for the names of files to download.
    """
    session, slices = Session(), 0
    paths = list(paths)
    try:
        if len(paths) > MAX_FILES:
            session.problems.append(f"These are {len(paths)} files; give at most {MAX_FILES} at once.")
            return session
        for number, path in enumerate(paths, 1):
            what = "the file" if len(paths) == 1 else f"file {number}"
            try:
                read = read_slices(path, pseudonyms=pseudonyms, slices="all")
                # Its own idea of the middle: the slices of a series are ordered in space, and some may be left out.
                start = read_slices(path, pseudonyms=pseudonyms, slices="middle")[0].frame if len(read) > 1 else None
            except ReadError as error:
                # Its reason names no path, which ends in the name that the file had on its owner's machine.
                session.problems.append(f"{what.capitalize()}: {error.reason}")
                continue
            except Exception as error:  # a decoder's; the page must say a sentence whatever it was
                session.problems.append(_unexpected(error, what))
                continue
            slices += len(read)
            if slices > MAX_SLICES:
                session.problems.append(
                    f"{what.capitalize()} brings the slices to {slices}; this page keeps {MAX_SLICES}."
                )
                return session
            session.files.append(read)
            session.middles.append(next((i for i, one in enumerate(read) if one.frame == start), 0))
        return session
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
            # The same bytes uploaded twice lie in one folder; the last of them takes it along.
            with suppress(OSError):
                path.parent.rmdir()


def show(session: Session, detector: Detector, file: int, slice_: int, threshold: float) -> str:
    """The HTML for one slice: its picture, its table, or a sentence why there is none.

    Args:
        session: its ``found`` is filled.
        detector: called only for a slice that it has not seen.
        file, slice_: indices into ``session.files``.
        threshold: findings have at least this score.
    """
    kind, reading, problems = kind_of(detector), None, list(session.problems)
    if session.files:
        try:
            mr_slice, place = session.files[file][slice_], (file, slice_)
            if place not in session.found:
                session.found[place] = detector(mr_slice.pixels)
            reading = kind.read(mr_slice, session.found[place], thresholds_of(detector.classes, threshold))
        # A network's NaN among them: an empty table would look like a healthy patient.
        except (ValueError, FloatingPointError) as error:
            problems.append(f"No reading: {error}")
        except Exception as error:  # onnxruntime's and torch's have no common class
            problems.append("No reading. " + _unexpected(error, "this image"))
    return render("web_reading.html.j2", problems=problems, reading=reading and _contents(kind, reading, threshold))


def _contents(kind: ResultKind, reading: Any, threshold: float) -> dict:
    """What the template shows of a reading."""
    content = base64.b64encode(csv_of(reading, kind).encode()).decode()
    return {
        "name": reading.slice.image_id,
        # Somebody is moving the threshold and waits.
        "picture": picture(kind.overlay(reading), optimize=False),
        "csv": f"data:text/csv;charset=utf-8;base64,{content}",
        "table": kind.page,
        **kind.page_values(reading),
        "unit": "px" if reading.slice.spacing is None else "mm",
        "threshold": f"{threshold:.2f}",
        "remarks": reading.slice.warnings,
    }


def csv_of(reading: Any, kind: ResultKind = RESULT_KINDS["boxes"]) -> str:
    """The table of `meddet predict` for one slice: a line a finding."""
    results, buffer = kind.results(reading.classes), io.StringIO()
    results.add(reading)
    write_lines(buffer, results.COLUMNS, results.findings)
    return buffer.getvalue()


def _unexpected(error: Exception, what: str) -> str:
    # Where, and which class: a message may hold a tag's value.
    place = traceback.extract_tb(error.__traceback__)[-1]
    logger.error("%s at %s:%s", type(error).__name__, Path(place.filename).name, place.lineno)
    return UNEXPECTED.format(what=what)

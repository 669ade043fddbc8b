"""Files and folders, in any mixture, to slices and problems, one after the other."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..files import HIDDEN, walk
from .identity import Pseudonyms
from .kinds import header_of, kind_of
from .reader import check_slices, library, other_slices
from .records import MRSlice, Problem, ReadError

COPY = "is the same image as one before it, by identifier or content; left out."


def collect(
    inputs: Sequence[str | Path],
    *,
    pseudonyms: Pseudonyms,
    slices: str = "middle",
    expect: Callable[[int], object] = lambda more: None,
) -> Iterator[MRSlice | Problem]:
    """Read everything that is named, and tell what was not.

    A file is read by itself. A folder is walked, with the folders in it and those that it links to; its DICOM files are
    grouped into series (of one SeriesInstanceUID, orientation and size), sorted by position; headers are read first,
    pixels one file at a time. What begins with a dot is left out and counted.

    Args:
        inputs: files and folders.
        pseudonyms: what names the slices and the patients.
        slices: "middle" (of each series, volume or file of several frames) or "all".
        expect: for a progress bar: called for each input, when its headers are known and before its pixels are read,
            with about how many more slices and problems will come of it.

    Yields:
        In the order of the inputs, and within a folder in that of the names: a slice, or a problem for whatever was not
        read: what is missing, damaged or no image, or the same image once more. If the middle of a series cannot be
        read, that is a problem, and the slice next to it is taken.

    Raises:
        ValueError: ``slices`` is neither "middle" nor "all".
    """
    check_slices(slices)
    return _collect([Path(path) for path in inputs], pseudonyms, slices, expect)


def _collect(
    inputs: list[Path], pseudonyms: Pseudonyms, slices: str, expect: Callable[[int], object]
) -> Iterator[MRSlice | Problem]:
    seen: set[str] = set()
    folders: set[tuple[int, int]] = set()
    for path in inputs:
        files, problems = _walk(path, folders) if path.is_dir() else ([path], [])
        yield from problems
        for result in _files(files, pseudonyms, slices, expect):
            # Results are written under this id: a second one would replace the first.
            if isinstance(result, MRSlice) and result.image_id in seen:
                yield Problem(result.source, COPY)
                continue
            if isinstance(result, MRSlice):
                seen.add(result.image_id)
            yield result


def _walk(folder: Path, folders: set[tuple[int, int]]) -> tuple[list[Path], list[Problem]]:
    """The files below a folder, in the order of their names, and what was left out; ``folders`` are those seen."""
    found = list(walk(folder, folders))
    files = [path for path, reason in found if not reason]
    hidden = sum(reason == HIDDEN for _, reason in found)
    left_out = [(path, reason) for path, reason in found if reason and reason != HIDDEN]
    problems = [Problem(path, f"is a folder that {reason}; left out.") for path, reason in left_out]
    if hidden:
        problems.append(Problem(folder, f"{hidden} hidden files or folders in it (.name) were left out."))
    if not files:
        problems.append(Problem(folder, "is a folder without files."))
    return files, problems


def _files(
    files: list[Path], pseudonyms: Pseudonyms, slices: str, expect: Callable[[int], object]
) -> Iterator[MRSlice | Problem]:
    """The files of one input: series first as a whole known, then everything in the order of the names."""
    dicom: Any = None
    frames: list = []
    known: set[tuple] = set()
    kinds: dict[Path, str | Problem] = {}
    for path in _shown(files):
        try:
            kind = kinds[path] = kind_of(path)
            if kind == "dicom":
                dicom = library(kind, path)
                found = dicom.read_frames(path)
                copy = dicom.copy_key(found)
                if copy in known:
                    # Before the middle is counted, which they would move.
                    kinds[path] = Problem(path, COPY)
                    continue
                frames += found
                known |= {copy} - {None}
        except (ReadError, OSError) as error:
            kinds[path] = _problem(path, error)
    series: dict[Path, list[list]] = defaultdict(list)
    for group in dicom.series_of(frames) if dicom else ():
        series[group[0].path].append(group)
    others = sum(what != "dicom" for what in kinds.values())
    expect(others + (len(frames) if slices == "all" else sum(map(len, series.values()))))
    decoder: Any = dicom.Decoder(pseudonyms) if dicom else None
    for path, what in kinds.items():
        if isinstance(what, Problem):
            yield what
        elif what == "dicom":
            for group in series[path]:
                wanted = dicom.in_order(group) if slices == "all" else dicom.middle_first(group)
                yield from _series(decoder, wanted, slices)
        elif what != "nifti" or header_of(path) not in kinds:
            yield from _other(path, what, pseudonyms, slices)


def _shown(files: list[Path]) -> Iterable[Path]:
    """With a progress bar on a terminal where it takes long."""
    if len(files) < 500:
        return files
    # Here, because a deployed detector that reads a few pictures does without the package.
    from tqdm import tqdm

    return tqdm(files, desc="reading headers", unit="file", disable=None, delay=2.0, leave=False)


def _series(decoder: Callable, frames: list, slices: str) -> Iterator[MRSlice | Problem]:
    for frame in frames:
        try:
            yield decoder(frame)
        except (ReadError, OSError) as error:
            yield _problem(frame.path, error)
        else:
            if slices == "middle":
                return


def _other(path: Path, kind: str, pseudonyms: Pseudonyms, slices: str) -> Iterator[MRSlice | Problem]:
    try:
        yield from other_slices(path, kind, pseudonyms, slices)
    except (ReadError, OSError) as error:
        yield _problem(path, error)


def _problem(path: Path, error: Exception) -> Problem:
    if isinstance(error, ReadError):
        return Problem(path, error.reason)
    if isinstance(error, FileNotFoundError):
        return Problem(path, "there is no such file or folder, or it is no regular file.")
    return Problem(path, f"cannot be read ({type(error).__name__}).")

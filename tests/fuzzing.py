"""Hostile files for every reader of the project: what a reader may do with one.

`fuzz_readers.READERS` is the table. A reader may return, or raise one of its own error types with a message. It may do
nothing else, and not for long, and not in much memory. `test_fuzz.py` tries a few files on each, `fuzz_long.py` as
many as you like.
"""

import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from fuzz_readers import Reader

from meddet_d2.formats import ReadError

# For one case: seconds, and bytes that the process may grow by.
SECONDS, GROWTH = 20.0, 512 * 2**20


class TooMuch(BaseException):
    """A reader took too long or too much memory; no ``except Exception`` of the reader catches it."""


@contextmanager
def bounded() -> Iterator[None]:
    """Raises `TooMuch` in the block after SECONDS, and at its end if the process has grown by more than GROWTH."""

    def ring(*_: Any) -> None:
        raise TooMuch(f"took longer than {SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    if grown > GROWTH:
        raise TooMuch(f"took {grown / 2**20:.0f} MiB of memory")


def attack(reader: Reader, path: Path) -> bool:
    """Read a file; whether it was accepted. Raises what the reader must not raise, or an AssertionError."""
    with bounded():
        try:
            reader.read(path)
        except reader.errors as error:
            told = str(error)
            assert type(error) in reader.errors, f"{type(error).__name__} is not the project's own: {told[:200]}"
            assert told.strip(), "an error without a word"
            assert not reader.names_file or str(path) in told, f"does not name the file: {told[:200]}"
            assert not isinstance(error, ReadError) or "\n" not in told, "more than one line"
            return False
    return True


def case(reader: Reader, sound: list[bytes], seed: int, number: int) -> bytes:
    """The file of one number in a long run: the same each time."""
    random = Random(f"{seed}/{reader.name}/{number}")
    return reader.change(random, random.choice(sound))


def sound_files(reader: Reader, folder: Path) -> tuple[Path, list[bytes]]:
    """Where a changed file goes, and the sound ones' contents. All of these are read once: they must be accepted."""
    paths = reader.make(folder)
    for path in paths:
        reader.read(path)
    target = paths[0].with_name(f"changed{''.join(paths[0].suffixes[-2:])}") if reader.name != "yolo" else paths[0]
    return target, [path.read_bytes() for path in paths]


# --- what a process opens --------------------------------------------------------------------------------------------

_opened: list[str] | None = None


def _listen(event: str, arguments: tuple) -> None:
    if _opened is not None and event in ("open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.symlink"):
        _opened.extend(os.fsdecode(name) for name in arguments[:2] if isinstance(name, str | bytes | os.PathLike))


@contextmanager
def opened() -> Iterator[list[str]]:
    """The paths that this process opens, makes, renames or removes in the block."""
    global _opened
    if not getattr(_listen, "hooked", False):
        sys.addaudithook(_listen)
        _listen.hooked = True
    _opened = names = []
    try:
        yield names
    finally:
        _opened = None

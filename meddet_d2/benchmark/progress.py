"""How far a benchmark is: a bar over its runs, the time left, and the current run's last line."""

import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from .plan import Run

# Bytes at a log's end in which its last line is looked for.
TAIL = 4000
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Progress:
    """The bar, and what it knows about durations.

    Args:
        runs: that are to be made, in order.
        earlier: (run, seconds) of those that are there already; they help to estimate.
        total: runs in all, with those already there.
    """

    def __init__(self, runs: Sequence[Run], earlier: Sequence[tuple[Run, float]], total: int):
        self.waiting, self.seconds = list(runs), list(earlier)
        self.begin = time.monotonic()
        # disable=None: no bar where the output is a file, whose reader gets one line for each run instead.
        self.bar = tqdm(
            total=total,
            initial=total - len(self.waiting),
            unit="run",
            disable=None,
            dynamic_ncols=True,
            bar_format="{n_fmt}/{total_fmt} runs |{bar:20}| {elapsed} {desc}",
        )

    def start(self, run: Run) -> None:
        """The next run begins."""
        self.waiting.remove(run)
        self.begin = time.monotonic()
        self.show(run, "")

    def show(self, run: Run, line: str) -> None:
        """What the bar says while a run is at work."""
        left = self.left(run, time.monotonic() - self.begin)
        # refresh() and not set_description_str's own, which tqdm would hold back.
        self.bar.set_description_str(f"left {_clock(left)} | {run.label} | {line}", refresh=True)

    def finish(self, run: Run, seconds: float, words: str, *, count: bool = True) -> None:
        """A run has ended.

        Args:
            run: that ended.
            seconds: that it took.
            words: what came of it.
            count: its time says how long others will take.
        """
        if count:
            self.seconds.append((run, seconds))
        self.bar.update()
        place = f"[{self.bar.total - len(self.waiting)}/{self.bar.total}]"
        tqdm.write(f"{place} {run.label}: {words} ({_clock(seconds)}; left {_clock(self.left())})")

    def left(self, current: Run | None = None, elapsed: float = 0.0) -> float | None:
        """Seconds until all runs are done, by the durations so far; None before the first.

        Args:
            current: the run at work.
            elapsed: its seconds so far.
        """
        if not self.seconds and (current or self.waiting):
            return None
        now = max(self.expected(current) - elapsed, 0.0) if current else 0.0
        return now + sum(self.expected(run) for run in self.waiting)

    def expected(self, run: Run) -> float:
        """Seconds that a run will take: as its other seeds, or as others of its kind, or as all."""
        likeness = (
            lambda other: other.config_hash == run.config_hash,
            lambda other: (other.kind, other.cfg.DISTILL.ENABLED) == (run.kind, run.cfg.DISTILL.ENABLED),
            lambda other: other.kind == run.kind,
            lambda other: True,
        )
        for alike in likeness:
            known = [seconds for other, seconds in self.seconds if alike(other)]
            if known:
                return statistics.median(known)
        return 0.0

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.set_description_str("", refresh=False)
        self.bar.close()


def last_line(path: Path) -> str:
    """The last line of a log, without colours and time stamp; empty if there is none."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = [COLOURS.sub("", line).strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    text = next((line for line in reversed(lines) if line), "")
    return text.partition("]: ")[2].strip() or text if text.startswith("[") else text


def _clock(seconds: float | None) -> str:
    return "unknown" if seconds is None else tqdm.format_interval(round(seconds))

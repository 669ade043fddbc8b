"""How far a benchmark is: a bar over its runs, the time left, and the last line of those at work."""

import heapq
import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from .plan import Run

# Bytes at a log's end in which its last line is looked for.
TAIL = 4000
# Characters of last lines in the bar, of all runs at work together.
WIDTH = 100
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Progress:
    """The bar, and what it knows about durations.

    Args:
        runs: that are to be made, in order.
        earlier: (run, seconds) of those that are there already; they help to estimate.
        total: runs in all, with those already there.
        jobs: runs at once.
    """

    def __init__(self, runs: Sequence[Run], earlier: Sequence[tuple[Run, float]], total: int, *, jobs: int = 1):
        self.waiting, self.seconds, self.jobs = list(runs), list(earlier), jobs
        # When each run at work began, and what its log says last.
        self.begun: dict[Run, float] = {}
        self.lines: dict[Run, str] = {}
        # disable=None: no bar where the output is a file, whose reader gets one line for each run instead.
        self.bar = tqdm(
            total=total, initial=total - len(self.waiting), unit="run", disable=None, dynamic_ncols=True,
            bar_format="{n_fmt}/{total_fmt} runs |{bar:20}| {elapsed} {desc}",
        )  # fmt: skip

    def start(self, run: Run) -> None:
        """A run begins."""
        self.waiting.remove(run)
        self.begun[run] = time.monotonic()
        self.show(run, "")

    def show(self, run: Run, line: str) -> None:
        """What the bar says about a run at work, beside the others."""
        self.lines[run] = line
        width = WIDTH // len(self.lines)
        lines = [f"{run.label} | {line[:width]}" for run, line in self.lines.items()]
        # refresh() and not set_description_str's own, which tqdm would hold back.
        self.bar.set_description_str(" | ".join([f"left {self._clock_left()}", *lines]), refresh=True)

    def finish(self, run: Run, seconds: float, words: str, *, count: bool = True) -> None:
        """A run has ended after ``seconds``; ``count`` them to say how long others will take."""
        if count:
            self.seconds.append((run, seconds))
        del self.begun[run], self.lines[run]
        self.bar.update()
        place = f"[{self.bar.total - len(self.waiting) - len(self.begun)}/{self.bar.total}]"
        tqdm.write(f"{place} {run.label}: {words} ({tqdm.format_interval(round(seconds))}; left {self._clock_left()})")

    def left(self, at_work: Sequence[tuple[Run, float]] = ()) -> float | None:
        """Seconds until all runs are done, by the durations so far; None before the first.

        Every waiting run goes where a run ends first, so that the last one, which runs alone, counts in full.

        Args:
            at_work: the runs at work and their seconds so far.
        """
        if not self.seconds and (at_work or self.waiting):
            return None
        ends = [max(self._expected(run) - elapsed, 0.0) for run, elapsed in at_work]
        ends += [0.0] * (self.jobs - len(ends))
        heapq.heapify(ends)
        for run in self.waiting:
            heapq.heapreplace(ends, ends[0] + self._expected(run))
        return max(ends)

    def _expected(self, run: Run) -> float:
        """Seconds that a run will take: as its other seeds, or as others of its kind, or as all."""
        for places in (3, 2, 1, 0):
            known = [seconds for other, seconds in self.seconds if _nature(other)[:places] == _nature(run)[:places]]
            if known:
                return statistics.median(known)
        return 0.0

    def _clock_left(self) -> str:
        now = time.monotonic()
        seconds = self.left([(run, now - begin) for run, begin in self.begun.items()])
        return "unknown" if seconds is None else tqdm.format_interval(round(seconds))

    def close(self) -> None:
        """Leave the bar as it is."""
        self.bar.set_description_str("", refresh=False)
        self.bar.close()


def _nature(run: Run) -> tuple[str, bool, str]:
    return run.kind, run.cfg.DISTILL.ENABLED, run.config_hash


def last_line(path: Path) -> str:
    """The last line of a log, without colours and time stamp; empty if there is none."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = [COLOURS.sub("", line).strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    text = next((line for line in reversed(lines) if line), "")
    return text.partition("]: ")[2].strip() or text if text.startswith("[") else text

"""Makes the runs of a plan one after another, each in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone

from .folder import ResultsFolder
from .plan import Run
from .progress import Progress, last_line
from .provenance import PACKAGE, hardware, source_hash, without_home

WORKER = (sys.executable, "-m", "meddet_d2.benchmark.worker")
LOG = "console.txt"
# Seconds: between two looks at a run, and from asking it to stop until it is killed.
POLL, PATIENCE = 0.5, 10.0


class Runner:
    """Makes runs, skips what is done, and goes on after a failure.

    Args:
        folder: the results; its lock must be held.
        made_by: the present provenance.
        allow_mixed: go on if the sources change meanwhile.
        worker: the command of one run, to which its folder is added.
    """

    def __init__(
        self, folder: ResultsFolder, made_by: dict, *, allow_mixed: bool = False, worker: Sequence[str] = WORKER
    ):
        self.folder, self.made_by = folder, made_by
        self.allow_mixed, self.worker = allow_mixed, list(worker)

    def make(self, runs: Sequence[Run]) -> list[Run]:
        """Make those of the runs that are not done, in order.

        Args:
            runs: teachers before their students.

        Returns:
            The runs that failed.

        Raises:
            KeyboardInterrupt: the run at work was stopped, and its record says so.
            ValueError: the sources changed while the benchmark ran.
        """
        records = [(run, self.folder.record(run)) for run in runs]
        done = [(run, record["seconds"]) for run, record in records if record.get("status") == "done"]
        for run, _ in done:
            self._keep_rows(run)
        waiting = [run for run, record in records if record.get("status") != "done"]
        progress = Progress(waiting, done, len(runs))
        failed = []
        try:
            for run in waiting:
                self._check_sources()
                if not self._make(run, progress):
                    failed.append(run)
        finally:
            progress.close()
        return failed

    def _keep_rows(self, run: Run) -> None:
        """A run that is done may stand for more rows now than when it was made."""
        record = self.folder.record(run)
        rows = [list(row) for row in run.rows]
        if any(row not in record["rows"] for row in rows):
            merged = [*record["rows"], *(row for row in rows if row not in record["rows"])]
            self.folder.write_record(run, {**record, "rows": merged})

    def _check_sources(self) -> None:
        now = source_hash()
        if now != self.made_by["sources"] and not self.allow_mixed:
            raise ValueError(
                f"The sources changed while the benchmark ran (from {self.made_by['sources']} to {now}), and its next"
                " run would be made by others than its first; undo the change and run the same command again, or allow"
                " it with --allow-mixed."
            )

    def _make(self, run: Run, progress: Progress) -> bool:
        """Make one run; True if it is done."""
        progress.start(run)
        broken = [teacher for teacher in run.teachers if self.folder.record(teacher).get("status") != "done"]
        record = self._first_record(run)
        resumed = self.folder.begin(run, record)
        record["resumed"] = resumed
        begin = time.monotonic()
        if broken:
            error = f"its teacher {broken[0].name} (seed {broken[0].seed}) failed"
        else:
            try:
                error = self._work(run, progress)
            except BaseException:
                seconds = time.monotonic() - begin
                self.folder.write_record(run, {**record, "status": "interrupted", "seconds": seconds})
                raise
        seconds = time.monotonic() - begin
        if error:
            self.folder.write_record(run, {**record, "status": "failed", "seconds": seconds, "error": error})
            where = without_home(str(run.folder / LOG))
            progress.finish(run, seconds, f"FAILED, {error}" + ("" if broken else f"; log: {where}"), count=False)
            return False
        outcome = self.folder.outcome(run)
        record["hardware"] = hardware(outcome.pop("threads", None))
        self.folder.write_record(run, {**record, "status": "done", "seconds": seconds, **outcome})
        # A part of a run says little about a whole one.
        progress.finish(run, seconds, f"AP50 {_figure(outcome['metrics'].get('AP50'))}", count=not resumed)
        return True

    def _first_record(self, run: Run) -> dict:
        sources = {"sources": source_hash()} if self.allow_mixed else {}
        return {
            "status": "running",
            "kind": run.kind,
            "name": run.name,
            "rows": [list(row) for row in run.rows],
            "config": run.source,
            "seed": run.seed,
            "config_hash": run.config_hash,
            "method": run.cfg.DISTILL.METHOD if run.cfg.DISTILL.ENABLED else None,
            "backbone": run.cfg.MODEL.BOTTOM_UP.NAME,
            "teachers": [self.folder.key(teacher.folder) for teacher in run.teachers],
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "hardware": hardware(),
            **self.made_by,
            **sources,
        }

    def _work(self, run: Run, progress: Progress) -> str:
        """Run the worker to its end; what went wrong in one line, empty if nothing did."""
        log = run.folder / LOG
        paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
        with open(log, "ab") as output:
            # A session of its own: Ctrl-C reaches the benchmark alone, which then stops the run.
            child = subprocess.Popen(
                [*self.worker, str(run.folder)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
            try:
                while child.poll() is None:
                    progress.show(run, last_line(log)[:100])
                    try:
                        child.wait(POLL)
                    except subprocess.TimeoutExpired:
                        continue
            finally:
                _stop(child)
        if child.returncode < 0:
            return f"killed by {signal.Signals(-child.returncode).name}" + (
                " (out of memory?)" if child.returncode == -signal.SIGKILL else ""
            )
        if child.returncode > 0:
            line = last_line(log)
            return without_home(line.removeprefix("error: ") or f"ended with exit code {child.returncode}")
        try:
            metrics = self.folder.outcome(run)["metrics"]
        except (OSError, KeyError, ValueError):
            return "ended without an outcome"
        return "" if metrics.get("AP50") is not None else "the test data has no boxes, so that there is no AP50"


def _stop(child: subprocess.Popen) -> None:
    """End a run and whatever it started."""
    child.stdin.close()
    if child.poll() is None:
        _signal(child, signal.SIGTERM)
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            _signal(child, signal.SIGKILL)
            child.wait()


def _signal(child: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _figure(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1f}"

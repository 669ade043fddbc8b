"""A run's process: started with its share of the processor, looked at, and stopped together with its children."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..provenance import PACKAGE, without_home
from .plan import Run
from .run_progress import last_line

WORKER = (sys.executable, "-m", "meddet_d2.benchmark.worker")
# Seconds from asking processes to stop until they are killed.
PATIENCE = 10.0


def thread_share(jobs: int) -> int | None:
    """CPU threads of each of ``jobs`` runs at once; None for a single one, which keeps what its environment says.

    By ``jobs`` and not by how many runs are at work in a moment: the threads decide the last bits of a run's figures,
    and those must not depend on what else was going on.
    """
    return None if jobs == 1 else max(1, usable_cores() // jobs)


def usable_cores() -> int:
    """The cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(eq=False)
class Job:
    """A run at work: its first record, when it began, and its process once it has one."""

    run: Run
    record: dict
    begin: float = field(default_factory=time.monotonic)
    child: subprocess.Popen | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin

    @property
    def log(self) -> Path:
        return self.run.folder / "console.txt"

    def start(self, command: Sequence[str], threads: int | None) -> None:
        """Start the worker.

        Args:
            command: to which the run's folder is added; its output goes to ``log``.
            threads: CPU threads that it may use; None for what the environment says.
        """
        paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
        if threads is not None:
            environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        with open(self.log, "ab") as output:
            # A new session: Ctrl-C reaches the benchmark alone, which then stops the run. The pipe is closed by
            # the system when the benchmark is killed, and no other run inherits it: the worker ends then.
            self.child = subprocess.Popen(
                [*command, str(self.run.folder)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def wait(self, seconds: float) -> bool:
        """Whether the process has ended after some seconds at most."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.child:
                self.child.wait(seconds)
        return not (self.child and self.child.poll() is None)

    def error(self) -> str:
        """Why its process, which has ended, did so, in one line; empty if it ended well."""
        code = self.child and self.child.returncode
        if not code:
            return ""
        if code < 0:
            hint = " (out of memory?)" if code == -signal.SIGKILL else ""
            return f"killed by {signal.Signals(-code).name}{hint}"
        return without_home(last_line(self.log).removeprefix("error: ") or f"ended with exit code {code}")


def stop(jobs: Sequence[Job]) -> None:
    """End runs and whatever they started: ask all of them, then wait, then kill those that are left.

    An interrupt meanwhile, a second Ctrl-C, kills them at once.
    """
    children = [job.child for job in jobs if job.child]
    try:
        for child in children:
            _signal(child, signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        with contextlib.suppress(subprocess.TimeoutExpired):
            for child in children:
                child.wait(max(0.0, end - time.monotonic()))
    finally:
        for child in children:
            _signal(child, signal.SIGKILL)
        for child in children:
            child.wait()


def _signal(child: subprocess.Popen, number: int) -> None:
    # Not after poll() has seen its end: the number could be another's by then.
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)

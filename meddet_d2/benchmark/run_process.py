"""A run's process: started with its share of the processor, looked at, and stopped together with its children."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..provenance import PACKAGE, without_home
from .run_progress import last_line

WORKER = (sys.executable, "-m", "meddet_d2.benchmark.worker")
LOG = "console.txt"
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
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class RunProcess:
    """The worker of one run, at work from the start.

    Args:
        command: of the worker, to which the folder is added.
        folder: the run's; the worker's output goes to its console.txt.
        threads: CPU threads that it may use; None for what the environment says.
    """

    def __init__(self, command: Sequence[str], folder: Path, threads: int | None = None):
        self.log = folder / LOG
        paths = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
        if threads is not None:
            environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        with open(self.log, "ab") as output:
            # A session of its own: Ctrl-C reaches the benchmark alone, which then stops the run. The pipe is closed by
            # the system when the benchmark is killed, and no other run inherits it: the worker ends then.
            self.child = subprocess.Popen(
                [*command, str(folder)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def wait(self, seconds: float) -> None:
        """Until it ends, but no longer than some seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(seconds)

    def at_work(self) -> bool:
        return self.child.poll() is None

    def last_line(self) -> str:
        """What it said last."""
        return last_line(self.log)

    def error(self) -> str:
        """Why it ended in one line, once it has; empty if it ended well."""
        self.child.stdin.close()
        code = self.child.returncode
        if code < 0:
            hint = " (out of memory?)" if code == -signal.SIGKILL else ""
            return f"killed by {signal.Signals(-code).name}{hint}"
        if code > 0:
            return without_home(self.last_line().removeprefix("error: ") or f"ended with exit code {code}")
        return ""


def stop(processes: Sequence[RunProcess]) -> None:
    """End runs and whatever they started: ask all of them, then wait, then kill those that are left.

    An interrupt meanwhile, a second Ctrl-C, kills them at once.
    """
    children = [process.child for process in processes]
    try:
        for child in children:
            _signal(child, signal.SIGTERM)
            child.stdin.close()
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

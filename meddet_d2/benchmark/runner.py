"""Makes the runs of a plan, one or several at once, each in a separate process."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from meddet_d2.files import write_json

from ..provenance import hardware, source_hash, without_home
from .plan import Run
from .report_parts import read_json
from .results_folder import OUTCOME, RECORD, ResultsFolder
from .run_process import WORKER, Job, stop, thread_share
from .run_progress import Progress, last_line

# Seconds between two looks at the runs at work.
POLL = 0.5


@dataclass
class Runner:
    """Makes runs, skips what is done, and goes on after a failure.

    Raises:
        ValueError: fewer than one job.
    """

    folder: ResultsFolder  # its lock must be held while runs are made
    made_by: dict  # the present provenance
    jobs: int = 1  # runs at once; of several, each gets its share of the processor's cores
    allow_mixed: bool = False  # go on if the sources change meanwhile
    worker: Sequence[str] = WORKER  # the command of one run, to which its folder is added

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"--jobs is {self.jobs}; give the number of runs at once, from 1 up.")
        self.threads = thread_share(self.jobs)

    def make(self, runs: Sequence[Run]) -> list[Run]:
        """Make those of the runs that are not done, in order; a student waits for its teachers, and others pass it.

        Args:
            runs: with the teachers of every student, which come first.

        Returns:
            The runs that failed.

        Raises:
            KeyboardInterrupt: the runs at work were stopped, and their records say so.
            ValueError: the sources changed while the benchmark ran.
        """
        records = {run: self.folder.record(run) for run in runs}
        done = {run: record for run, record in records.items() if record.get("status") == "done"}
        for run, record in done.items():
            # It may stand for more rows now than when it was made.
            rows = [*record["rows"], *(list(row) for row in run.rows if list(row) not in record["rows"])]
            if rows != record["rows"]:
                write_json(run.folder / RECORD, {**record, "rows": rows})
        earlier = [(run, record["seconds"]) for run, record in done.items()]
        self.progress = Progress([run for run in runs if run not in done], earlier, len(runs), jobs=self.jobs)
        self.active: list[Job] = []
        self.failed: list[Run] = []
        try:
            while self.progress.waiting or self.active:
                while (following := self._next()) and self._may_start():
                    self._start(following)
                for job in self.active:
                    self.progress.show(job.run, last_line(job.log))
                if self.active:
                    self.active[0].wait(POLL)
                for job in [job for job in self.active if job.wait(0)]:
                    self._finish(job, self._error(job))
                    self.active.remove(job)
        finally:
            self._interrupt()
            self.progress.close()
        return self.failed

    def _next(self) -> Run | None:
        """The first run that can begin now: there is room for it and its teachers are done, or one of them failed."""
        unfinished = [*self.progress.waiting, *(job.run for job in self.active)]
        for run in self.progress.waiting:
            ready = len(self.active) < self.jobs and not any(teacher in unfinished for teacher in run.teachers)
            if ready or any(teacher in self.failed for teacher in run.teachers):
                return run
        return None

    def _may_start(self) -> bool:
        """Whether the sources are still the same. If not, what is at work may end first, since it began with them."""
        now = source_hash()
        if now == self.made_by["sources"] or self.allow_mixed:
            return True
        if self.active:
            return False
        raise ValueError(
            f"The sources changed while the benchmark ran (from {self.made_by['sources']} to {now}), and its next"
            " run would be made by others than its first; undo the change and run the same command again, or allow"
            " it with --allow-mixed."
        )

    def _start(self, run: Run) -> None:
        """Begin a run; without its teachers it ends at once."""
        job = Job(run, self._first_record(run))
        self.progress.start(run)
        job.record["resumed"] = self.folder.begin(run, job.record)
        broken = [teacher for teacher in run.teachers if teacher in self.failed]
        if broken:
            self._finish(job, f"its teacher {broken[0].name} (seed {broken[0].seed}) failed")
            return
        # Before its process is there: an interrupt between the two must find it.
        self.active.append(job)
        job.start(self.worker, self.threads)

    def _finish(self, job: Job, error: str) -> None:
        """Write down what came of a run."""
        run, seconds = job.run, job.seconds
        if error:
            self.failed.append(run)
            write_json(run.folder / RECORD, {**job.record, "status": "failed", "seconds": seconds, "error": error})
            where = f"; log: {without_home(str(job.log))}" if job.child else ""
            self.progress.finish(run, seconds, f"FAILED, {error}{where}", count=False)
            return
        outcome = read_json(run.folder / OUTCOME) or {}
        machine = hardware(outcome.pop("threads", None))
        record = {**job.record, "hardware": machine, "status": "done", "seconds": seconds, **outcome}
        write_json(run.folder / RECORD, record)
        # A part of a run says little about a whole one.
        self.progress.finish(run, seconds, f"AP50 {outcome['metrics']['AP50']:.1f}", count=not record["resumed"])

    def _interrupt(self) -> None:
        """Stop what is at work, and say so in the records before waiting for it: there may be a second Ctrl-C."""
        try:
            for job in self.active:
                if self.folder.record(job.run).get("status") == "running":
                    write_json(job.run.folder / RECORD, {**job.record, "status": "interrupted", "seconds": job.seconds})
        finally:
            stop(self.active)

    def _first_record(self, run: Run) -> dict:
        return {
            "status": "running",
            "kind": run.kind,
            "name": run.name,
            "rows": [list(row) for row in run.rows],
            "config": run.source,
            "seed": run.seed,
            "config_hash": run.config_hash,
            "architecture": run.cfg.MODEL.META_ARCHITECTURE,
            "method": run.cfg.DISTILL.METHOD if run.cfg.DISTILL.ENABLED else None,
            "backbone": run.cfg.MODEL.BOTTOM_UP.NAME,
            "teachers": [self.folder.key(teacher.folder) for teacher in run.teachers],
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "hardware": hardware(self.threads),
            **self.made_by,
            **({"sources": source_hash()} if self.allow_mixed else {}),
        }

    def _error(self, job: Job) -> str:
        """What went wrong with a run whose process has ended, in one line; empty if nothing did."""
        if error := job.error():
            return error
        try:
            metrics = (read_json(job.run.folder / OUTCOME) or {})["metrics"]
        except (KeyError, ValueError):
            return "ended without an outcome"
        return "" if metrics.get("AP50") is not None else "the test data has no boxes, so that there is no AP50"

"""Makes the runs of a plan, one or several at once, each in a process of its own."""

from collections.abc import Sequence
from datetime import datetime, timezone

from ..provenance import hardware, source_hash, without_home
from .plan import Run
from .results_folder import ResultsFolder
from .run_process import WORKER, Job, stop, thread_share
from .run_progress import Progress, last_line

# Seconds between two looks at the runs at work.
POLL = 0.5


class Runner:
    """Makes runs, skips what is done, and goes on after a failure.

    Args:
        folder: the results; its lock must be held while runs are made.
        made_by: the present provenance.
        jobs: runs at once. If there are several, each gets its share of the processor's cores.
        allow_mixed: go on if the sources change meanwhile.
        worker: the command of one run, to which its folder is added.

    Raises:
        ValueError: fewer than one job.
    """

    def __init__(
        self,
        folder: ResultsFolder,
        made_by: dict,
        *,
        jobs: int = 1,
        allow_mixed: bool = False,
        worker: Sequence[str] = WORKER,
    ):
        if jobs < 1:
            raise ValueError(f"--jobs is {jobs}; give the number of runs at once, from 1 up.")
        self.folder, self.made_by, self.jobs = folder, made_by, jobs
        self.allow_mixed, self.worker = allow_mixed, list(worker)
        self.threads = thread_share(jobs)

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
        records = [(run, self.folder.record(run)) for run in runs]
        done = [(run, record["seconds"]) for run, record in records if record.get("status") == "done"]
        for run, _ in done:
            self._keep_rows(run)
        waiting = [run for run, record in records if record.get("status") != "done"]
        progress = Progress(waiting, done, len(runs), jobs=self.jobs)
        active: list[Job] = []
        failed: list[Run] = []
        try:
            while waiting or active:
                while (following := self._next(waiting, active, failed)) and self._may_start(active):
                    waiting.remove(following)
                    self._start(following, active, failed, progress)
                for job in active:
                    progress.show(job.run, last_line(job.log))
                if active:
                    active[0].wait(POLL)
                for job in [job for job in active if job.wait(0)]:
                    self._finish(job, self._error(job), failed, progress)
                    active.remove(job)
        finally:
            self._interrupt(active)
            progress.close()
        return failed

    def _keep_rows(self, run: Run) -> None:
        """A run that is done may stand for more rows now than when it was made."""
        record = self.folder.record(run)
        rows = [list(row) for row in run.rows]
        if any(row not in record["rows"] for row in rows):
            merged = [*record["rows"], *(row for row in rows if row not in record["rows"])]
            self.folder.write_record(run, {**record, "rows": merged})

    def _next(self, waiting: Sequence[Run], active: Sequence[Job], failed: Sequence[Run]) -> Run | None:
        """The first run that can begin now: there is room for it and its teachers are done, or one of them failed."""
        unfinished = [*waiting, *(job.run for job in active)]
        for run in waiting:
            ready = len(active) < self.jobs and not any(teacher in unfinished for teacher in run.teachers)
            if ready or any(teacher in failed for teacher in run.teachers):
                return run
        return None

    def _may_start(self, active: Sequence[Job]) -> bool:
        """Whether the sources are still the same. If not, what is at work may end first, since it began with them."""
        now = source_hash()
        if now == self.made_by["sources"] or self.allow_mixed:
            return True
        if active:
            return False
        raise ValueError(
            f"The sources changed while the benchmark ran (from {self.made_by['sources']} to {now}), and its next"
            " run would be made by others than its first; undo the change and run the same command again, or allow"
            " it with --allow-mixed."
        )

    def _start(self, run: Run, active: list[Job], failed: list[Run], progress: Progress) -> None:
        """Begin a run; without its teachers it ends at once."""
        job = Job(run, self._first_record(run))
        progress.start(run)
        job.record["resumed"] = self.folder.begin(run, job.record)
        broken = [teacher for teacher in run.teachers if teacher in failed]
        if broken:
            self._finish(job, f"its teacher {broken[0].name} (seed {broken[0].seed}) failed", failed, progress)
            return
        # Before its process is there: an interrupt between the two must find it.
        active.append(job)
        job.start(self.worker, self.threads)

    def _finish(self, job: Job, error: str, failed: list[Run], progress: Progress) -> None:
        """Write down what came of a run."""
        run, seconds = job.run, job.seconds
        if error:
            failed.append(run)
            self.folder.write_record(run, {**job.record, "status": "failed", "seconds": seconds, "error": error})
            where = f"; log: {without_home(str(job.log))}" if job.child else ""
            progress.finish(run, seconds, f"FAILED, {error}{where}", count=False)
            return
        outcome = self.folder.outcome(run)
        machine = hardware(outcome.pop("threads", None))
        record = {**job.record, "hardware": machine, "status": "done", "seconds": seconds, **outcome}
        self.folder.write_record(run, record)
        # A part of a run says little about a whole one.
        progress.finish(run, seconds, f"AP50 {outcome['metrics']['AP50']:.1f}", count=not record["resumed"])

    def _interrupt(self, active: Sequence[Job]) -> None:
        """Stop what is at work, and say so in the records before waiting for it: there may be a second Ctrl-C."""
        try:
            for job in active:
                if self.folder.record(job.run).get("status") == "running":
                    self.folder.write_record(job.run, {**job.record, "status": "interrupted", "seconds": job.seconds})
        finally:
            stop(active)

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
            "hardware": hardware(self.threads),
            **self.made_by,
            **sources,
        }

    def _error(self, job: Job) -> str:
        """What went wrong with a run whose process has ended, in one line; empty if nothing did."""
        if error := job.error():
            return error
        try:
            metrics = self.folder.outcome(job.run)["metrics"]
        except (OSError, KeyError, ValueError):
            return "ended without an outcome"
        return "" if metrics.get("AP50") is not None else "the test data has no boxes, so that there is no AP50"

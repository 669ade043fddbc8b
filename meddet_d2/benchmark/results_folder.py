"""The results folder: what was asked for, what came out of each run, and what must not be mixed in it.

    <output>/plan.json                   rows and seeds that were asked for, the run of each, and the commands
    <output>/teachers/<run>/, students/<run>/
        config.yaml, log.txt, metrics.json, inference/, model_final.pth
        run.json                         one record: status, figures, config hash, commit, seed, hardware, engine

A record's status is "running", "done", "failed" or "interrupted". "running" without a benchmark at work is what a
killed one leaves, and counts as interrupted.
"""

import itertools
import operator
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml
from filelock import FileLock, Timeout

from meddet_d2.config.loading import entries
from meddet_d2.files import write_json, write_text

from .plan import WEIGHTS, Run, identity
from .report_parts import read_json
from .suite import Suite

RECORD = "run.json"
OUTCOME = "outcome.json"
# The keys that name an entry of plan.json.
PLACE = ("table", "row", "seed")


class ResultsFolder:
    """One benchmark's results on disk; the folder need not exist."""

    def __init__(self, path: Path | str):
        self.path = Path(path)

    def lock(self) -> FileLock:
        """A lock that two benchmarks cannot hold at once; the system frees it if its holder dies.

        Raises:
            ValueError: another benchmark holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            return lock.acquire().lock
        except Timeout:
            raise ValueError(
                f"Another benchmark works in {self.path}; wait for it or choose another --output."
            ) from None

    def read_plan(self) -> dict:
        """plan.json, or an empty one. A ValueError if it is damaged."""
        return read_json(self.path / "plan.json") or {"entries": [], "invocations": []}

    def records(self) -> dict[str, dict]:
        """Every run's record by its folder, as plan.json names it. A ValueError if one is damaged."""
        paths = sorted([*self.path.glob(f"teachers/*/{RECORD}"), *self.path.glob(f"students/*/{RECORD}")])
        return {self.key(path.parent): read_json(path) or {} for path in paths}

    def finished(self) -> dict[str, dict]:
        """Of the records those of runs that are done."""
        return {key: record for key, record in self.records().items() if record["status"] == "done"}

    def key(self, folder: Path) -> str:
        """A run's folder as plan.json names it."""
        return folder.relative_to(self.path).as_posix()

    def record(self, run: Run) -> dict:
        """The record of a run; empty if it never began."""
        return read_json(run.folder / RECORD) or {}

    def refuse_mixing(self, runs: Iterable[Run], made_by: dict, *, allow_mixed: bool = False) -> None:
        """Refuse to add runs to results that they cannot stand beside.

        Args:
            runs: to be added.
            made_by: the present provenance.
            allow_mixed: take results of other sources or of the other engine; the tables then say so.

        Raises:
            ValueError: the folder holds a finished run of the same row and seed with another config, or finished runs
                of other sources or another engine; one line that says which, and what to do.
        """
        done = self.finished()
        for (key, record), what in itertools.product(done.items(), ("sources", "engine")):
            if record[what] != made_by[what] and not allow_mixed:
                before, now = (f"{one[what]} (commit {(one['commit'] or 'unknown')[:9]})" for one in (record, made_by))
                raise ValueError(
                    f"{self.path} holds results of other {what.rstrip('s')}s: {key} was made by {before}, now it is"
                    f" {now}; choose another --output, check that commit out, or allow it with --allow-mixed, which"
                    " the tables then say."
                )
        planned = _by_place(self.read_plan()["entries"])
        for (table, row, seed), run in _places(runs).items():
            entry = planned.get((table, row, seed))
            if entry and entry["run"] in done and done[entry["run"]]["config_hash"] != run.config_hash:
                raise ValueError(
                    f"{self.path} holds table {table}, {row}, seed {seed} with another config"
                    f" ({self._difference(entry['run'], run)}); choose another --output, or delete"
                    f" {self.path / entry['run']} to replace it."
                )

    def add_plan(self, suite: Suite, runs: Sequence[Run], invocation: dict) -> None:
        """Write down what is asked for now, beside what was asked for before."""
        plan = self.read_plan()
        entries = _by_place(plan["entries"])
        rows = {(row.table, row.name): (order, row) for order, row in enumerate(suite.rows)}
        for place, run in _places(runs).items():
            order, row = rows[place[:2]]
            known = {"order": order, "run": self.key(run.folder), "config_hash": run.config_hash}
            entries[place] = {**dict(zip(PLACE, place, strict=True)), **known, "paper": dict(row.paper)}
        teachers = [self.key(run.folder) for run in runs if run.kind == "teacher"]
        plan["entries"] = sorted(entries.values(), key=lambda entry: (entry["order"], entry["seed"]))
        plan["teachers"] = list(dict.fromkeys([*plan.get("teachers", []), *teachers]))
        plan["invocations"].append(invocation)
        write_json(self.path / "plan.json", plan)

    def begin(self, run: Run, record: dict) -> bool:
        """Make a run's folder ready, and write its first record, which has the present provenance.

        Returns:
            True if the run goes on from a checkpoint of the same sources; whatever else an earlier attempt left is
            deleted.
        """
        earlier = self.record(run)
        same = all(earlier.get(key) == record[key] for key in ("sources", "engine", "config_hash"))
        resumed = same and (run.folder / "last_checkpoint").is_file()
        if not resumed:
            shutil.rmtree(run.folder, ignore_errors=True)
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / OUTCOME).unlink(missing_ok=True)
        write_text(run.folder / "config.yaml", run.cfg.dump())
        write_json(run.folder / RECORD, {**record, "resumed": resumed})
        return resumed

    def weights(self, record_key: str) -> Path:
        """The checkpoint of a finished run."""
        return self.path / record_key / WEIGHTS

    def _difference(self, key: str, run: Run) -> str:
        """The keys in which the config of a run in the folder differs from a new one's."""
        try:
            old = yaml.safe_load((self.path / key / "config.yaml").read_text(encoding="utf-8"))
            contents = (identity(content) for content in (old, yaml.safe_load(run.cfg.dump())))
            before, after = ({k: v for k, v in entries(one) if not isinstance(v, dict)} for one in contents)
        except (OSError, KeyError, yaml.YAMLError):
            return "its config.yaml is gone"
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        shown = [f"{name} {before.get(name)} -> {after.get(name)}" for name in names[:4]]
        more = f" and {len(names) - 4} more keys" if len(names) > 4 else ""
        return ", ".join(shown) + more if names else "its teachers differ"


def _by_place(entries: Iterable[dict]) -> dict[tuple[str, str, int], dict]:
    return {operator.itemgetter(*PLACE)(entry): entry for entry in entries}


def _places(runs: Iterable[Run]) -> dict[tuple[str, str, int], Run]:
    return {(*row, run.seed): run for run in runs for row in run.rows}

"""A small suite, and runs whose worker takes no time."""

import json
import sys
from pathlib import Path

import pytest

from meddet_d2.benchmark import Planner, ResultsFolder, load_suite
from meddet_d2.benchmark.suite import select
from meddet_d2.provenance import provenance_now

ROOT = Path(__file__).resolve().parents[2]
SMOKE = ROOT / "configs" / "benchmark" / "smoke.yaml"

SUITE = f"""
rows:
- {{table: I, row: Alone, config: {ROOT}/configs/backbones/gfl_mobilenetv2.yaml, paper: {{map: 80.8, recall: 0.976}}}}
- {{table: I, row: MedDet, config: {ROOT}/configs/meddet.yaml, paper: {{map: 85.5, recall: 0.972}}}}
- {{table: V, row: LWFF, config: {ROOT}/configs/meddet.yaml}}
"""
# What a run leaves, without training: its name decides how it ends.
FAKE_WORKER = """
import json, os, signal, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
results = folder.parents[1]
with open(results / "launched.txt", "a") as file:
    file.write(folder.name + "\\n")
(folder / "process.json").write_text(json.dumps({"pid": os.getpid(), "environment": dict(os.environ)}))
for teacher in json.loads((folder / "run.json").read_text())["teachers"]:
    if json.loads((results / teacher / "run.json").read_text())["status"] != "done":
        sys.exit("error: it began before its teacher was done")
plans = json.loads((results / "fates.json").read_text())
fate = next((plans[name] for name in plans if folder.name.startswith(name)), "")
if fate == "fails":
    print("Traceback ...")
    sys.exit("error: ValueError: the disk is full")
if fate == "is killed":
    os.kill(os.getpid(), signal.SIGKILL)
if fate.startswith("meets "):
    # Goes on once the other one is there, too: only two at once can meet.
    end = time.monotonic() + 60
    while "\\n" + fate.removeprefix("meets ") not in "\\n" + (results / "launched.txt").read_text():
        if time.monotonic() > end:
            sys.exit("error: it was alone")
        time.sleep(0.02)
if fate == "hears nothing":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if fate in ("hangs", "hears nothing"):
    (folder / "hangs").touch()
    time.sleep(120)
if fate == "waits for the end of its input":
    (folder / "hangs").touch()
    os.read(0, 1)
    (folder / "ended").touch()
    os._exit(1)
if fate != "says nothing":
    outcome = {"dataset": "cdh_phantom_test", "test_images": 4, "iterations": 3, "parameters": 2000000, "threads": 3,
               "metrics": {"AP50": 50.0, "AP": 30.0, "AP75": 20.0, "recall50": 90.0}, "curve": []}
    (folder / "outcome.json").write_text(json.dumps(outcome))
"""


@pytest.fixture
def suite(tmp_path):
    """``make(text)`` writes a suite and reads it; three rows that are two runs by default."""

    def make(text: str | None = None):
        path = tmp_path / "suite.yaml"
        path.write_text(text or SUITE)
        return load_suite(path)

    return make


@pytest.fixture
def folder(tmp_path):
    return ResultsFolder(tmp_path / "results")


@pytest.fixture
def plan(suite, folder):
    """``make(seeds, tables, names, overrides, ...)`` plans the small suite at the smoke scale."""

    def make(seeds=(1,), tables=None, names=None, **options):
        small = suite()
        planner = Planner(folder.path, **{"scale": SMOKE, **options})
        return planner.plan(small, select(small.rows, tables, names, small.path), seeds)

    return make


@pytest.fixture
def made_by():
    return provenance_now()


@pytest.fixture
def fake_worker(tmp_path, folder):
    """``make({"start of a folder's name": fate})`` gives a worker command; the fates are in ``FAKE_WORKER``."""
    script = tmp_path / "worker.py"
    script.write_text(FAKE_WORKER)

    def make(fates=()):
        folder.path.mkdir(exist_ok=True)
        (folder.path / "fates.json").write_text(json.dumps(dict(fates)))
        return [sys.executable, str(script)]

    return make


@pytest.fixture
def launched(folder):
    """``count()`` gives the names of the runs that were started so far."""
    return lambda: (folder.path / "launched.txt").read_text().split()

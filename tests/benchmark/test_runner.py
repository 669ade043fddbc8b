"""Runs in processes of their own: done ones are skipped, a dead one takes nothing along."""

import subprocess
import sys
import time

import pytest

from meddet_d2.benchmark import Runner, runner
from meddet_d2.benchmark.run_progress import Progress, last_line
from meddet_d2.benchmark.worker import learning_curve


def status(folder, runs):
    return [folder.record(run).get("status") for run in runs]


def test_finished_runs_are_not_made_again(folder, plan, made_by, fake_worker, launched):
    make = Runner(folder, made_by, worker=fake_worker()).make
    assert make(plan()) == []
    assert len(launched()) == 5 and launched()[0].startswith("resnet10t")
    assert make(plan(seeds=(1, 2))) == []
    assert launched()[5:] == [run.folder.name for run in plan(seeds=(2,)) if run.kind == "student"]


def test_a_record_says_what_was_made_and_by_what(folder, plan, made_by, fake_worker):
    run = plan()[-1]
    Runner(folder, made_by, worker=fake_worker()).make(plan())
    record = folder.record(run)
    assert record["status"] == "done" and record["metrics"]["AP50"] == 50.0
    assert record["rows"] == [["I", "MedDet"], ["V", "LWFF"]] and record["config"] == "configs/meddet.yaml"
    assert record["config_hash"] == run.config_hash and record["seed"] == 1 and record["method"] == "MedDet"
    assert record["teachers"][0].startswith("teachers/resnet10t")
    assert record["hardware"]["cpu"] and record["hardware"]["threads"] == 3, "the worker's threads"
    assert all(record[key] == made_by[key] for key in ("commit", "dirty", "sources", "engine", "torch"))
    assert record["seconds"] > 0 and record["started"] and not record["resumed"]


def test_a_finished_run_learns_of_further_rows(folder, plan, made_by, fake_worker):
    make = Runner(folder, made_by, worker=fake_worker()).make
    make(plan(tables=["I"]))
    make(plan(tables=["V"]))
    assert folder.record(plan()[-1])["rows"] == [["I", "MedDet"], ["V", "LWFF"]]


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        ("fails", "ValueError: the disk is full"),
        ("is killed", "killed by SIGKILL (out of memory?)"),
        ("says nothing", "ended without an outcome"),
    ],
)
def test_a_dead_run_is_marked_and_the_others_go_on(folder, plan, made_by, fake_worker, launched, fate, words):
    runs = plan()
    failed = Runner(folder, made_by, worker=fake_worker({"mobilenet-v2-alone": fate})).make(runs)
    assert [run.name for run in failed] == ["Alone"]
    assert folder.record(failed[0])["error"] == words
    assert status(folder, runs) == ["done"] * 3 + ["failed", "done"]
    assert (failed[0].folder / "console.txt").exists()
    assert Runner(folder, made_by, worker=fake_worker()).make(runs) == [], "it is tried again"
    assert len(launched()) == 6


def test_without_its_teacher_a_student_fails_at_once(folder, plan, made_by, fake_worker, launched):
    runs = plan()
    Runner(folder, made_by, worker=fake_worker({"resnet18d": "fails"})).make(runs)
    assert status(folder, runs) == ["done", "failed", "done", "done", "failed"]
    assert folder.record(runs[-1])["error"] == "its teacher resnet18d (seed 1848) failed"
    assert len(launched()) == 4


def test_a_stopped_benchmark_stops_its_run_and_continues(folder, plan, made_by, fake_worker, monkeypatch):
    runs, shown = plan(names=["Alone"]), []

    def interrupt(self, run, line):
        shown.append(run)
        if len(shown) > 2:
            raise KeyboardInterrupt

    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "show", interrupt)
        Runner(folder, made_by, worker=fake_worker({"mobilenet": "hangs"})).make(runs)
    assert started[0].poll() is not None, "the process is gone"
    assert status(folder, runs) == ["interrupted"]
    assert Runner(folder, made_by, worker=fake_worker()).make(runs) == []
    assert status(folder, runs) == ["done"]


def test_changed_sources_stop_the_benchmark(folder, plan, made_by, fake_worker, monkeypatch):
    monkeypatch.setattr(runner, "source_hash", lambda: "another")
    with pytest.raises(ValueError, match="sources changed while the benchmark ran"):
        Runner(folder, made_by, worker=fake_worker()).make(plan())
    assert Runner(folder, made_by, worker=fake_worker(), allow_mixed=True).make(plan(names=["Alone"])) == []
    assert folder.record(plan(names=["Alone"])[0])["sources"] == "another"


def test_a_worker_ends_when_the_benchmark_is_gone():
    code = "from meddet_d2.benchmark import worker; import time; worker._end_with_the_benchmark(); time.sleep(300)"
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, timeout=120, check=False)
    assert done.returncode == 1 and time.monotonic() - begin < 100


def test_the_time_left_comes_from_runs_alike(plan):
    runs = plan(seeds=(1, 2))
    teachers, (alone, meddet, alone2, _) = runs[:3], runs[3:]
    progress = Progress(runs[3:], [(run, 10.0) for run in teachers], len(runs))
    assert progress.left() == 40.0, "nothing better is known"
    for run, seconds in ((alone, 20.0), (meddet, 50.0)):
        progress.start(run)
        progress.finish(run, seconds, "")
    assert progress.left() == 70.0
    progress.waiting.remove(alone2)
    assert progress.left([(alone2, 5.0)]) == 65.0 and progress.left([(alone2, 500.0)]) == 50.0
    progress.close()
    assert Progress(runs, [], len(runs)).left() is None


def test_the_last_line_of_a_log(tmp_path):
    log = tmp_path / "console.txt"
    assert last_line(log) == ""
    log.write_text("first\n\x1b[32m[11/21 08:00:00 d2.utils.events]: \x1b[0m eta: 0:00:10  iter: 19\n\n")
    assert last_line(log) == "eta: 0:00:10  iter: 19"
    log.write_text("x" * 9000 + "\nerror: ValueError: [1, 2]: wrong")
    assert last_line(log) == "error: ValueError: [1, 2]: wrong"


def test_learning_curves_after_a_resume(tmp_path):
    path = tmp_path / "metrics.json"
    lines = [
        '{"iteration": 19, "total_loss": 3.0, "lr": 0.1}',
        '{"iteration": 39, "total_loss": 9.0}',
        '{"iteration": 39, "total_loss": 2.0}',
        '{"iteration": 40, "bbox/AP50": 12.5, "bbox/AP": 3.0}',
    ]
    path.write_text("\n".join(lines))
    assert learning_curve(path, "bbox/AP50") == [
        {"iteration": 19, "total_loss": 3.0},
        {"iteration": 39, "total_loss": 2.0},
        {"iteration": 40, "AP50": 12.5},
    ]

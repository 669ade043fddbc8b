"""Several runs at once: they overlap, students wait for their teachers, and nothing is left behind."""

import contextlib
import json
import multiprocessing
import os
import signal
import time

import pytest

from meddet_d2.benchmark import Runner, runner
from meddet_d2.benchmark import run_process as process
from meddet_d2.benchmark.run_progress import Progress

# Long enough for a busy machine; nobody waits so long if all is well.
PATIENCE = 60


def status(folder, runs):
    return [folder.record(run).get("status") for run in runs]


def told(run):
    """What the fake worker says about its process."""
    return json.loads((run.folder / "process.json").read_text())


def eventually(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def alive(pid):
    """Whether a process is at work; one that has ended and that nobody asked about (a zombie) is not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def interrupt_when_hanging(monkeypatch):
    """``arm(runs)`` sends this process a real SIGINT as soon as all of these runs hang."""

    def arm(runs):
        def show(self, run, line):
            if all((run.folder / "hangs").exists() for run in runs):
                os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr(Progress, "show", show)

    return arm


@pytest.mark.parametrize("jobs", [0, -1])
def test_there_is_at_least_one_job(folder, made_by, jobs):
    with pytest.raises(ValueError, match=f"--jobs is {jobs}; give"):
        Runner(folder, made_by, jobs=jobs)


def test_two_runs_are_made_at_once(folder, plan, made_by, fake_worker, launched):
    runs = plan()
    fates = {"resnet10t": "meets resnet18d", "resnet18d": "meets resnet10t"}
    assert Runner(folder, made_by, jobs=2, worker=fake_worker(fates)).make(runs) == []
    assert status(folder, runs) == ["done"] * 5 and len(launched()) == 5
    # Never more than two: the third begins after one of the first has ended.
    begun = [(run.folder / "process.json").stat().st_mtime_ns for run in runs[:3]]
    assert begun[2] >= min((run.folder / "outcome.json").stat().st_mtime_ns for run in runs[:2])


def test_students_wait_for_their_teachers_and_others_pass_them(folder, plan, made_by, fake_worker, launched):
    """The first teacher ends once the student that needs none is at work; the fake worker checks its own teachers."""
    runs = plan(seeds=(1, 2))
    fates = {"resnet10t": "meets mobilenet-v2-alone-seed2"}
    assert Runner(folder, made_by, jobs=2, worker=fake_worker(fates)).make(runs) == []
    assert status(folder, runs) == ["done"] * 7
    names = [name.rpartition("-")[0] for name in launched()]
    # Of two that begin together either may be the first to say so.
    assert [sorted(names[:2]), names[2:5], sorted(names[5:])] == [
        ["resnet10t-alone-seed1848", "resnet18d-alone-seed1848"],
        ["resnet14t-alone-seed1848", "mobilenet-v2-alone-seed1", "mobilenet-v2-alone-seed2"],
        ["mobilenet-v2-meddet-seed1", "mobilenet-v2-meddet-seed2"],
    ]


def test_a_dead_run_takes_only_its_students_along(folder, plan, made_by, fake_worker, launched):
    runs = plan(seeds=(1, 2))
    fates = {"resnet10t": "is killed", "resnet18d": "meets mobilenet-v2-alone-seed2"}
    failed = Runner(folder, made_by, jobs=2, worker=fake_worker(fates)).make(runs)
    assert {run.name for run in failed} == {"resnet10t", "MedDet"} and len(failed) == 3
    assert status(folder, runs) == ["failed", "done", "done", "done", "failed", "done", "failed"]
    assert folder.record(runs[4])["error"] == "its teacher resnet10t (seed 1848) failed"
    ends = [(runs[place].folder / "run.json").stat().st_mtime_ns for place in (4, 6, 1)]
    assert max(ends[:2]) < ends[2], "they fail at once, and do not wait for the other teachers"
    assert not [name for name in launched() if "meddet" in name]
    assert Runner(folder, made_by, jobs=2, worker=fake_worker()).make(runs) == [], "they are tried again"


def test_an_interrupt_stops_all_runs(folder, plan, made_by, fake_worker, monkeypatch, interrupt_when_hanging):
    """One of them does not hear, and is killed."""
    runs = plan()
    monkeypatch.setattr(process, "PATIENCE", 0.5)
    interrupt_when_hanging(runs[:2])
    worker = fake_worker({"resnet10t": "hears nothing", "resnet18d": "hangs"})
    with pytest.raises(KeyboardInterrupt):
        Runner(folder, made_by, jobs=2, worker=worker).make(runs)
    assert status(folder, runs) == ["interrupted", "interrupted", None, None, None]
    assert not [run.name for run in runs[:2] if alive(told(run)["pid"])]
    assert all(folder.record(run)["seconds"] > 0 for run in runs[:2])


def test_a_second_interrupt_kills_at_once(folder, plan, made_by, fake_worker, monkeypatch, interrupt_when_hanging):
    runs = plan()
    begin = time.monotonic()
    monkeypatch.setattr(process, "PATIENCE", 10 * PATIENCE)
    interrupt_when_hanging(runs[:2])
    signals = process._signal

    def impatient(child, number):
        signals(child, number)
        if number == signal.SIGTERM and child.args[-1] == str(runs[1].folder):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(process, "_signal", impatient)
    worker = fake_worker({"resnet10t": "hears nothing", "resnet18d": "hears nothing"})
    with pytest.raises(KeyboardInterrupt):
        Runner(folder, made_by, jobs=2, worker=worker).make(runs)
    assert status(folder, runs)[:2] == ["interrupted"] * 2
    assert not [run.name for run in runs[:2] if alive(told(run)["pid"])]
    assert time.monotonic() - begin < 5 * PATIENCE


def test_a_killed_benchmark_leaves_no_run_behind(folder, plan, made_by, fake_worker):
    """Each run's input ends, although the runs that began later could hold it open."""
    runs = plan()[:3]
    worker = fake_worker({"resnet": "waits for the end of its input"})
    make = Runner(folder, made_by, jobs=3, worker=worker).make
    parent = multiprocessing.get_context("fork").Process(target=make, args=(runs,))
    parent.start()
    try:
        eventually(lambda: all((run.folder / "hangs").exists() for run in runs))
        assert all(alive(told(run)["pid"]) for run in runs)
    finally:
        parent.kill()
        parent.join()
    eventually(lambda: all((run.folder / "ended").exists() for run in runs))
    eventually(lambda: not any(alive(told(run)["pid"]) for run in runs))


@pytest.mark.parametrize(("jobs", "cores", "share"), [(1, 8, None), (2, 8, 4), (2, 9, 4), (3, 8, 2), (4, 2, 1)])
def test_every_run_has_its_share_of_the_cores(jobs, cores, share, monkeypatch):
    monkeypatch.setattr(process, "usable_cores", lambda: cores)
    assert process.thread_share(jobs) == share
    monkeypatch.undo()
    assert 1 <= process.usable_cores() <= os.cpu_count()


@pytest.mark.parametrize(("jobs", "threads"), [(1, "7"), (2, "4")])
def test_the_share_is_in_the_environment(folder, plan, made_by, fake_worker, monkeypatch, jobs, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    monkeypatch.setattr(process, "usable_cores", lambda: 9)
    (run,) = plan(names=["Alone"])
    Runner(folder, made_by, jobs=jobs, worker=fake_worker()).make([run])
    environment = told(run)["environment"]
    assert [environment[f"{name}_NUM_THREADS"] for name in ("OMP", "MKL")] == [threads] * 2


def test_changed_sources_let_the_runs_at_work_end(folder, plan, made_by, fake_worker, monkeypatch):
    runs, made = plan(), Runner(folder, made_by, jobs=2, worker=fake_worker())
    hashes = iter([made_by["sources"], made_by["sources"]])
    monkeypatch.setattr(runner, "source_hash", lambda: next(hashes, "another"))
    with pytest.raises(ValueError, match="sources changed while the benchmark ran"):
        made.make(runs)
    assert status(folder, runs) == ["done", "done", None, None, None]


def test_the_time_left_knows_how_many_are_made_at_once(plan):
    runs = plan(seeds=(1, 2))
    progress = Progress(runs, [(run, 10.0) for run in runs[:3]], len(runs), jobs=2)
    with contextlib.closing(progress):
        assert progress.left() == 40.0, "seven runs of 10 s: four after each other"
        del progress.waiting[:3]
        assert progress.left() == 20.0
        del progress.waiting[:2]
        assert progress.left([(runs[3], 4.0), (runs[4], 9.0)]) == 16.0, "6 s and 1 s; then 10 s each: 11 s and 16 s"
        progress.waiting.clear()
        assert progress.left([(runs[5], 4.0)]) == 6.0, "the last one is not halved"
        assert progress.left() == 0.0


def test_the_bar_shows_every_run_at_work(plan, monkeypatch):
    runs = plan()
    progress = Progress(runs, [], len(runs), jobs=2)
    shown = []
    monkeypatch.setattr(progress.bar, "set_description_str", lambda text, refresh: shown.append(text))
    for run in runs[:2]:
        progress.start(run)
    progress.show(runs[0], "iter: 19")
    progress.show(runs[1], "x" * 200)
    expected = f"left unknown | teacher resnet10t, seed 1848 | iter: 19 | teacher resnet18d, seed 1848 | {'x' * 50}"
    assert shown[-1] == expected
    progress.finish(runs[0], 3.0, "AP50 50.0")
    progress.show(runs[1], "iter: 39")
    assert shown[-1].endswith("| teacher resnet18d, seed 1848 | iter: 39") and "resnet10t" not in shown[-1]
    progress.close()

"""What must not be mixed in a results folder, and what is kept of an earlier attempt."""

import json
import shutil
from pathlib import Path

import pytest

import meddet_d2
from meddet_d2.provenance import source_hash, without_home


def finish(folder, run, made_by, **changes):
    """Leave a run as a finished one."""
    record = {"status": "done", "config_hash": run.config_hash, "seconds": 2.0, "rows": [list(r) for r in run.rows]}
    folder.begin(run, {**record, **made_by, **changes})


def ask_for(folder, suite, runs):
    folder.add_plan(suite(), runs, {"command": "test", "teachers": "none"})


def test_the_same_again_is_no_mixing(folder, suite, plan, made_by):
    for run in plan():
        finish(folder, run, made_by)
    ask_for(folder, suite, plan())
    other_commit = {**made_by, "commit": "f" * 40, "dirty": True}
    folder.refuse_mixing(plan(), other_commit)
    folder.refuse_mixing(plan(seeds=(2,)), other_commit)


@pytest.mark.parametrize("what", ["sources", "engine"])
def test_other_sources_and_engines_are_refused(folder, suite, plan, made_by, what):
    runs = plan()
    finish(folder, runs[-1], made_by, **{what: "another"})
    with pytest.raises(ValueError, match=r"made by another.*--output.*--allow-mixed") as caught:
        folder.refuse_mixing(runs, made_by)
    assert "\n" not in str(caught.value)
    folder.refuse_mixing(runs, made_by, allow_mixed=True)


def test_another_config_of_the_same_row_is_refused_with_its_keys(folder, suite, plan, made_by):
    runs = plan(names=["Alone"])
    finish(folder, runs[0], made_by)
    ask_for(folder, suite, runs)
    longer = plan(names=["Alone"], overrides=["SOLVER.MAX_ITER", "5"])
    with pytest.raises(ValueError, match=r"table I, Alone, seed 1 .*SOLVER\.MAX_ITER 3 -> 5.*another --output"):
        folder.refuse_mixing(longer, made_by, allow_mixed=True)
    folder.refuse_mixing(plan(names=["Alone"], seeds=[2], overrides=["SOLVER.MAX_ITER", "5"]), made_by)


def test_what_never_finished_can_be_replaced(folder, suite, plan, made_by):
    runs = plan(names=["Alone"])
    finish(folder, runs[0], made_by, status="failed", sources="another")
    ask_for(folder, suite, runs)
    folder.refuse_mixing(plan(names=["Alone"], overrides=["SOLVER.MAX_ITER", "5"]), made_by)


def test_two_benchmarks_cannot_work_in_one_folder(folder):
    with folder.lock(), pytest.raises(ValueError, match="Another benchmark works in"):
        folder.lock()
    with folder.lock():
        pass


def test_plans_add_up(folder, suite, plan):
    ask_for(folder, suite, plan(names=["LWFF"], seeds=(2,)))
    ask_for(folder, suite, plan(tables=["I"], seeds=(1, 2)))
    read = folder.read_plan()
    expected = [("Alone", 1), ("Alone", 2), ("MedDet", 1), ("MedDet", 2), ("LWFF", 2)]
    assert [(entry["row"], entry["seed"]) for entry in read["entries"]] == expected, "in the suite's order"
    assert read["entries"][3]["run"] == read["entries"][4]["run"]
    assert len(read["invocations"]) == 2 and len(read["teachers"]) == 3


def test_a_run_goes_on_from_a_checkpoint_of_the_same_sources_only(folder, plan, made_by):
    run = plan(names=["Alone"])[0]
    record = {"status": "interrupted", "config_hash": run.config_hash, **made_by}
    assert not folder.begin(run, record)
    (run.folder / "metrics.json").write_text("{}")
    assert not folder.begin(run, record), "no checkpoint"
    assert not (run.folder / "metrics.json").exists(), "nothing of an attempt that starts again is left"
    (run.folder / "last_checkpoint").write_text("model_0000001.pth")
    assert folder.begin(run, record) and folder.record(run)["resumed"]
    assert not folder.begin(run, {**record, "sources": "another"})
    assert not (run.folder / "last_checkpoint").exists()


def test_a_damaged_record_is_named(folder, plan, made_by):
    run = plan(names=["Alone"])[0]
    finish(folder, run, made_by)
    (run.folder / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        folder.records()


def test_the_sources_are_the_packages(made_by, tmp_path):
    package = Path(meddet_d2.__file__).parent
    copy = shutil.copytree(package, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    assert made_by["sources"] == source_hash(copy), "nothing but the package counts, wherever it lies"


def test_sources_are_what_a_run_executes(tmp_path):
    for name in ("a.py", "modeling/b.py", "benchmark/result_tables.py", "benchmark/worker.py", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    before = source_hash(tmp_path)
    for name in ("notes.md", "benchmark/result_tables.py"):
        (tmp_path / name).write_text("2")
        assert source_hash(tmp_path) == before, name
    for name in ("a.py", "modeling/b.py", "benchmark/worker.py"):
        (tmp_path / name).write_text("2")
        assert source_hash(tmp_path) != before, name
        before = source_hash(tmp_path)


def test_no_home_folder_in_a_record(monkeypatch, tmp_path, made_by):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    assert without_home(f"--output {tmp_path}/results {tmp_path}er") == f"--output ~/results {tmp_path}er"
    assert "/" not in made_by["engine"], "no folder of the engine"
    json.dumps(made_by)

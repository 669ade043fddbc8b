"""The loader by its processes, on a data set made for it."""

import itertools

import pytest

from detectron2.data import DatasetCatalog
from meddet_d2.benchmark.speed import loader_speed
from meddet_d2.benchmark.speed.loader_speed import loaders, seconds_of_a_batch, time_loader


def test_batches_are_the_trainings(cpu):
    cfg = cpu.config("student")
    with loaders(cfg, cpu) as loader_of:
        batch = next(iter(loader_of(workers=0)))
        assert cfg.DATASETS.TRAIN == ("cdh_phantom_train",), "the caller's config stays as it is"
        assert loader_of(workers=2).num_workers == 2
    assert len(batch) == 2 and all(len(inputs["instances"]) for inputs in batch)
    assert {tuple(inputs["image"].shape) for inputs in batch} == {(3, 64, 64)}
    assert len({str(inputs["image"].tolist()) for inputs in batch}) == 2
    assert loader_speed.NAME not in DatasetCatalog


def test_it_is_timed_by_processes_up_to_the_cores(report, cpu, monkeypatch):
    monkeypatch.setattr(loader_speed, "WORKERS", (0, 1, 2))
    monkeypatch.setattr(loader_speed, "usable_cores", lambda: 1)
    report.seconds["step"] = {"distillation": [2.0, 2.0, 2.0]}
    time_loader(report, cpu)
    assert set(report.seconds["loader"]) == {"0 workers", "1 worker"} and not report.notes
    ratios = report.ratios["loader"]
    assert set(ratios) == {"over_step_0_workers", "over_step_1_worker"}
    assert ratios["over_step_1_worker"] == pytest.approx(report.median("loader", "1 worker") / 2)


def test_without_a_step_there_is_no_ratio_and_a_note(report, cpu, monkeypatch):
    monkeypatch.setattr(loader_speed, "WORKERS", (0,))
    time_loader(report, cpu)
    assert "loader" not in report.ratios and "step" in report.notes[0]


def test_what_was_read_ahead_does_not_count():
    """Two processes: four batches are there at once, and then two come every six seconds."""
    now, taken = [0.0], itertools.count(1)

    def batches():
        for number in taken:
            if number > 4 and number % 2:
                now[0] += 6.0
            yield number

    assert seconds_of_a_batch(batches(), 2, 3, "", clock=lambda: now[0]) == [3.0, 3.0, 3.0]

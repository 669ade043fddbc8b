"""What this project relies on in ``detectron2.utils``: events, writers, loggers, seeds."""

import json
import logging
import random

import numpy as np
import pytest
import torch

import detectron2
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
)
from detectron2.utils.logger import setup_logger
from detectron2.utils.registry import Registry


def test_storage_is_found_inside_its_context_only():
    with pytest.raises(AssertionError):
        get_event_storage()
    with EventStorage(5) as outer:
        assert get_event_storage() is outer and outer.iter == 5
        with EventStorage() as inner:
            assert get_event_storage() is inner
        assert get_event_storage() is outer
    with pytest.raises(AssertionError):
        get_event_storage()


def test_scalars():
    storage = EventStorage(10)
    for value in (1.0, 5.0, 3.0):
        storage.put_scalar("loss", torch.tensor(value))
        storage.put_scalars(lr=value, smoothing_hint=False)
        storage.iter += 1
    assert storage.iter == 13
    assert storage.latest() == {"loss": (3.0, 12), "lr": (3.0, 12)}
    storage.put_scalar("lr", 4.0, smoothing_hint=False, cur_iter=20)
    assert storage.latest_with_smoothing_hint(20) == {"loss": (3.0, 12), "lr": (4.0, 20)}
    assert storage.latest_with_smoothing_hint(2)["loss"] == (4.0, 12), "the median of the last two"
    assert storage.histories()["loss"].values() == [(1.0, 10), (5.0, 11), (3.0, 12)]
    assert set(storage.histories()) == {"loss", "lr"}
    with pytest.raises(AssertionError):
        storage.put_scalar("loss", 1.0, smoothing_hint=False)


def test_windows_count_iterations_not_values():
    storage = EventStorage()
    for iteration, value in ((0, 100.0), (1, 1.0), (1, 2.0), (1, 3.0)):
        storage.put_scalar("loss", value, cur_iter=iteration)
    assert storage.latest_with_smoothing_hint(1)["loss"] == (2.0, 1)


def test_json_writer_writes_each_scalar_once_and_appends(tmp_path):
    path = str(tmp_path / "metrics.json")
    for start in (0, 2):
        writer = JSONWriter(path)
        with EventStorage(start) as storage:
            for _ in range(2):
                storage.put_scalar("loss", storage.iter, smoothing_hint=False)
                writer.write()
                writer.write()
                storage.iter += 1
            storage.put_scalar("bbox/AP", 9.0, smoothing_hint=False, cur_iter=storage.iter)
            writer.write()
        writer.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == [0, 1, 2, 2, 3, 4]
    assert [row["loss"] for row in rows if "loss" in row] == [0, 1, 2, 3]
    assert rows[2] == {"bbox/AP": 9.0, "iteration": 2}


def test_tensorboard_writer(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = TensorboardXWriter(str(tmp_path))
    with EventStorage() as storage:
        for _ in range(3):
            storage.put_scalar("loss", 2.0 * storage.iter, smoothing_hint=False)
            writer.write()
            storage.iter += 1
    writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(0, 0.0), (1, 2.0), (2, 4.0)]


def test_printer_shows_progress(caplog):
    printer = CommonMetricPrinter(max_iter=100)
    with caplog.at_level(logging.INFO), EventStorage(39) as storage:
        printer.logger.addHandler(caplog.handler)
        storage.put_scalars(total_loss=1.5, loss_qfl=0.25, accuracy=7.0)
        storage.put_scalars(time=2.0, data_time=0.5)
        storage.put_scalar("lr", 0.01, smoothing_hint=False)
        printer.write()
        storage.iter = 100
        printer.write()
        printer.logger.removeHandler(caplog.handler)
    text = caplog.text
    for part in ("eta: 0:02:00", "iter: 39", "total_loss: 1.5", "loss_qfl: 0.25", "time: 2.0000", "lr: 0.01"):
        assert part in text
    assert "data_time: 0.5000" in text and "accuracy" not in text and "iter: 100" not in text


def test_logger_writes_a_file(tmp_path, capsys):
    logger = setup_logger(str(tmp_path), name="engine_api_logger")
    assert setup_logger(str(tmp_path), name="engine_api_logger") is logger and len(logger.handlers) == 2
    logging.getLogger("engine_api_logger.part").warning("watch out")
    logger.debug("details")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert len(lines) == 2 and "WARNING" in lines[0] and lines[0].endswith("watch out") and "details" in lines[1]
    assert capsys.readouterr().out.count("watch out") == 1


def test_processes_other_than_the_main_one_print_nothing(tmp_path, capsys):
    setup_logger(str(tmp_path / "new" / "run.log"), distributed_rank=1, name="engine_api_rank").info("hello")
    assert capsys.readouterr().out == ""
    assert "hello" in (tmp_path / "new" / "run.log.rank1").read_text()


def test_seeds():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    seed_all_rng(7)
    first = draw()
    seed_all_rng(7)
    assert draw() == first


def test_registry():
    registry = Registry("engine_api")

    @registry.register()
    class Thing:
        pass

    assert registry.get("Thing") is Thing and "Thing" in registry
    with pytest.raises(KeyError, match="Nothing"):
        registry.get("Nothing")


def test_one_process_is_a_world_of_its_own():
    assert (comm.get_world_size(), comm.get_rank()) == (1, 0)
    assert comm.is_main_process() and comm.all_gather("x") == ["x"] and comm.gather({"a": 1}) == [{"a": 1}]
    assert 0 <= comm.shared_random_seed() < 2**31
    comm.synchronize()


def _talk(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    comm.create_local_process_group(2)
    gathered = comm.gather({"rank": rank})
    result = {
        "all": comm.all_gather(rank),
        "gathered": [entry["rank"] for entry in gathered],
        "seed": comm.shared_random_seed(),
        "main": comm.is_main_process(),
    }
    comm.synchronize()
    with open(f"{folder}/{rank}.json", "w") as file:
        json.dump(result, file)


def test_two_processes_talk(tmp_path):
    # Forked, to save importing everything again in each process.
    torch.multiprocessing.start_processes(_talk, args=(str(tmp_path),), nprocs=2, start_method="fork")
    main, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert main["all"] == other["all"] == [0, 1] and main["seed"] == other["seed"]
    assert main["gathered"] == [0, 1] and other["gathered"] == []
    assert (main["main"], other["main"]) == (True, False)


def test_environment_names_the_engine():
    info = collect_env_info()
    assert detectron2.__version__ in info and torch.__version__ in info

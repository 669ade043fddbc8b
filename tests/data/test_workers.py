"""As many workers as the cores allow, and never so many as to leave none for the network."""

from types import SimpleNamespace

import pytest

from detectron2.utils import comm
from meddet_d2.data import workers
from meddet_d2.data.workers import loader_workers


def cfg(number, device="cuda"):
    return SimpleNamespace(DATALOADER=SimpleNamespace(NUM_WORKERS=number), MODEL=SimpleNamespace(DEVICE=device))


@pytest.mark.parametrize(
    ("cores", "processes", "device", "expected"),
    [
        (16, 1, "cuda", 15),
        (64, 1, "cuda", 16),
        (16, 4, "cuda", 3),
        (1, 1, "cuda", 1),
        (16, 1, "cpu", 2),
        (2, 1, "cpu", 1),
    ],
)
def test_by_the_cores(monkeypatch, cores, processes, device, expected):
    monkeypatch.setattr(workers, "_cores", lambda: cores)
    monkeypatch.setattr(comm, "get_world_size", lambda: processes)
    assert loader_workers(cfg(-1, device)) == expected


def test_a_number_is_taken_as_it_is(monkeypatch, caplog):
    monkeypatch.setattr(workers, "_cores", lambda: 4)
    assert [loader_workers(cfg(number)) for number in (0, 4)] == [0, 4] and not caplog.text
    assert loader_workers(cfg(5)) == 5 and "NUM_WORKERS is 5, but a process has 4 cores" in caplog.text
    with pytest.raises(ValueError, match=r"DATALOADER\.NUM_WORKERS is -2; it must be at least 0, or -1"):
        loader_workers(cfg(-2))

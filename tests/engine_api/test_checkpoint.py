"""DetectionCheckpointer, on either engine."""

import os

import pytest
import torch
from torch import nn

import detectron2
from detectron2.checkpoint import DetectionCheckpointer, PeriodicCheckpointer

embedded_only = pytest.mark.skipif(
    "embedded" not in getattr(detectron2, "__version__", ""), reason="Detectron2 itself makes no such promise"
)


class Counter:
    def __init__(self, count=0):
        self.count = count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state_dict):
        self.count = state_dict["count"]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_model_checkpointables_and_extras_come_back(tmp_path):
    model, counter = nn.Linear(3, 2), Counter(5)
    DetectionCheckpointer(model, str(tmp_path), counter=counter).save("model_0000004", iteration=4)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000004.pth"
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000004.pth"]

    other, other_counter = nn.Linear(3, 2), Counter()
    checkpointer = DetectionCheckpointer(other, str(tmp_path), counter=other_counter)
    assert checkpointer.has_checkpoint()
    rest = checkpointer.resume_or_load("", resume=True)
    assert same(model, other) and other_counter.count == 5 and rest["iteration"] == 4


def test_without_resume_only_the_weights_are_loaded(tmp_path):
    model = nn.Linear(3, 2)
    DetectionCheckpointer(model, str(tmp_path), counter=Counter(5)).save("model")
    other, counter = nn.Linear(3, 2), Counter()
    DetectionCheckpointer(other, str(tmp_path), counter=counter).resume_or_load(
        str(tmp_path / "model.pth"), resume=False
    )
    assert same(model, other) and counter.count == 0


def test_a_plain_state_dict_is_taken_too(tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    DetectionCheckpointer(other).load(str(tmp_path / "plain.pth"))
    assert same(model, other)


def test_no_path_leaves_the_model_as_it_is():
    model = nn.Linear(3, 2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert DetectionCheckpointer(model).load("") == {}
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_process_that_is_not_to_write_does_not(tmp_path):
    DetectionCheckpointer(nn.Linear(3, 2), str(tmp_path), save_to_disk=False).save("model")
    assert os.listdir(tmp_path) == []


def test_periodic_checkpointer_saves_in_its_period_and_at_the_end(tmp_path):
    periodic = PeriodicCheckpointer(DetectionCheckpointer(nn.Linear(1, 1), str(tmp_path)), period=2, max_iter=5)
    for iteration in range(5):
        periodic.step(iteration)
    names = sorted(p.name for p in tmp_path.glob("*.pth"))
    assert names == ["model_0000001.pth", "model_0000003.pth", "model_final.pth"]


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises((AssertionError, OSError), match=r"gone\.pth"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(str(tmp_path / "gone.pth"))


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_checkpoint_that_runs_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {}, "payload": Malicious()}, "bad.pth")
    with pytest.raises(Exception, match=r"bad\.pth|[Ww]eights.only"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(str(tmp_path / "bad.pth"))
    assert not (tmp_path / "executed").exists()


@embedded_only
def test_pickles_are_refused(tmp_path):
    (tmp_path / "weights.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights\.pkl.*convert"):
        DetectionCheckpointer(nn.Linear(1, 1)).load(str(tmp_path / "weights.pkl"))


@embedded_only
def test_a_damaged_file_is_named(tmp_path):
    torch.save({"model": nn.Linear(50, 50).state_dict()}, tmp_path / "whole.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "whole.pth").read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"half\.pth is damaged"):
        DetectionCheckpointer(nn.Linear(50, 50)).load(str(tmp_path / "half.pth"))

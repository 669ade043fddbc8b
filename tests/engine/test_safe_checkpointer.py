"""Checkpoints are whole or not there, and fit or are refused."""

import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from meddet_d2.engine.safe_checkpointer import SafeCheckpointer


def test_saves_and_loads(tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    SafeCheckpointer(model, str(tmp_path)).save("model_0000001", iteration=1)
    checkpointer = SafeCheckpointer(other, str(tmp_path))
    rest = checkpointer.resume_or_load("", resume=True)
    assert rest["iteration"] == 1
    assert torch.equal(model.weight, other.weight)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"


def test_a_killed_save_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    model = nn.Linear(3, 2)
    checkpointer = SafeCheckpointer(model, str(tmp_path))
    checkpointer.save("model_final")
    before = (tmp_path / "model_final.pth").read_bytes()

    def killed(data, path):
        path.write_bytes(b"half a checkpoint")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpointer.save("model_final")
    assert (tmp_path / "model_final.pth").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last_checkpoint", "model_final.pth"]


@pytest.mark.parametrize(
    "other",
    [nn.Linear(4, 2), nn.Sequential(nn.Linear(3, 2)), nn.Linear(3, 2, bias=False)],
    ids=["shape", "names", "extra"],
)
def test_refuses_another_architecture_in_one_line(tmp_path, other):
    SafeCheckpointer(nn.Linear(3, 2), str(tmp_path)).save("model_final")
    path = str(tmp_path / "model_final.pth")
    with pytest.raises(ValueError, match="another architecture") as caught:
        SafeCheckpointer(other).load(path)
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_missing_file_and_pickle_are_named(tmp_path):
    checkpointer = SafeCheckpointer(nn.Linear(3, 2))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        checkpointer.load(str(tmp_path / "nowhere.pth"))
    (tmp_path / "weights.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights\.pkl is a pickle.*meddet convert-weights \S+weights\.pkl"):
        checkpointer.load(str(tmp_path / "weights.pkl"))


def test_a_damaged_file_is_named(tmp_path):
    SafeCheckpointer(nn.Linear(3, 2), str(tmp_path)).save("model_final")
    path = tmp_path / "model_final.pth"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"model_final\.pth cannot be read") as caught:
        SafeCheckpointer(nn.Linear(3, 2)).load(str(path))
    assert "\n" not in str(caught.value)


def test_safetensors_are_read(tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    SafeCheckpointer(other).load(str(tmp_path / "model.safetensors"))
    assert torch.equal(model.weight, other.weight)


def saved(folder, count=3):
    """A folder of a run with numbered checkpoints 0, 1, ... whose weights are their numbers."""
    model = nn.Linear(1, 1, bias=False)
    checkpointer = SafeCheckpointer(model, str(folder))
    checkpointer.resume_or_load("", resume=False)
    for number in range(count):
        with torch.no_grad():
            model.weight.fill_(number)
        checkpointer.save(f"model_{number:07d}", iteration=number)
    return checkpointer


def resumed(folder) -> float | None:
    """The number of the checkpoint that a resume goes on from, None for a new beginning."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(-1)
    SafeCheckpointer(model, str(folder)).resume_or_load("", resume=True)
    return None if model.weight.item() == -1 else model.weight.item()


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def turn_a_bit(path):
    content = bytearray(path.read_bytes())
    # The number itself: torch alone would load another one.
    place = content.index(struct.pack("<f", float(int(path.stem[6:]))))
    content[place] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def overwrite(path):
    path.write_bytes(b"\x80\x04\x95nonsense" * 100)


@pytest.mark.parametrize("damage", [cut, turn_a_bit, empty, overwrite, Path.unlink])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage, caplog):
    saved(tmp_path)
    damage(tmp_path / "model_0000002.pth")
    assert resumed(tmp_path) == 1
    assert "model_0000002.pth is damaged" in caplog.text or "names no checkpoint" in caplog.text


def test_when_all_are_damaged_nothing_is_begun_anew_in_silence(tmp_path):
    saved(tmp_path)
    for path in tmp_path.glob("*.pth"):
        cut(path)
    with pytest.raises(ValueError, match=r"No checkpoint in .* is whole \(model_0000002\.pth, ") as caught:
        resumed(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [None, b"", b"model_0000009.pth", b"model_best.pth", b"../other/model_0000001.pth", b"\xff\x00\n"]
)
def test_last_checkpoint_need_not_be_right(tmp_path, content):
    saved(tmp_path / "run").save_best(iteration=0)
    saved(tmp_path / "other", 2)
    if content is None:
        (tmp_path / "run" / "last_checkpoint").unlink()
    else:
        (tmp_path / "run" / "last_checkpoint").write_bytes(content)
    assert resumed(tmp_path / "run") == 2


def test_the_best_weights_are_not_the_newest_checkpoint(tmp_path):
    checkpointer = saved(tmp_path)
    checkpointer.save_best(iteration=1, value=0.5)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000002.pth"
    best = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert best.keys() == {"model", "iteration", "value"}


def test_another_runs_checkpoints_are_not_resumed(tmp_path):
    """A new run in the folder that is killed before its first checkpoint begins again from nothing."""
    saved(tmp_path)
    SafeCheckpointer(nn.Linear(1, 1, bias=False), str(tmp_path)).resume_or_load("", resume=False)
    assert resumed(tmp_path) is None
    assert len(list(tmp_path.glob("model_*.pth"))) == 3


def test_what_a_killed_save_left_is_cleared_away(tmp_path):
    saved(tmp_path)
    for name in (".model_0000003.99.pth", ".last_checkpoint.99", ".current_run.99"):
        (tmp_path / name).write_bytes(b"half")
    assert resumed(tmp_path) == 2
    assert not list(tmp_path.glob(".*"))


def test_the_newest_are_kept(tmp_path):
    checkpointer = saved(tmp_path, 5)
    (tmp_path / "model_0000009.pth").write_bytes(b"of a longer run before")
    checkpointer.keep_newest(2)
    names = sorted(path.name for path in tmp_path.glob("*.pth"))
    assert names == ["model_0000003.pth", "model_0000004.pth", "model_0000009.pth"]


def test_a_full_disk_is_told_and_harms_nothing(tmp_path, monkeypatch):
    checkpointer = saved(tmp_path)

    def full(data, path):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed\nframe #0: ...")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"model_0000003\.pth cannot be written.*disk full\?$"):
        checkpointer.save("model_0000003")
    assert resumed(tmp_path) == 2


def test_an_optimizer_that_groups_otherwise_is_refused_in_one_line(tmp_path):
    model = nn.Linear(1, 1)
    one, two = ([{"params": [*model.parameters()]}], [{"params": [p]} for p in model.parameters()])
    SafeCheckpointer(model, str(tmp_path), optimizer=torch.optim.SGD(one, lr=1.0)).save("model_0000001")
    other = SafeCheckpointer(model, str(tmp_path), optimizer=torch.optim.SGD(two, lr=1.0))
    with pytest.raises(ValueError, match=r"state of 'optimizer' is that of another run .*start anew") as caught:
        other.load(str(tmp_path / "model_0000001.pth"))
    assert "\n" not in str(caught.value)


def test_states_of_another_run_are_refused_in_one_line(tmp_path):
    class Other:
        def state_dict(self):
            return {"a": 1}

        def load_state_dict(self, state):
            raise RuntimeError("Missing key(s):\n  'b'")

    model = nn.Linear(1, 1)
    SafeCheckpointer(model, str(tmp_path), distiller=Other()).save("model_0000001")
    with pytest.raises(ValueError, match=r"state of 'distiller' is that of another run \(Missing key") as caught:
        SafeCheckpointer(model, str(tmp_path), distiller=Other()).resume_or_load("", resume=True)
    assert "\n" not in str(caught.value)

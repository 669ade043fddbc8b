"""Checkpoints are whole or not there, and fit or are refused."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from meddet_d2.engine.checkpoint import SafeCheckpointer


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
    with pytest.raises(ValueError, match=r"weights\.pkl is a pickle"):
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

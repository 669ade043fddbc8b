"""A pickle that would run code does not, wherever a file is accepted; and a run knows its teachers' files."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_runs import TINY_TEACHERS

from detectron2.modeling import build_model
from meddet_d2.distillation import TeacherBank, TeacherRecord
from meddet_d2.engine import DistillationTrainer, evaluate, train_detector
from meddet_d2.files import checksum


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


@pytest.fixture
def canary(tmp_path):
    path = tmp_path / "the payload ran"
    yield path
    assert not path.exists()


def as_zip(payload, path):
    torch.save({"model": {}, "payload": payload}, path)


def as_old_torch(payload, path):
    torch.save({"model": {}, "payload": payload}, path, _use_new_zipfile_serialization=False)


def as_pickle(payload, path):
    path.write_bytes(pickle.dumps({"model": payload}))


WRITERS = [as_zip, as_old_torch, as_pickle]


def refused(action, path) -> str:
    with pytest.raises(ValueError, match=path.name) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".pickle", ".pyth", ".safetensors", ""])
def test_model_weights(tiny_cfg, tmp_path, canary, write, suffix):
    path = tmp_path / f"bad{suffix}"
    write(Payload(canary), path)
    cfg = tiny_cfg("DISTILL.ENABLED", False, "MODEL.WEIGHTS", str(path))
    told = refused(lambda: evaluate(cfg), path)
    assert ("meddet convert-weights" in told) == (suffix in (".pkl", ".pickle", ".pyth"))


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors"])
def test_a_teachers_weights(distil_cfg, tmp_path, canary, write, suffix):
    path = tmp_path / f"bad{suffix}"
    write(Payload(canary), path)
    cfg = distil_cfg("DISTILL.TEACHERS.WEIGHTS", (str(path),) * 3)
    told = refused(lambda: TeacherBank.from_config(cfg), path)
    assert ("meddet convert-weights" in told) == (suffix == ".pkl")


@pytest.mark.parametrize("write", WRITERS)
def test_the_checkpoint_to_resume_from(tiny_cfg, tmp_path, canary, write):
    cfg = tiny_cfg("DISTILL.ENABLED", False)
    output = Path(cfg.OUTPUT_DIR)
    output.mkdir()
    write(Payload(canary), output / "model_0000001.pth")
    (output / "last_checkpoint").write_text("model_0000001.pth")
    with pytest.raises(ValueError, match=r"No checkpoint in .* is whole \(model_0000001\.pth\)"):
        train_detector(cfg, resume=True)


@pytest.mark.parametrize("elsewhere", ["bad.pth", "../bad.pth", "{path}"])
def test_last_checkpoint_leads_nowhere(tiny_cfg, tmp_path, canary, elsewhere):
    cfg = tiny_cfg("DISTILL.ENABLED", False)
    output = Path(cfg.OUTPUT_DIR)
    output.mkdir()
    for path in (output / "bad.pth", tmp_path / "bad.pth"):
        as_pickle(Payload(canary), path)
    (output / "last_checkpoint").write_text(elsewhere.format(path=tmp_path / "bad.pth"))
    assert train_detector(cfg, resume=True).start_iter == 0
    as_pickle(Payload(canary), output / "last_checkpoint")
    assert train_detector(cfg, resume=True).start_iter == cfg.SOLVER.MAX_ITER


def assert_same_maps(expected, found):
    for a, b in zip(expected, found, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.features, b.features, strict=True))


@pytest.mark.parametrize("write", WRITERS)
def test_a_map_kept_on_disk(distil_cfg, tmp_path, canary, write):
    cfg = distil_cfg("DISTILL.TEACHERS.CACHE_DIR", str(tmp_path / "maps"))
    images = [{"image": torch.full((3, 64, 64), 7, dtype=torch.uint8)}]
    expected = TeacherBank.from_config(cfg).observe(images)
    files = list((tmp_path / "maps").glob("*/*.safetensors"))
    assert len(files) == 3
    for file in files:
        write(Payload(canary), file)
    again = TeacherBank.from_config(cfg).observe(images)
    assert_same_maps(expected, again)


@pytest.mark.parametrize("name", ["0", "name"])
def test_a_map_file_of_other_tensors_is_computed_again(distil_cfg, tmp_path, name):
    cfg = distil_cfg("DISTILL.TEACHERS.CACHE_DIR", str(tmp_path / "maps"))
    images = [{"image": torch.full((3, 64, 64), 7, dtype=torch.uint8)}]
    expected = TeacherBank.from_config(cfg).observe(images)
    for file in (tmp_path / "maps").glob("*/*.safetensors"):
        save_file({name: torch.ones(3)}, file)
    again = TeacherBank.from_config(cfg).observe(images)
    assert_same_maps(expected, again)


def test_a_run_knows_its_teachers(distil_cfg, tmp_path):
    theirs = distil_cfg().DISTILL.TEACHERS.WEIGHTS
    weights = []
    for path in theirs:
        copy = tmp_path / Path(path).parent.name / "model_final.pth"
        copy.parent.mkdir()
        shutil.copy(path, copy)
        weights.append(str(copy))
    options = ["DISTILL.TEACHERS.WEIGHTS", tuple(weights), "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2]
    cfg = distil_cfg(*options)
    train_detector(cfg, trainer_class=DistillationTrainer)
    saved = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)
    assert list(saved["teachers"].values()) == [checksum(path) for path in weights]
    train_detector(cfg, resume=True, trainer_class=DistillationTrainer)

    content = torch.load(weights[1], weights_only=True)
    torch.save({"model": content["model"]}, weights[1])
    with pytest.raises(ValueError, match=rf"Teacher {TINY_TEACHERS[1]} is not the one.*ACCEPT_CHANGED True") as caught:
        train_detector(cfg, resume=True, trainer_class=DistillationTrainer)
    assert "\n" not in str(caught.value)
    accepted = distil_cfg(*options, "DISTILL.TEACHERS.ACCEPT_CHANGED", True)
    train_detector(accepted, resume=True, trainer_class=DistillationTrainer)


def test_a_teacher_that_came_or_went_is_another(tmp_path):
    record = TeacherRecord({"a": "1" * 64, "b": "2" * 64})
    record.load_state_dict(record.state_dict())
    for other in ({"a": "1" * 64}, {"a": "1" * 64, "b": "3" * 64}, {"a": "1" * 64, "b": "2" * 64, "c": "3" * 64}):
        with pytest.raises(ValueError, match=r"Teacher [bc] is not the one"):
            record.load_state_dict(other)


def test_checkpoints_hold_no_pickle(finished_run):
    cfg, _ = finished_run
    saved = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)
    assert {"model", "distiller", "trainer", "teachers", "iteration", "run", "classes"} == saved.keys()
    assert saved["model"].keys() == build_model(cfg).state_dict().keys()

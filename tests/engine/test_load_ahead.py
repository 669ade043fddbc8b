"""The next batch is there before it is asked for; the order, and what is wrong with a batch, stay where they belong."""

from types import SimpleNamespace

import pytest
import torch

from meddet_d2.engine import DistillationTrainer, MedDetTrainer
from meddet_d2.engine.load_ahead import LoadAhead


class Loader:
    """Batches of one image, numbered; a log of what was read. The one numbered ``broken`` cannot be read."""

    def __init__(self, broken=None):
        self.dataset, self.batch_sampler, self.broken, self.read = [], object(), broken, []

    def __iter__(self):
        for number in range(100):
            self.read.append(number)
            if number == self.broken:
                raise ValueError(f"image {number} is damaged")
            yield [{"image": torch.full((1, 4, 5), number, dtype=torch.uint8).expand(3, 4, 5), "image_id": number}]


def ahead(loader, iteration=0, max_iter=10, device="cpu"):
    batches = LoadAhead(loader, device)
    batches.trainer = SimpleNamespace(iter=iteration, max_iter=max_iter)
    return batches


def test_a_batch_is_read_in_the_step_before_and_none_that_no_step_asks_for():
    loader = Loader()
    batches = ahead(loader, max_iter=3)
    for iteration in range(3):
        batches.trainer.iter = iteration
        (inputs,) = next(batches)
        assert loader.read == list(range(iteration + 1))
        assert inputs["image_id"] == iteration and inputs["image"].shape == (3, 4, 5)
        assert inputs["image"].unique().tolist() == [iteration]
        batches.after_step()
        assert loader.read == list(range(min(iteration + 2, 3)))
    assert batches.dataset is loader.dataset and batches.batch_sampler is loader.batch_sampler


def test_an_error_belongs_to_the_step_that_asks_for_the_batch():
    batches = ahead(Loader(broken=1))
    next(batches)
    batches.after_step()
    with pytest.raises(ValueError, match="image 1 is damaged"):
        next(batches)


def test_the_log_has_the_time_that_a_batch_took(monkeypatch, distil_cfg):
    monkeypatch.setattr(MedDetTrainer, "load_ahead", lambda self, loader: LoadAhead(loader, "cpu"))
    trainer = MedDetTrainer(distil_cfg("SOLVER.MAX_ITER", 3))
    assert trainer._hooks.index(trainer._trainer.data_loader) < trainer._hooks.index(trainer.guard)
    load, waits = LoadAhead._load, iter((5.0, 6.0, 7.0))

    def slowly(self):
        load(self)
        self.seconds = next(waits)

    monkeypatch.setattr(LoadAhead, "_load", slowly)
    trainer.train()
    values = trainer.storage.histories()["data_time"].values()
    # Of each step; what the step itself waited comes to it.
    assert [int(seconds) for seconds, _ in values] == [5, 6, 7]


def test_a_run_that_loads_ahead_has_the_same_weights(monkeypatch, distil_cfg):
    states = []
    for wrap in (lambda self, loader: loader, lambda self, loader: LoadAhead(loader, "cpu")):
        monkeypatch.setattr(DistillationTrainer, "load_ahead", wrap)
        torch.manual_seed(1)
        trainer = DistillationTrainer(distil_cfg("SOLVER.MAX_ITER", 3))
        trainer.train()
        states.append(trainer.detector.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(("device", "options", "wrapped"), [
    ("cpu", [], False),
    ("cuda", [], True),
    ("cuda", ["DISTILL.TEACHERS.CACHE_GIB", 1.0], False),
])  # fmt: skip
def test_on_a_gpu_unless_the_host_needs_the_images(distil_cfg, monkeypatch, device, options, wrapped):
    cfg = distil_cfg("MODEL.DEVICE", device, *options)
    trainer = DistillationTrainer.__new__(DistillationTrainer)
    object.__setattr__(trainer, "cfg", cfg)
    loader = Loader()
    monkeypatch.setattr(torch, "get_device_module", lambda device: torch.cpu)
    found = trainer.load_ahead(loader)
    assert isinstance(found, LoadAhead) == wrapped and (wrapped or found is loader)


def test_copies_to_a_gpu(cuda):
    batches = ahead(Loader(), device=cuda)
    for number in range(3):
        batches.trainer.iter = number
        (inputs,) = next(batches)
        batches.after_step()
        assert inputs["image"].is_cuda and inputs["image"].stride(0) == 0
        assert inputs["image"].unique().tolist() == [number]

"""The order of training's images, and their random numbers, depend on the seed and the place alone."""

import itertools
import random

import numpy as np
import pytest
import torch

from meddet_d2.data import training_stream as stream_module
from meddet_d2.data.randomness import preserved_randomness, random_state, seeded_randomness, set_random_state
from meddet_d2.data.training_stream import TrainingStream


def batches(stream, count):
    return list(itertools.islice(stream, count))


def make(start=0, **changes):
    stream = TrainingStream(**{"size": 7, "batch_size": 4, "seed": 3, **changes})
    stream.start = start
    return stream


def test_the_order_is_detectron2s():
    drawn = [index for batch in batches(make(), 10) for index, _ in batch]
    generator = torch.Generator().manual_seed(3)
    assert drawn == [i for _ in range(6) for i in torch.randperm(7, generator=generator).tolist()][:40]


@pytest.mark.parametrize("wide", [None, [True, False, False, True, False, False, False]])
def test_it_goes_on_at_any_batch(wide):
    whole = batches(make(wide=wide), 20)
    for start in (1, 2, 7, 13):
        assert batches(make(start=start, wide=wide), 20 - start) == whole[start:]


def test_a_batch_holds_one_aspect_ratio_and_nothing_is_lost():
    wide = [True, False, False, True, False, False, False]
    whole = batches(make(wide=wide), 70)
    assert all(len({wide[index] for index, _ in batch}) == 1 and len(batch) == 4 for batch in whole)
    places = {place for batch in whole for _, (_, place) in batch}
    assert len(places) == 280 and max(places) < 280 + 3 + 3


def test_several_processes_share_each_batch(monkeypatch):
    whole = batches(make(), 10)
    monkeypatch.setattr(stream_module.comm, "get_world_size", lambda: 2)
    shares = []
    for rank in range(2):
        monkeypatch.setattr(stream_module.comm, "get_rank", lambda rank=rank: rank)
        shares.append(batches(make(), 10))
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(batch) for batch in whole]
    with pytest.raises(ValueError, match="IMS_PER_BATCH is 5"):
        make(batch_size=5)


def test_other_images_than_before_are_told(caplog):
    stream = make(size=9)
    stream.load_state_dict(make(seed=8).state_dict())
    assert stream.seed == 8
    assert "with 7 images in DATASETS.TRAIN and goes on with 9" in caplog.text


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_an_images_numbers_depend_on_its_place_and_leave_the_run_alone():
    with preserved_randomness():
        expected = draw()
    drawn = []
    with preserved_randomness():
        for numbers in ((3, 0), (3, 1), (4, 0), (3, 0)):
            with seeded_randomness(*numbers):
                drawn.append(draw())
        assert draw() == expected
    assert drawn[0] == drawn[3] and len({value for values in drawn for value in values}) == 9


def test_a_random_state_comes_back_from_a_file(tmp_path):
    with preserved_randomness():
        random.gauss(0, 1), np.random.randn()  # both then hold a second number back
        torch.save(random_state(), tmp_path / "state.pth")
        expected = draw(), random.gauss(0, 1), np.random.randn()
        set_random_state(torch.load(tmp_path / "state.pth", weights_only=True))
        assert (draw(), random.gauss(0, 1), np.random.randn()) == expected

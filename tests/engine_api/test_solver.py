"""Learning rate schedules, on either engine."""

import math

import pytest
import torch
from torch import nn

from detectron2.config import get_cfg
from detectron2.solver import build_lr_scheduler


def make_cfg(**solver):
    cfg = get_cfg()
    settings = {"BASE_LR": 0.1, "MAX_ITER": 100, "WARMUP_ITERS": 10, "WARMUP_FACTOR": 0.1, "STEPS": (60, 80), **solver}
    for key, value in settings.items():
        cfg.SOLVER[key] = value
    return cfg


def learning_rates(cfg):
    """The rate that each iteration uses."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_multi_step_schedule_with_linear_warm_up():
    rates = learning_rates(make_cfg(LR_SCHEDULER_NAME="WarmupMultiStepLR", GAMMA=0.1))
    assert rates[0] == pytest.approx(0.01)
    assert rates[5] == pytest.approx(0.01 + 0.5 * (0.1 - 0.01))
    assert rates[10:60] == pytest.approx([0.1] * 50)
    assert rates[60:80] == pytest.approx([0.01] * 20)
    assert rates[80:] == pytest.approx([0.001] * 20)


def test_constant_warm_up_stays_at_its_start():
    rates = learning_rates(make_cfg(WARMUP_METHOD="constant"))
    assert rates[:10] == pytest.approx([0.01] * 10) and rates[12] == pytest.approx(0.1)


def test_cosine_schedule_continues_where_the_warm_up_ends():
    rates = learning_rates(make_cfg(LR_SCHEDULER_NAME="WarmupCosineLR", BASE_LR_END=0.001))

    def cosine(iteration):
        return 0.001 + 0.5 * (0.1 - 0.001) * (1 + math.cos(math.pi * iteration / 100))

    assert rates[0] == pytest.approx(0.01)
    assert rates[5] == pytest.approx(0.5 * (0.01 + cosine(10)))
    for iteration in (11, 50, 99):
        assert rates[iteration] == pytest.approx(cosine(iteration))


def test_a_step_beyond_the_end_has_no_effect():
    rates = learning_rates(make_cfg(STEPS=(60, 130), GAMMA=0.1))
    assert rates[-1] == pytest.approx(0.01)


def test_the_schedule_is_the_same_after_its_state_was_restored():
    cfg = make_cfg()
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = build_lr_scheduler(cfg, optimizer)
    for _ in range(70):
        optimizer.step()
        scheduler.step()
    other = build_lr_scheduler(cfg, torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1))
    other.load_state_dict(scheduler.state_dict())
    assert set(scheduler.state_dict()) == {"base_lrs", "last_epoch"}
    assert scheduler.get_last_lr() == pytest.approx([0.01])
    assert other.get_lr() == pytest.approx(scheduler.get_last_lr())


@pytest.mark.parametrize("key", ["LR_SCHEDULER_NAME", "WARMUP_METHOD"])
def test_unknown_names_are_refused(key):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match="nonsense"):
        build_lr_scheduler(make_cfg(**{key: "nonsense"}), optimizer)

"""Learning rate schedules, parameter groups and gradient clipping, on either engine."""

import math

import pytest
import torch
from torch import nn

from detectron2.config import get_cfg
from detectron2.solver import build_lr_scheduler, build_optimizer, get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping


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


class Net(nn.Module):
    """A convolution, a normalisation, a frozen layer, and a layer with the convolution's weight."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.GroupNorm(2, 4)
        self.frozen = nn.Conv2d(4, 4, 1).requires_grad_(False)
        self.tied = nn.Conv2d(3, 4, 1, bias=False)
        self.tied.weight = self.conv.weight
        self.scale = nn.Parameter(torch.ones(1))


def by_parameter(groups):
    return {id(p): {k: v for k, v in g.items() if k != "params"} for g in groups for p in g["params"]}


def test_parameter_groups_of_adamw():
    net = Net()
    groups = get_default_optimizer_params(
        net, base_lr=0.1, weight_decay=0.05, weight_decay_norm=0.0, overrides={"scale": {"weight_decay": 0.01}}
    )
    settings = by_parameter(groups)
    assert len(settings) == sum(len(g["params"]) for g in groups) == 5  # no frozen one, and the tied one once
    assert settings[id(net.conv.weight)] == settings[id(net.conv.bias)] == {"lr": 0.1, "weight_decay": 0.05}
    assert settings[id(net.norm.weight)] == settings[id(net.norm.bias)] == {"lr": 0.1, "weight_decay": 0.0}
    assert settings[id(net.scale)] == {"lr": 0.1, "weight_decay": 0.01}
    assert len(groups) == 3
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.05)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.01, 0.05, 0.0]  # the order of first appearance


def test_biases_have_their_own_rate_and_decay():
    net = Net()
    settings = by_parameter(get_default_optimizer_params(net, base_lr=0.1, bias_lr_factor=2.0, weight_decay_bias=0.0))
    assert settings[id(net.conv.bias)] == {"lr": 0.2, "weight_decay": 0.0}
    assert settings[id(net.conv.weight)] == {"lr": 0.1}
    with pytest.raises(ValueError, match="base_lr"):
        get_default_optimizer_params(net, bias_lr_factor=2.0)


def test_build_optimizer_reads_the_config():
    optimizer = build_optimizer(make_cfg(MOMENTUM=0.8, NESTEROV=True, WEIGHT_DECAY=0.01), Net())
    assert isinstance(optimizer, torch.optim.SGD)
    assert {(g["lr"], g["momentum"], g["nesterov"]) for g in optimizer.param_groups} == {(0.1, 0.8, True)}
    assert sorted(g["weight_decay"] for g in optimizer.param_groups) == [0.0, 0.01]  # norms, the rest


@pytest.mark.parametrize(("kind", "expected"), [("value", [0.5, 0.5, 0.1]), ("norm", [0.3, 0.4, 0.1])])
def test_gradients_are_clipped_for_each_parameter(kind, expected):
    cfg = make_cfg()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE, cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = kind, 0.5
    pair, single = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    optimizer = maybe_add_gradient_clipping(cfg, torch.optim.SGD)([pair, single], lr=1.0)
    assert isinstance(optimizer, torch.optim.SGD)
    pair.grad, single.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.1])
    optimizer.step()
    assert torch.cat([-pair.data, -single.data]).tolist() == pytest.approx(expected, abs=1e-4)


def test_clipping_is_off_by_default():
    assert maybe_add_gradient_clipping(make_cfg(), torch.optim.AdamW) is torch.optim.AdamW

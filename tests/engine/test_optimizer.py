"""The optimizer is the config's, and spares what must not decay."""

import pytest
import torch
from torch import nn

from meddet_d2.engine.optimizer import build_optimizer


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.norm = nn.GroupNorm(1, 2)
        self.w = nn.Parameter(torch.ones(2))


def decay_of(optimizer, parameter):
    return next(g["weight_decay"] for g in optimizer.param_groups if any(p is parameter for p in g["params"]))


@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
def test_biases_learn_at_their_own_rate_and_nothing_one_dimensional_decays(tiny_cfg, kind):
    """Every config of the project: tests/test_configs.py."""
    model = Block()
    options = ["SOLVER.OPTIMIZER", kind, "SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.BASE_LR", 0.5]
    optimizer = build_optimizer(tiny_cfg(*options, "SOLVER.BIAS_LR_FACTOR", 2.0), model)
    assert isinstance(optimizer, getattr(torch.optim, kind))
    decays = {name: decay_of(optimizer, p) for name, p in model.named_parameters()}
    assert decays == {"w": 0, "conv.weight": 0.1, "conv.bias": 0, "norm.weight": 0, "norm.bias": 0}
    rates = {group["lr"]: len(group["params"]) for group in optimizer.param_groups if group["weight_decay"] == 0}
    assert rates == {0.5: 2, 1.0: 2}


def test_a_frozen_parameter_is_left_out_and_a_shared_one_taken_once(tiny_cfg):
    model = Block()
    model.tied, model.frozen = nn.Conv2d(2, 2, 1, bias=False), nn.Conv2d(2, 2, 1).requires_grad_(False)
    model.tied.weight = model.conv.weight
    optimizer = build_optimizer(
        tiny_cfg("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.8, "SOLVER.NESTEROV", True), model
    )
    # The state in a checkpoint goes by this order.
    expected = [[model.conv.weight], [model.w, model.conv.bias, model.norm.weight, model.norm.bias]]
    assert [[id(p) for p in group["params"]] for group in optimizer.param_groups] == [[*map(id, p)] for p in expected]
    assert {(group["momentum"], group["nesterov"]) for group in optimizer.param_groups} == {(0.8, True)}


@pytest.mark.parametrize("key", ["WEIGHT_DECAY_NORM", "WEIGHT_DECAY_BIAS"])
def test_a_decay_that_would_not_happen_is_refused(tiny_cfg, key):
    with pytest.raises(ValueError, match=f"SOLVER.{key} is 0.1; .*set it to 0.0"):
        build_optimizer(tiny_cfg(f"SOLVER.{key}", 0.1), Block())


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair, self.single = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))


@pytest.mark.parametrize(
    ("enabled", "kind", "expected"),
    [(True, "value", [0.5, 0.5, 0.1]), (True, "norm", [0.3, 0.4, 0.1]), (False, "value", [3.0, 4.0, 0.1])],
)
def test_gradients_are_clipped_for_each_parameter(tiny_cfg, enabled, kind, expected):
    clip = ["SOLVER.CLIP_GRADIENTS.ENABLED", enabled, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind]
    clip += ["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.5]
    sgd = ["SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.0, "SOLVER.BASE_LR", 1.0]
    model = Pair()
    optimizer = build_optimizer(tiny_cfg(*sgd, *clip), model)
    model.pair.grad, model.single.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.1])
    optimizer.step()
    assert torch.cat([-model.pair.data, -model.single.data]).tolist() == pytest.approx(expected, abs=1e-4)


def test_an_unknown_clipping_lists_the_known(tiny_cfg):
    with pytest.raises(ValueError, match=r"CLIP_TYPE is 'norms'; .* value, norm, full_model"):
        build_optimizer(tiny_cfg("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norms"), Block())


def test_full_model_clipping_bounds_the_whole_gradient(tiny_cfg):
    model = Block()
    before = [p.detach().clone() for p in model.parameters()]
    options = ["SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.0, "SOLVER.WEIGHT_DECAY", 0.0, "SOLVER.BASE_LR", 1.0]
    optimizer = build_optimizer(tiny_cfg(*options, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.5), model)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 10.0)
    optimizer.step()
    moved = torch.cat([(p - b).flatten() for p, b in zip(model.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_unknown_optimizer_lists_the_known(tiny_cfg):
    with pytest.raises(ValueError, match=r"SOLVER\.OPTIMIZER is 'Adan'.*SGD, AdamW"):
        build_optimizer(tiny_cfg("SOLVER.OPTIMIZER", "Adan"), Block())

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


def test_adamw_spares_norms_and_nmode(tiny_cfg):
    model = Block()
    optimizer = build_optimizer(tiny_cfg("SOLVER.WEIGHT_DECAY", 0.1), model)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert decay_of(optimizer, model.conv.weight) == 0.1
    assert decay_of(optimizer, model.norm.weight) == 0.0
    assert decay_of(optimizer, model.w) == 0.0


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

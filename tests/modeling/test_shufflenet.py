"""ShuffleNet v1: the shuffle, what the groups separate and what the shuffle joins again, shapes and published sizes."""

import pytest
import torch
from torch import Tensor, nn

from meddet_d2.modeling import shufflenet
from meddet_d2.modeling.shufflenet import ShuffleNetBody, ShuffleUnit, channel_shuffle


def num_params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def influence(function, channels: int, groups: int) -> Tensor:
    """(groups, groups) of bool: whether output group i depends on input group k, told by gradients."""
    x = torch.randn(2, channels, 6, 6, requires_grad=True)
    rows = []
    for part in function(x).chunk(groups, dim=1):
        (gradient,) = torch.autograd.grad((part * torch.randn_like(part)).sum(), x, retain_graph=True)
        rows.append(torch.stack([g.abs().sum() > 0 for g in gradient.chunk(groups, dim=1)]))
    return torch.stack(rows)


@pytest.mark.parametrize("channels, groups", [(12, 3), (12, 4), (60, 3), (8, 1), (8, 8)])
def test_the_shuffle_is_a_permutation_with_an_inverse(channels, groups):
    x = torch.randn(2, channels, 3, 5)
    shuffled = channel_shuffle(x, groups)
    order = channel_shuffle(torch.arange(channels)[None], groups)[0].tolist()
    per_group = channels // groups
    # Channel i of group k, that is k * per_group + i, comes to place i * groups + k.
    assert all(order[i * groups + k] == k * per_group + i for i in range(per_group) for k in range(groups))
    assert sorted(order) == list(range(channels))
    assert torch.equal(shuffled, x[:, order])
    assert torch.equal(shuffled, torch.nn.functional.channel_shuffle(x, groups))
    assert torch.equal(channel_shuffle(shuffled, per_group), x)


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_groups_are_apart_and_the_shuffle_joins_them(groups, monkeypatch):
    channels = 4 * groups * groups  # so that a bottleneck's group has a channel for every other group
    unit = ShuffleUnit(in_channels=channels, out_channels=channels, stride=1, groups=groups, first_groups=groups).eval()
    unit.reduce[2] = nn.Softplus()  # a ReLU that is shut would hide a dependence
    apart, joined = torch.eye(groups, dtype=torch.bool), torch.ones(groups, groups, dtype=torch.bool)
    assert torch.equal(influence(unit.reduce, channels, groups), apart)

    def bottleneck(x):
        return unit.expand(unit.depthwise(shufflenet.channel_shuffle(unit.reduce(x), groups)))

    assert torch.equal(influence(bottleneck, channels, groups), joined)
    monkeypatch.setattr(shufflenet, "channel_shuffle", lambda x, groups: x)
    assert torch.equal(influence(bottleneck, channels, groups), apart)


def test_units_of_both_strides():
    torch.manual_seed(0)
    x = torch.randn(2, 24, 9, 8)
    halving = ShuffleUnit(in_channels=24, out_channels=48, stride=2, groups=3, first_groups=1).eval()
    y = halving(x)
    assert y.shape == (2, 48, 5, 4)
    torch.testing.assert_close(y[:, :24], torch.nn.functional.avg_pool2d(x, 3, 2, 1).relu())
    assert halving.expand[0].out_channels == 24 and halving.reduce[0].out_channels == 48 // 4

    adding = ShuffleUnit(in_channels=48, out_channels=48, stride=1, groups=3, first_groups=3).eval()
    nn.init.zeros_(adding.expand[1].weight)  # the bottleneck is silent: what is left is the shortcut
    torch.testing.assert_close(adding(y), y)


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_structure_of_the_published_network(groups):
    body = ShuffleNetBody(name=f"shufflenet_v1_g{groups}", strides=(8, 16, 32))
    units = [list(stage) for stage in (body.stage2, body.stage3, body.stage4)]
    assert [len(stage) for stage in units] == [4, 8, 4]
    for channels, stage in zip(body.channels, units, strict=True):
        for index, unit in enumerate(stage):
            assert (unit.pool is not None) == (index == 0)
            assert unit.depthwise[0].groups == unit.depthwise[0].in_channels == channels // 4
            first = 1 if stage is units[0] and index == 0 else groups
            assert (unit.reduce[0].groups, unit.groups, unit.expand[0].groups) == (first, groups, groups)
            assert not any(isinstance(m, nn.ReLU) for m in [*unit.depthwise, *unit.expand])
    maps = body.eval()(torch.zeros(2, 3, 64, 96))
    assert [tuple(x.shape) for x in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(body.channels, (8, 16, 32), strict=True)
    ]


def test_every_parameter_learns():
    torch.manual_seed(0)
    body = ShuffleNetBody(name="shufflenet_v1_g3", strides=(8, 16, 32)).train()
    maps = body(torch.randn(2, 3, 64, 64))
    assert all(x.min() >= 0 and x.isfinite().all() for x in maps)
    sum((x * torch.randn_like(x)).sum() for x in maps).backward()
    assert [
        n for n, p in body.named_parameters() if p.grad is None or not p.grad.any() or not p.grad.isfinite().all()
    ] == []


# Parameters of the whole classifiers, as the model tables of imgclsmob publish them to the last digit. The classifier
# is one linear layer from the last stage's channels to 1000 classes.
@pytest.mark.parametrize(
    "groups, width_mult, published",
    [
        (1, 1.0, 1_531_936),
        (2, 1.0, 1_733_848),
        (3, 1.0, 1_865_728),
        (4, 1.0, 1_968_344),
        (8, 1.0, 2_434_768),
        (1, 0.75, 975_214),
        (3, 0.75, 1_238_266),
        (1, 0.5, 534_484),
        (3, 0.5, 718_324),
        (1, 0.25, 209_746),
        (3, 0.25, 305_902),
    ],
)
def test_parameters_are_the_published_ones(groups, width_mult, published):
    body = ShuffleNetBody(name=f"shufflenet_v1_g{groups}", strides=(8, 16, 32), width_mult=width_mult)
    assert num_params(body) + (body.channels[-1] + 1) * 1000 == published

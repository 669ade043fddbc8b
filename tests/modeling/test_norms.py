"""What takes the place of BatchNorm."""

import pytest
import torch
from backbone_names import EFFICIENTNET, MOBILENET, SHUFFLENET, SHUFFLENET_V2, SMALL, num_params
from torch import nn

from meddet_d2.modeling import BottomUp
from meddet_d2.modeling.norms import SyncBatchNorm2d, replace_batch_norm


@pytest.mark.parametrize(
    "network",
    [SMALL, MOBILENET, EFFICIENTNET, SHUFFLENET, SHUFFLENET_V2, {"library": "timm", "name": "mobilenetv2_050"}],
)
def test_group_norm_takes_the_place_of_every_batch_norm(network):
    torch.manual_seed(0)
    plain = BottomUp(**network)
    torch.manual_seed(0)
    converted = BottomUp(**network, norm="GN")
    norms = [m for m in plain.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(isinstance(m, nn.BatchNorm2d) for m in converted.modules())
    assert sum(isinstance(m, nn.GroupNorm) for m in converted.modules()) == len(norms)
    assert num_params(plain) == num_params(converted)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), converted.parameters(), strict=True))
    activations = [sum(isinstance(m, nn.ReLU | nn.ReLU6 | nn.SiLU) for m in x.modules()) for x in (plain, converted)]
    assert activations[0] == activations[1] > 0
    # The smallest image there is, in training: its deepest map is 1x1.
    features = converted.train()(torch.randn(1, 3, 32, 32))
    assert all(f.isfinite().all() for f in features.values())
    assert features["c5"].abs().max() > 0


@pytest.mark.parametrize(
    "channels, groups", [(256, 32), (64, 32), (96, 32), (32, 16), (24, 8), (16, 8), (2, 1), (7, 1), (1, 1)]
)
def test_groups_divide_the_channels(channels, groups):
    norm = replace_batch_norm(nn.BatchNorm2d(channels), "GN")
    assert (norm.num_groups, norm.num_channels) == (groups, channels)


@pytest.mark.parametrize("network", [MOBILENET, SMALL])
def test_sync_batch_norm_is_batch_norm_in_one_process(network):
    """In several: tests/engine/test_distributed.py."""
    torch.manual_seed(0)
    plain = BottomUp(**network)
    torch.manual_seed(0)
    synced = BottomUp(**network, norm="SyncBN")
    norms = [m for m in synced.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(type(m) is SyncBatchNorm2d for m in norms)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for mode in (True, False):
        a, b = plain.train(mode)(images), synced.train(mode)(images)
        assert all(torch.equal(a[name], b[name]) for name in a)
    state = dict(plain.state_dict())
    assert len(state) == len(synced.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(state.values(), synced.state_dict().values(), strict=True))

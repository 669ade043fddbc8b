"""A pyramid merged to stride 4, and the head on it."""

import pytest
import torch
from torch import nn

from meddet_d2.modeling.heatmap.gaussian_targets import STRIDE, to_pixels
from meddet_d2.modeling.heatmap.heatmap_head import HeatmapHead, PyramidDecoder


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (8, 16, 32), (8, 32), (4,)])
def test_all_levels_take_part_in_a_map_of_stride_4(strides):
    torch.manual_seed(0)
    decoder = PyramidDecoder([6] * len(strides), strides, 8)
    levels = [torch.randn(2, 6, 64 // stride, 96 // stride, requires_grad=True) for stride in strides]
    merged, *rest = decoder(levels)
    assert merged.shape == (2, 8, 16, 24) and all(a is b for a, b in zip(rest, levels, strict=True))
    merged.square().sum().backward()
    assert all(level.grad.abs().sum() > 0 for level in levels)
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_merging_moves_nothing():
    """A cell's value is spread around the middle of its pixels."""
    decoder = PyramidDecoder([1, 1], (8, 32), 2)
    decoder.laterals, decoder.refine = nn.ModuleList([nn.Identity(), nn.Identity()]), nn.Identity()
    for level, stride in enumerate((8, 32)):
        levels = [torch.zeros(1, 1, 320 // one, 320 // one) for one in (8, 32)]
        levels[level][0, 0, 4, 5] = 1.0
        merged = decoder(levels)[0][0, 0]
        middles = to_pixels(torch.arange(80.0), STRIDE)
        place = [(merged.sum(dim) * middles).sum() / merged.sum() for dim in (0, 1)]
        assert place == pytest.approx([5.5 * stride, 4.5 * stride])


def test_the_head_reads_the_merged_map_alone():
    head = HeatmapHead(8, 5)
    features = [torch.randn(2, 8, 16, 24), torch.randn(2, 6, 8, 12)]
    (heatmaps,) = head(features)
    assert heatmaps.shape == (2, 5, 16, 24) and torch.equal(heatmaps, head.last(features[:1]))
    assert head.deepest(features) is features[0]
    assert heatmaps.abs().max() < 0.1  # nearly everywhere a heat map is 0


@pytest.mark.parametrize("strides", [(2, 4), (8, 8), (16, 8), (12,)])
def test_strides_that_cannot_be_merged(strides):
    with pytest.raises(ValueError, match=r"strides of MODEL\.LANDMARK\.IN_FEATURES is .*powers of two from 4"):
        PyramidDecoder([6] * len(strides), strides, 8)

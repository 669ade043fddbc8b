"""A pyramid merged to stride 4, and the head on it."""

import pytest
import torch

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


def test_what_is_left_of_the_middle_stays_left():
    """Upsampling moves nothing: a constant half of the coarsest level ends at the middle of the merged map."""
    torch.manual_seed(0)
    decoder = PyramidDecoder([1, 1], (8, 32), 4)
    coarse = torch.zeros(1, 1, 4, 4)
    coarse[..., :2] = 1.0
    merged = decoder([torch.zeros(1, 1, 16, 16), coarse])[0]
    flipped = PyramidDecoder([1, 1], (8, 32), 4)
    flipped.load_state_dict({k: v.flip(3) if v.ndim == 4 else v for k, v in decoder.state_dict().items()})
    other = flipped([torch.zeros(1, 1, 16, 16), coarse.flip(3)])[0]
    torch.testing.assert_close(merged, other.flip(3))


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

"""Heat maps from a feature pyramid: its levels merged into one map of stride 4, and a 1x1 convolution.

Shape legend:
    N: images; C: channels of the pyramid; D: channels of the merged map; K: landmarks; h, w: size of a map in cells
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ...config.arguments import require
from ..group_norm import GroupNorm, NormReluSequential
from .gaussian_targets import STRIDE


class PyramidDecoder(nn.Module):
    """Merges a pyramid from the coarsest level to the finest, and then up to stride 4.

    Each level goes through a 3x3 convolution, is added to what is below it, and a last convolution sees the map at full
    size. That map comes first; the levels follow as they are.

    Args:
        in_channels: of each level, the finest first.
        strides: of each level in pixels: powers of two, at least 4, each larger than the one before.
        channels: D, at least 2.

    Raises:
        ValueError: strides that cannot be merged, or too few channels.
    """

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int], channels: int):
        super().__init__()
        require(channels >= 2, "MODEL.LANDMARK.CHANNELS", channels, "at least 2")
        doubled = all(stride.bit_count() == 1 for stride in strides) and list(strides) == sorted(set(strides))
        require(doubled and strides[0] >= STRIDE, "The strides of MODEL.LANDMARK.IN_FEATURES", tuple(strides),
                f"powers of two from {STRIDE} on, the finest first")  # fmt: skip
        self.channels = channels
        # From each level to the next finer one, and from the finest to stride 4.
        self.factors = [fine // finer for finer, fine in zip((STRIDE, *strides), strides, strict=False)]
        self.laterals = nn.ModuleList(_block(c, channels) for c in in_channels)
        self.refine = _block(channels, channels)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """[(N, C, h_l, w_l), ...], the finest first -> [(N, D, h, w), and these]; h and w are the input's / 4."""
        merged = None
        for lateral, level, factor in reversed(list(zip(self.laterals, levels, self.factors, strict=True))):
            merged = lateral(level) if merged is None else merged + lateral(level)
            if factor > 1:
                merged = F.interpolate(merged, scale_factor=float(factor), mode="bilinear")
        assert merged is not None  # there is a level
        return [self.refine(merged), *levels]


class HeatmapHead(nn.Module):
    """A 1x1 convolution on the first of the network's maps.

    Args:
        in_channels: D.
        num_keypoints: K.
    """

    def __init__(self, in_channels: int, num_keypoints: int):
        super().__init__()
        self.num_keypoints = num_keypoints
        self.predictor = nn.Conv2d(in_channels, num_keypoints, 1)
        # All maps begin near 0, which they are nearly everywhere.
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)  # type: ignore[arg-type]

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """The heat maps (N, K, h, w), in a list; the first map alone counts, (N, D, h, w)."""
        return [self.predictor(features[0])]

    def deepest(self, features: list[Tensor]) -> Tensor:
        """The map that the prediction is made of."""
        return features[0]

    def last(self, features: list[Tensor]) -> Tensor:
        """The heat maps (N, K, h, w) of the prediction."""
        return self(features)[0]


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    # At least two channels in a group, so that the 1x1 map of a small image can be normalised.
    groups = max(math.gcd(64, out_channels) // 2, 1)
    return NormReluSequential(convolution, GroupNorm(groups, out_channels), nn.ReLU(inplace=True))

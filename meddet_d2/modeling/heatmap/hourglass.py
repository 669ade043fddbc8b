"""Stacked hourglasses (Newell, Yang, Deng, "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016).

Eight stacks of 256 channels are the teacher of Fast Pose Distillation (Zhang et al., CVPR 2019), four of 128 its
student. Each stack shows a map, of which a 1x1 convolution makes heat maps. The next stack sees both.

Shape legend:
    N: images; F: channels; K: landmarks; H, W: height and width of an image in pixels
"""

from collections.abc import Sequence

import torch.nn.functional as nnf
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone

from ...config.arguments import arguments, require
from ...config.class_names import keypoint_count
from .gaussian_targets import STRIDE

# Halvings within an hourglass.
DEPTH = 4


class Residual(nn.Module):
    """Bottleneck with norms and activations before the convolutions, which have biases (He et al., ECCV 2016)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        inner = out_channels // 2
        self.layers = nn.Sequential(
            *_before(in_channels), nn.Conv2d(in_channels, inner, 1),
            *_before(inner), nn.Conv2d(inner, inner, 3, padding=1),
            *_before(inner), nn.Conv2d(inner, out_channels, 1),
        )  # fmt: skip
        self.skip = nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, H, W)."""
        return self.skip(x) + self.layers(x)


class OneHourglass(nn.Module):
    """Down by two ``depth`` times and up again, with a residual beside each halving; the size stays."""

    def __init__(self, channels: int, depth: int):
        super().__init__()
        self.beside, self.down = Residual(channels, channels), Residual(channels, channels)
        self.within = OneHourglass(channels, depth - 1) if depth > 1 else Residual(channels, channels)
        self.up = Residual(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, F, H, W), H and W multiples of 2^depth, to the same shape."""
        low = self.up(self.within(self.down(nnf.max_pool2d(x, 2))))
        return self.beside(x) + nnf.interpolate(low, scale_factor=2.0, mode="nearest")


@BACKBONE_REGISTRY.register()
class Hourglass(Backbone):
    """A stem to stride 4 and a number of hourglasses, one after the other.

    Args:
        stacks: how many, at least 1.
        channels: F, a multiple of 4.
        num_keypoints: K.

    Attributes:
        scores: of each stack, the convolution from its map to heat maps. The network's head calls these too.

    Raises:
        ValueError: an argument outside of its range; it names the key.
    """

    size_divisibility = STRIDE * 2**DEPTH

    @configurable
    def __init__(self, *, stacks: int, channels: int, num_keypoints: int):
        super().__init__()
        require(stacks >= 1, "MODEL.HOURGLASS.STACKS", stacks, "at least 1")
        require(channels >= 4 and channels % 4 == 0, "MODEL.HOURGLASS.CHANNELS", channels, "a multiple of 4")
        quarter, half = channels // 4, channels // 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, quarter, 7, stride=2, padding=3), nn.BatchNorm2d(quarter), nn.ReLU(inplace=True),
            Residual(quarter, half), nn.MaxPool2d(2), Residual(half, half), Residual(half, channels),
        )  # fmt: skip
        self.hourglasses = nn.ModuleList(
            nn.Sequential(
                OneHourglass(channels, DEPTH), Residual(channels, channels),
                nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            )
            for _ in range(stacks)
        )  # fmt: skip
        self.scores = nn.ModuleList(nn.Conv2d(channels, num_keypoints, 1) for _ in range(stacks))
        self.feature_back = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(stacks - 1))
        self.score_back = nn.ModuleList(nn.Conv2d(num_keypoints, channels, 1) for _ in range(stacks - 1))
        self._out_features = [f"stack{number}" for number in range(1, stacks + 1)]
        self._out_feature_channels = dict.fromkeys(self._out_features, channels)
        self._out_feature_strides = dict.fromkeys(self._out_features, STRIDE)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        if input_shape.channels != 3:
            raise ValueError(f"MODEL.PIXEL_MEAN has {input_shape.channels} values, but Hourglass takes 3 channels.")
        return {**arguments(Hourglass, cfg.MODEL.HOURGLASS), "num_keypoints": keypoint_count(cfg)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W), H and W multiples of 64, to {"stack1": (N, F, H / 4, W / 4), ...}, one for each stack."""
        x, outputs = self.stem(images), {}
        for index, (name, hourglass) in enumerate(zip(self._out_features, self.hourglasses, strict=True)):
            outputs[name] = shown = hourglass(x)
            if index < len(self.feature_back):
                x = x + self.feature_back[index](shown) + self.score_back[index](self.scores[index](shown))
        return outputs


def even_stacks(stacks: int, wanted: int) -> list[int]:
    """Which of so many stacks stand for as many as are wanted: at equal parts of the depth, the last with the last."""
    return [(number * stacks) // wanted - 1 for number in range(1, wanted + 1)]


class StackHead(nn.Module):
    """Heat maps of stacked hourglasses, by the convolutions that the stacks have already.

    It has no weights of its own. In training it makes heat maps of each stack (intermediate supervision); a prediction
    is the last one's alone.

    Args:
        scores: of each stack, from (N, F, h, w) to (N, K, h, w); they belong to the backbone.
        num_keypoints: K.
    """

    def __init__(self, scores: Sequence[nn.Module], num_keypoints: int):
        super().__init__()
        self.num_keypoints = num_keypoints
        # In a tuple they are no submodules, so that a checkpoint has them once.
        self._scores = (scores,)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Heat maps (N, K, h, w) of each map (N, F, h, w): of all stacks, or of those of :func:`even_stacks`."""
        (scores,) = self._scores
        return [scores[i](x) for i, x in zip(even_stacks(len(scores), len(features)), features, strict=True)]

    def deepest(self, features: list[Tensor]) -> Tensor:
        """The map that the prediction is made of."""
        return features[-1]

    def last(self, features: list[Tensor]) -> Tensor:
        """The heat maps (N, K, h, w) of the prediction."""
        return self(features[-1:])[0]


def _before(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU(inplace=True)

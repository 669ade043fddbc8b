"""The GFL head: two towers shared by all levels, a class predictor and a distance-distribution predictor.

Shape legend:
    N: images; C: classes; H, W: size of a level
    R: reg_max, so that each of the four distances is a distribution over the R + 1 bins 0, 1, ..., R strides
"""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec

from ...config.arguments import arguments, require
from ...config.class_names import class_count
from ..group_norm import GroupNorm, NormReluSequential
from ..nmode.nmode_block import build_nmode, nmode_kwargs


class Integral(nn.Module):
    """Distances from their distributions: the expectation over the bins (Generalized Focal Loss, equation 3)."""

    bins: Tensor

    def __init__(self, reg_max: int) -> None:
        super().__init__()
        # A constant, so it stays out of checkpoints.
        self.register_buffer("bins", torch.arange(reg_max + 1, dtype=torch.float32), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """(..., 4 * (R + 1)) logits -> (..., 4) distances left, top, right, bottom in strides, in [0, R]."""
        distribution = logits.unflatten(-1, (4, len(self.bins))).softmax(dim=-1)
        # A product and a sum, and no matrix product: autocast would take that to half precision.
        return (distribution * self.bins.to(distribution.dtype)).sum(dim=-1)


class GFLHead(nn.Module):
    """Predicts, at every location of every level, class scores and the distances to the four sides of a box.

    Each tower is ``num_convs`` times (3x3 convolution without bias, GroupNorm, ReLU). With ``nmode``, a block of the
    neural-memory ODE follows the last convolution of either tower (MedDet, figure 3). The levels differ by
    ``scales`` only, so the first few of them can be read without the rest.
    """

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        num_convs: int,
        num_classes: int,
        reg_max: int,
        num_levels: int,
        tower_conv: str = "full",
        shared_tower: bool = False,
        tower_init: str = "normal",
        prior_prob: float = 0.01,
        nmode: dict[str, Any] | None = None,
        nmode_relu: str = "before",
    ) -> None:
        """
        Args:
            in_channels: channels of the feature maps.
            channels: channels inside the towers.
            num_convs: convolutions in each tower, at least 1.
            num_classes: foreground classes C.
            reg_max: the largest distance R, in strides.
            num_levels: levels of the pyramid; each has its own scale for the distance logits.
            tower_conv: of towers and predictors: "full" is GFL's 3x3 convolution, "separable" a depth-wise 3x3 and a
                1x1: an eighth of the work.
            shared_tower: one tower for classes and boxes, with one block of the neural-memory ODE.
            tower_init: "normal" is GFL's N(0, 0.01); "he" is Kaiming's for ReLU, faster from random weights.
            prior_prob: score of every class at the start, in (0, 1).
            nmode: arguments of ``build_nmode`` without ``channels``, or None for plain towers.
            nmode_relu: "before" puts the block in the place of the last ReLU, "after" behind it.

        Raises:
            ValueError: for an argument outside its range; the message names the config key.
        """
        super().__init__()
        for key, value, good, expected in (
            ("GFL.NUM_CONVS", num_convs, num_convs >= 1, "at least 1"),
            ("GFL.NUM_CLASSES", num_classes, num_classes >= 1, "at least 1"),
            ("GFL.REG_MAX", reg_max, reg_max >= 1, "at least 1"),
            ("GFL.PRIOR_PROB", prior_prob, 0 < prior_prob < 1, "between 0 and 1"),
            ("GFL.TOWER_CONV", tower_conv, tower_conv in ("full", "separable"), "'full' or 'separable'"),
            ("GFL.TOWER_INIT", tower_init, tower_init in ("normal", "he"), "'normal' or 'he'"),
            ("NMODE.RELU", nmode_relu, nmode_relu in ("before", "after"), "'before' or 'after'"),
        ):
            require(good, f"MODEL.{key}", value, expected)
        self.num_classes = num_classes
        self.reg_max = reg_max

        last_relu = nmode is None or nmode_relu == "after"
        towers = (_tower(in_channels, channels, num_convs, tower_conv == "separable", last_relu) for _ in range(2))
        self.cls_tower, self.box_tower = next(towers), None if shared_tower else next(towers)
        self.cls_nmode = nn.Identity() if nmode is None else build_nmode(channels=channels, **nmode)
        self.box_nmode = nn.Identity() if nmode is None or shared_tower else build_nmode(channels=channels, **nmode)
        convolution = _separable_conv if tower_conv == "separable" else _conv
        self.cls_predictor = convolution(channels, num_classes, bias=True)
        self.box_predictor = convolution(channels, 4 * (reg_max + 1), bias=True)
        self.scales = nn.Parameter(torch.ones(num_levels))
        self._initialize(tower_init, prior_prob)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        channels = {shape.channels for shape in input_shape}
        if len(channels) != 1:
            raise ValueError(f"MODEL.GFL.IN_FEATURES must have equal channels, for one head serves all: got {channels}")
        return {
            **arguments(GFLHead, cfg.MODEL.GFL),
            "in_channels": channels.pop(),
            "num_classes": class_count(cfg),
            "num_levels": len(input_shape),
            "nmode": nmode_kwargs(cfg, "head"),
            "nmode_relu": cfg.MODEL.NMODE.RELU,
        }

    def _initialize(self, tower_init: str, prior_prob: float) -> None:
        towers = [tower for tower in (self.cls_tower, self.box_tower) if tower is not None]
        for module in (module for tower in towers for module in tower.modules()):
            if isinstance(module, nn.Conv2d):
                if tower_init == "he":
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                else:
                    nn.init.normal_(module.weight, std=0.01)
        # Small predictors start every box at the middle of the bins and every score at the prior, whatever the towers.
        # Of a separable one the last part is: two small factors would hardly learn.
        for predictor, bias in (
            (self.cls_predictor, -math.log((1 - prior_prob) / prior_prob)),
            (self.box_predictor, 0),
        ):
            *before, last = (module for module in predictor.modules() if isinstance(module, nn.Conv2d))
            for conv in before:
                nn.init.kaiming_normal_(conv.weight, nonlinearity="linear")
            nn.init.normal_(last.weight, std=0.01)
            nn.init.constant_(cast(Tensor, last.bias), bias)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict on every level.

        Args:
            features: of each level, or of the first few, (N, in_channels, H, W).

        Returns:
            Of each level, class logits (N, C, H, W), and distance logits (N, 4 * (R + 1), H, W) in the order left,
            top, right, bottom, at least in single precision: the softmax and the expectation need it.
        """
        seen = _at_once(self.cls_nmode, [self.cls_tower(feature) for feature in features])
        cls_logits = [self.cls_predictor(level) for level in seen]
        if self.box_tower is not None:
            seen = _at_once(self.box_nmode, [self.box_tower(feature) for feature in features])
        boxes = [self.box_predictor(level) for level in seen]
        wide = torch.promote_types(boxes[0].dtype, torch.float32)
        return cls_logits, [box.to(wide) * scale for box, scale in zip(boxes, self.scales.unbind(), strict=False)]


def _at_once(block: nn.Module, levels: list[Tensor]) -> list[Tensor]:
    """A block that works on every location alone, on all levels but the finest together: half of the operators."""
    # CUDA has one kernel for a level, a compiler makes one loop of it, and an export's sizes are not known.
    if isinstance(block, nn.Identity) or levels[0].is_cuda or torch.compiler.is_compiling() or len(levels) < 3:
        return [block(level) for level in levels]
    # The finest has three quarters of all locations: another copy of it costs more than its operators.
    places = [level.permute(0, 2, 3, 1) for level in levels[1:]]  # (N, H, W, C)
    joined = torch.cat([level.flatten(0, 2) for level in places])
    parts = block(joined[..., None, None]).flatten(1).split([level.shape[:3].numel() for level in places])
    rest = [part.view(level.shape).permute(0, 3, 1, 2) for part, level in zip(parts, places, strict=True)]
    return [block(levels[0]), *rest]


def _tower(in_channels: int, channels: int, num_convs: int, separable: bool, last_relu: bool) -> nn.Sequential:
    # 32 groups, or fewer where they would hold less than two channels: a group must have more than one value to be
    # normalised, also on the 1x1 map of a small image.
    groups = max(math.gcd(64, channels) // 2, 1)
    convolution = _separable_conv if separable else _conv
    layers: list[nn.Module] = []
    for index in range(num_convs):
        layers.append(convolution(in_channels if index == 0 else channels, channels))
        layers.append(GroupNorm(groups, channels))
        layers.append(nn.ReLU(inplace=True))
    # The ReLU is last and has no weights, so the names of all weights are the same with and without it.
    return NormReluSequential(*(layers if last_relu else layers[:-1]))


def _conv(in_channels: int, channels: int, bias: bool = False) -> nn.Module:
    return nn.Conv2d(in_channels, channels, 3, padding=1, bias=bias)


def _separable_conv(in_channels: int, channels: int, bias: bool = False) -> nn.Module:
    # Nothing between the two: what a channel's neighbourhood says is worth keeping in either sign.
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, channels, 1, bias=bias),
    )

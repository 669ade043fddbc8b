"""Networks and backbones by name, and the feature pyramid network (Lin et al., CVPR 2017).

Shapes: N images of H x W pixels; level l has stride 2**l and maps of H / 2**l by W / 2**l.
"""

from itertools import pairwise

import fvcore.nn.weight_init as weight_init
import torch
import torch.nn.functional as F
from torch import nn

from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.utils.registry import Registry

META_ARCH_REGISTRY = Registry("META_ARCH")  # name -> callable(cfg) that returns an nn.Module
BACKBONE_REGISTRY = Registry("BACKBONE")  # name -> callable(cfg, input_shape) that returns a Backbone


def build_model(cfg) -> nn.Module:
    """The network named by ``cfg.MODEL.META_ARCHITECTURE`` on ``cfg.MODEL.DEVICE``, with initial weights."""
    return META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg).to(torch.device(cfg.MODEL.DEVICE))


class Backbone(nn.Module):
    """From images (N, C, H, W) to a dict of feature maps, name -> (N, C_l, H_l, W_l).

    Subclasses set ``_out_features`` (names), ``_out_feature_channels`` and ``_out_feature_strides`` (name -> int),
    or override :meth:`output_shape`.
    """

    size_divisibility = 0  # the input's height and width must be multiples of this; 0: of nothing

    def output_shape(self) -> dict[str, ShapeSpec]:
        channels, strides = self._out_feature_channels, self._out_feature_strides
        return {name: ShapeSpec(channels=channels[name], stride=strides[name]) for name in self._out_features}


def build_backbone(cfg, input_shape: ShapeSpec | None = None) -> Backbone:
    """The backbone named by ``cfg.MODEL.BACKBONE.NAME``; by default its input has a channel per ``PIXEL_MEAN``."""
    input_shape = input_shape or ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    return BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)(cfg, input_shape)


class FPN(Backbone):
    """Top-down pathway with lateral connections over a bottom-up network; the level of stride 2**l is ``p<l>``.

    ``in_features`` go from high to low resolution, each stride twice the one before. ``top_block`` makes its
    ``num_levels`` coarser levels from the map ``in_feature``, which is the bottom-up network's or the pyramid's own.
    """

    def __init__(self, bottom_up, in_features, out_channels, norm="", top_block=None):
        super().__init__()
        shapes = bottom_up.output_shape()
        strides = [shapes[name].stride for name in in_features]
        if any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
            raise ValueError(f"FPN: each stride of {tuple(in_features)} must be twice the one before, got {strides}.")
        # Names and order of the modules are Detectron2's: a checkpoint's optimizer state depends on both.
        self._levels = [stride.bit_length() - 1 for stride in strides]
        for level, name in zip(self._levels, in_features, strict=True):
            for role, channels, kernel in (("lateral", shapes[name].channels, 1), ("output", out_channels, 3)):
                norm_layer = get_norm(norm, out_channels)
                conv = Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=norm == "", norm=norm_layer)
                weight_init.c2_xavier_fill(conv)
                self.add_module(f"fpn_{role}{level}", conv)
        self.top_block, self.bottom_up = top_block, bottom_up
        self.in_features = tuple(in_features)
        self.size_divisibility = strides[-1]
        last = self._levels[-1] + (top_block.num_levels if top_block is not None else 0)
        self._out_feature_strides = {f"p{level}": 2**level for level in range(self._levels[0], last + 1)}
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """(N, C, H, W), H and W multiples of ``size_divisibility`` -> ``{"p3": (N, out_channels, H/8, W/8), ...}``."""
        bottom_up, outputs, merged = self.bottom_up(x), {}, None
        for level, name in zip(reversed(self._levels), reversed(self.in_features), strict=True):
            lateral = getattr(self, f"fpn_lateral{level}")(bottom_up[name])
            if merged is not None:
                lateral = lateral + F.interpolate(merged, scale_factor=2.0, mode="nearest")
            merged = lateral
            outputs[f"p{level}"] = getattr(self, f"fpn_output{level}")(merged)
        if self.top_block is not None:
            source = {**outputs, **bottom_up}[self.top_block.in_feature]
            outputs.update(zip(self._out_features[len(self._levels) :], self.top_block(source), strict=True))
        return {name: outputs[name] for name in self._out_features}

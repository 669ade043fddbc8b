"""Backbone, FPN, build_model and detector_postprocess, on either engine."""

import pytest
import torch
from torch import nn

from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    FPN,
    META_ARCH_REGISTRY,
    Backbone,
    build_backbone,
    build_model,
    detector_postprocess,
)
from detectron2.structures import Boxes, Instances


class BottomUp(Backbone):
    """Average pooling to strides 8, 16 and 32, and a convolution to 4, 6 and 8 channels."""

    def __init__(self):
        super().__init__()
        self._out_features = ["c3", "c4", "c5"]
        self._out_feature_channels = {"c3": 4, "c4": 6, "c5": 8}
        self._out_feature_strides = {"c3": 8, "c4": 16, "c5": 32}
        self.convs = nn.ModuleDict({name: nn.Conv2d(3, c, 1) for name, c in self._out_feature_channels.items()})

    def forward(self, x):
        strides = self._out_feature_strides
        return {name: conv(nn.functional.avg_pool2d(x, strides[name])) for name, conv in self.convs.items()}


class TopBlock(nn.Module):
    """Two coarser levels by strided convolutions."""

    def __init__(self, in_feature, in_channels, out_channels):
        super().__init__()
        self.in_feature, self.num_levels = in_feature, 2
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)

    def forward(self, x):
        p6 = self.p6(x)
        return [p6, self.p7(p6)]


def make_fpn(**kwargs):
    torch.manual_seed(0)
    return FPN(BottomUp(), ["c3", "c4", "c5"], 5, **kwargs)


@pytest.mark.parametrize(("source", "channels"), [("p5", 5), ("c5", 8)])
def test_shapes_with_a_top_block(source, channels):
    fpn = make_fpn(top_block=TopBlock(source, channels, 5))
    maps = fpn(torch.randn(2, 3, 64, 96))
    assert list(maps) == ["p3", "p4", "p5", "p6", "p7"]
    assert [tuple(m.shape) for m in maps.values()] == [(2, 5, *s) for s in ((8, 12), (4, 6), (2, 3), (1, 2), (1, 1))]
    shapes = fpn.output_shape()
    assert [(s.channels, s.stride) for s in shapes.values()] == [(5, 8), (5, 16), (5, 32), (5, 64), (5, 128)]
    assert list(shapes) == list(maps)


def test_without_a_top_block_the_levels_are_the_bottom_ups():
    assert list(make_fpn()(torch.randn(1, 3, 32, 32))) == ["p3", "p4", "p5"]


def test_padding_follows_the_coarsest_lateral_level():
    assert make_fpn().size_divisibility == 32
    assert make_fpn(top_block=TopBlock("p5", 5, 5)).size_divisibility == 32
    assert BottomUp().size_divisibility == 0


def test_the_top_down_pathway_is_what_the_paper_draws():
    fpn = make_fpn()
    x = torch.randn(1, 3, 64, 64)
    c = fpn.bottom_up(x)
    p5 = fpn.fpn_lateral5(c["c5"])
    p4 = fpn.fpn_lateral4(c["c4"]) + nn.functional.interpolate(p5, scale_factor=2.0, mode="nearest")
    p3 = fpn.fpn_lateral3(c["c3"]) + nn.functional.interpolate(p4, scale_factor=2.0, mode="nearest")
    maps = fpn(x)
    torch.testing.assert_close(maps["p5"], fpn.fpn_output5(p5))
    torch.testing.assert_close(maps["p3"], fpn.fpn_output3(p3))


def test_normalisation_replaces_the_bias():
    names = set(make_fpn(norm="BN").state_dict())
    assert "fpn_lateral3.norm.weight" in names and "fpn_lateral3.bias" not in names
    assert "fpn_lateral3.bias" in make_fpn().state_dict()


def test_names_and_order_of_the_parameters_are_those_of_detectron2():
    names = [name for name, _ in make_fpn(top_block=TopBlock("p5", 5, 5)).named_parameters()]
    prefixes = list(dict.fromkeys(name.split(".")[0] for name in names))
    laterals = [f"fpn_{role}{level}" for level in (3, 4, 5) for role in ("lateral", "output")]
    assert prefixes == [*laterals, "top_block", "bottom_up"]


def test_bad_strides_are_refused():
    with pytest.raises((AssertionError, ValueError)):
        FPN(BottomUp(), ["c3", "c5"], 5)


def test_models_and_backbones_are_built_by_name():
    @BACKBONE_REGISTRY.register()
    def build_test_fpn_bottom_up(cfg, input_shape):
        assert isinstance(input_shape, ShapeSpec) and input_shape.channels == 3
        return BottomUp()

    @META_ARCH_REGISTRY.register()
    class TestFpnArchitecture(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.backbone = build_backbone(cfg)

    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_test_fpn_bottom_up"
    cfg.MODEL.META_ARCHITECTURE = "TestFpnArchitecture"
    assert isinstance(build_model(cfg).backbone, BottomUp)
    cfg.MODEL.META_ARCHITECTURE = "NoSuchArchitecture"
    with pytest.raises(KeyError, match="NoSuchArchitecture"):
        build_model(cfg)


def test_detections_are_scaled_clipped_and_emptied_to_the_output_size():
    results = Instances((50, 100))  # height, width of what the network saw
    boxes = [[10.0, 10.0, 20.0, 30.0], [90.0, 40.0, 120.0, 60.0], [100.0, 10.0, 130.0, 20.0]]
    results.pred_boxes = Boxes(torch.tensor(boxes))
    results.scores = torch.tensor([0.9, 0.8, 0.7])
    output = detector_postprocess(results, 100, 300)
    assert output.image_size == (100, 300)
    assert output.pred_boxes.tensor.tolist() == [[30.0, 20.0, 60.0, 60.0], [270.0, 80.0, 300.0, 100.0]]
    assert output.scores.tolist() == pytest.approx([0.9, 0.8])

"""A network whose BatchNorm was folded shows the same maps, and has no BatchNorm where that can be."""

import pytest
import torch
from tiny_gfl import settle
from tiny_runs import default_cfg
from torch import nn

from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from meddet_d2.hardware.folding import fold_norms

NORMS = (nn.BatchNorm2d, FrozenBatchNorm2d)


def norms(network):
    return [m for m in network.modules() if isinstance(m, NORMS)]


def network(name, library="timm", norm="BN"):
    cfg = default_cfg()
    cfg.MODEL.META_ARCHITECTURE = "GFL"
    cfg.MODEL.BACKBONE.NAME = "build_gfl_fpn_backbone"
    cfg.MODEL.BOTTOM_UP.NAME, cfg.MODEL.BOTTOM_UP.LIBRARY, cfg.MODEL.BOTTOM_UP.NORM = name, library, norm
    cfg.MODEL.BOTTOM_UP.PRETRAINED = False
    cfg.MODEL.GFL.NUM_CONVS = 1
    torch.manual_seed(0)
    return settle(build_model(cfg)).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "library", "kept"),
    [("resnet10t", "timm", 0), ("mobilenetv2_050", "timm", 0), ("mobilenet_v2", "torchvision", 0),
     ("efficientnet_b0", "torchvision", 0), ("mobilenetv3_small_050", "timm", 0)],
)  # fmt: skip
def test_the_same_maps_without_a_norm(name, library, kept):
    teacher = network(name, library)
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(1))

    def show(one):
        return list(one.backbone(images).values())

    before, count = show(teacher), len(norms(teacher))
    assert count > 10 and fold_norms(teacher, show) == count - kept
    assert len(norms(teacher)) == kept
    for old, new in zip(before, show(teacher), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-4 * old.abs().max().item())


class Shared(nn.Module):
    """Its convolution's output is also used without the norm, so the two cannot become one."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        x = self.conv(x)
        return x + self.norm(x)


def test_what_would_show_something_else_stays(caplog):
    model = Shared().eval()
    model.norm.running_mean.fill_(2.0)
    image = torch.randn(1, 3, 8, 8)
    before = model(image)
    assert fold_norms(model, lambda one: [one(image)]) == 0
    assert torch.equal(model(image), before) and "stays as it is" in caplog.text


def test_a_norm_that_still_learns_stays():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    image = torch.randn(2, 3, 8, 8)
    assert fold_norms(model.eval(), lambda one: [one(image)]) == 1
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    assert fold_norms(model, lambda one: [one(image)]) == 0

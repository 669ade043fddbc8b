"""What cannot run is refused by name, without memory."""

import pytest
import torch
from tiny_runs import default_cfg

from detectron2.modeling import build_model
from meddet_d2.distillation.dry_run import check_forward


def network(*options):
    cfg = default_cfg()
    cfg.MODEL.DEVICE, cfg.MODEL.META_ARCHITECTURE = "meta", "GFL"
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = "build_gfl_fpn_backbone", 0
    cfg.MODEL.BOTTOM_UP.PRETRAINED = False
    cfg.merge_from_list(list(options))
    return build_model(cfg)


def test_a_network_that_does_not_run_is_named():
    sound, broken = network(), network("MODEL.FPN.OUT_CHANNELS", 64)
    check_forward({"The student": sound}, 160)
    broken.head.cls_predictor = torch.nn.Conv2d(3, 2, 3, device="meta")
    with pytest.raises(ValueError, match=r"^Teacher b does not run on images of 160x160 \(.*channel.*\)\.$") as caught:
        check_forward({"The student": sound, "Teacher b": broken}, 160)
    assert "\n" not in str(caught.value)


def test_a_solver_that_looks_at_values_passes():
    check_forward({"it": network("MODEL.NMODE.KIND", "nmode2", "MODEL.NMODE.SOLVER", "odeint")}, 160)

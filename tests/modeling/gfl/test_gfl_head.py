import math

import pytest
import torch

from detectron2.layers import ShapeSpec
from meddet_d2.modeling.gfl.gfl_head import GFLHead, Integral

NMODE = {
    "kind": "nmode2",
    "readout": "residual",
    "init_w": 1.0,
    "init_b": 0.0,
    "t_end": 1.0,
    "solver": "rk4",
    "rk4_steps": 4,
    "odeint_method": "dopri5",
    "odeint_rtol": 1e-3,
    "odeint_atol": 1e-3,
}


def head(**changes):
    torch.manual_seed(0)
    arguments = {
        "in_channels": 8,
        "channels": 8,
        "num_convs": 2,
        "num_classes": 2,
        "reg_max": 4,
        "num_levels": 3,
        **changes,
    }
    return GFLHead(**arguments)


def features(batch=2, channels=8):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, channels, size, size + 1, generator=generator) for size in (6, 3, 2)]


def test_parameters_of_the_papers_head():
    big = GFLHead(in_channels=256, channels=256, num_convs=4, num_classes=2, reg_max=16, num_levels=5)
    assert sum(p.numel() for p in big.parameters()) == 4_884_043
    with_nmode = GFLHead(
        in_channels=256, channels=256, num_convs=4, num_classes=2, reg_max=16, num_levels=5, nmode=NMODE
    )
    assert sum(p.numel() for p in with_nmode.parameters()) == 4_884_043 + 1_024


def test_names_of_the_weights():
    towers = [f"{branch}_tower.{layer}" for branch in ("cls", "box") for layer in ("0.weight", "1.weight", "1.bias")]
    towers += [f"{branch}_tower.{layer}" for branch in ("cls", "box") for layer in ("3.weight", "4.weight", "4.bias")]
    predictors = [f"{branch}_predictor.{name}" for branch in ("cls", "box") for name in ("weight", "bias")]
    plain = {*towers, *predictors, "scales"}
    blocks = {f"{branch}_nmode.{name}" for branch in ("cls", "box") for name in ("w", "b")}
    assert set(head().state_dict()) == plain
    for relu in ("before", "after"):
        assert set(head(nmode=NMODE, nmode_relu=relu).state_dict()) == plain | blocks


def test_shapes_and_precision_on_every_level():
    cls_logits, box_logits = head()(features())
    assert [tuple(x.shape) for x in cls_logits] == [(2, 2, 6, 7), (2, 2, 3, 4), (2, 2, 2, 3)]
    assert [tuple(x.shape) for x in box_logits] == [(2, 20, 6, 7), (2, 20, 3, 4), (2, 20, 2, 3)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low_cls, low_box = head()(features())
    assert low_cls[0].dtype == torch.bfloat16 and low_box[0].dtype == torch.float32
    assert head().double()([x.double() for x in features()])[1][0].dtype == torch.float64


def test_separable_convolutions_are_an_eighth_of_the_weights():
    module = head(in_channels=64, channels=64, tower_conv="separable", nmode=NMODE)
    full = head(in_channels=64, channels=64, nmode=NMODE)
    depthwise, pointwise = module.cls_tower[3]
    assert depthwise.weight.shape == (64, 1, 3, 3) and pointwise.weight.shape == (64, 64, 1, 1)
    assert depthwise.bias is None and pointwise.bias is None
    for part in ("cls_tower", "box_tower", "box_predictor"):
        weights = [sum(p.numel() for p in getattr(tower, part).parameters()) for tower in (module, full)]
        assert weights[0] < weights[1] / 4
    assert sum(p.numel() for p in module.parameters()) < sum(p.numel() for p in full.parameters()) / 7
    # The same map as by convolutions with the products of both kernels.
    x = torch.randn(1, 64, 5, 6)
    kernel = pointwise.weight * depthwise.weight.transpose(0, 1)
    torch.testing.assert_close(
        module.cls_tower[3](x), torch.nn.functional.conv2d(x, kernel, padding=1), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("tower_conv", ["full", "separable"])
def test_the_first_levels_can_be_read_without_the_rest(tower_conv):
    module = head(tower_conv=tower_conv)
    for whole, some in zip(module(features()), module(features()[:2]), strict=True):
        assert len(some) == 2 and all(torch.equal(a, b) for a, b in zip(whole, some, strict=False))


def test_scales_multiply_the_distance_logits_of_their_level():
    module = head()
    _, before = module(features())
    with torch.no_grad():
        module.scales.copy_(torch.tensor([1.0, 2.0, -3.0]))
    _, after = module(features())
    for scale, x, y in zip((1, 2, -3), before, after, strict=True):
        torch.testing.assert_close(y, scale * x)


@pytest.mark.parametrize("tower_conv", ["full", "separable"])
def test_initial_scores_are_the_prior_and_distances_the_middle_bin(tower_conv):
    module = head(in_channels=64, channels=64, reg_max=16, tower_conv=tower_conv)
    cls_logits, box_logits = module(features(channels=64))
    assert cls_logits[0].sigmoid().mean().item() == pytest.approx(0.01, rel=0.3)
    last = module.cls_predictor if tower_conv == "full" else module.cls_predictor[1]
    assert last.bias[0].item() == pytest.approx(-math.log(99), rel=1e-6)
    distances = Integral(16)(box_logits[0].permute(0, 2, 3, 1))
    assert distances.mean().item() == pytest.approx(8, abs=0.4)


@pytest.mark.parametrize(("tower_init", "std"), [("normal", 0.01), ("he", math.sqrt(2 / (9 * 64)))])
def test_initialisation_of_towers_and_predictors(tower_init, std):
    torch.manual_seed(0)
    module = GFLHead(
        in_channels=64, channels=64, num_convs=2, num_classes=2, reg_max=16, num_levels=3, tower_init=tower_init
    )
    for tower in (module.cls_tower, module.box_tower):
        for layer in (tower[0], tower[3]):
            assert layer.weight.std().item() == pytest.approx(std, rel=0.03)
            assert layer.bias is None
    separable = head(in_channels=64, channels=64, tower_conv="separable", tower_init=tower_init).cls_tower
    for layer, fan_in in ((separable[3][0], 9), (separable[3][1], 64)):
        spread = 0.01 if tower_init == "normal" else math.sqrt(2 / fan_in)
        assert layer.weight.std().item() == pytest.approx(spread, rel=0.1)
    assert module.box_predictor.weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert (module.scales == 1).all() and (module.box_predictor.bias == 0).all()


def test_nmode_before_takes_the_relus_place_and_after_follows_it():
    x = features()[0]
    for relu, expected in (("before", lambda t: t), ("after", torch.relu)):
        module = head(nmode=NMODE, nmode_relu=relu)
        normalised = module.cls_tower[4](module.cls_tower[3](module.cls_tower[2](module.cls_tower[:2](x))))
        assert (normalised < 0).any()
        reference = module.cls_predictor(module.cls_nmode(expected(normalised)))
        torch.testing.assert_close(module([x])[0][0], reference)


def test_every_parameter_gets_a_gradient():
    for changes in ({}, {"nmode": NMODE}, {"tower_conv": "separable"}):
        module = head(**changes)
        cls_logits, box_logits = module(features())
        sum(x.square().sum() for x in [*cls_logits, *box_logits]).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("channels", [1, 6, 9, 32, 48, 64])
def test_any_number_of_channels_on_a_map_of_one_cell(channels):
    module = head(in_channels=channels, channels=channels, num_levels=1)
    cls_logits, _ = module([torch.randn(2, channels, 1, 1)])
    assert cls_logits[0].isfinite().all()
    assert head(channels=256, in_channels=4).cls_tower[1].num_groups == 32


def test_integral_is_the_expectation():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(5, 7, 4 * 9, generator=generator, dtype=torch.float64)
    result = Integral(8)(logits)
    assert result.shape == (5, 7, 4)
    for side in range(4):
        bins = [math.exp(v) for v in logits[2, 3, 9 * side : 9 * side + 9].tolist()]
        expected = sum(i * v for i, v in enumerate(bins)) / sum(bins)
        assert result[2, 3, side].item() == pytest.approx(expected, rel=1e-12)
    assert Integral(8)(torch.zeros(0, 36)).shape == (0, 4)
    assert not Integral(8).state_dict() and not list(Integral(8).parameters())


def test_from_config(cfg):
    cfg.MODEL.GFL.NUM_CLASSES = 5
    cfg.MODEL.GFL.CHANNELS = 16
    cfg.MODEL.GFL.REG_MAX = 7
    cfg.MODEL.GFL.TOWER_CONV = "separable"
    cfg.MODEL.GFL.SHARED_TOWER = True
    cfg.MODEL.NMODE.KIND = "nmode2"
    cfg.MODEL.NMODE.RELU = "before"
    module = GFLHead(cfg, [ShapeSpec(channels=8, stride=s) for s in (8, 16, 32)])
    assert module.cls_predictor[1].weight.shape == (5, 16, 1, 1)
    assert module.box_predictor[1].out_channels == 32
    assert len(module.scales) == 3 and len(module.cls_tower) == 4 * 3 - 1
    assert [len(layer) for layer in module.cls_tower[::3]] == [2] * 4
    assert module.cls_nmode.w.shape == (16,) and module.box_tower is None
    with pytest.raises(ValueError, match=r"MODEL\.GFL\.IN_FEATURES"):
        GFLHead(cfg, [ShapeSpec(channels=8, stride=8), ShapeSpec(channels=16, stride=16)])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"num_convs": 0}, "MODEL.GFL.NUM_CONVS"),
        ({"num_classes": 0}, "MODEL.GFL.NUM_CLASSES"),
        ({"reg_max": 0}, "MODEL.GFL.REG_MAX"),
        ({"prior_prob": 1.0}, "MODEL.GFL.PRIOR_PROB"),
        ({"tower_conv": "dense"}, "MODEL.GFL.TOWER_CONV"),
        ({"tower_init": "xavier"}, "MODEL.GFL.TOWER_INIT"),
        ({"nmode_relu": "instead"}, "MODEL.NMODE.RELU"),
    ],
)
def test_arguments_out_of_range_name_their_key(changes, key):
    with pytest.raises(ValueError, match=key.replace(".", r"\.")):
        head(**changes)


def test_a_shared_tower_is_one_tower_with_one_block():
    module, apart = head(shared_tower=True, nmode=NMODE), head(nmode=NMODE)
    names = set(apart.state_dict())
    assert set(module.state_dict()) == {name for name in names if not name.startswith(("box_tower", "box_nmode"))}
    cls_logits, box_logits = module(features())
    for x, cls, box in zip(features(), cls_logits, box_logits, strict=True):
        seen = module.cls_nmode(module.cls_tower(x))
        torch.testing.assert_close(cls, module.cls_predictor(seen))
        torch.testing.assert_close(box, module.box_predictor(seen))
    sum(x.square().sum() for x in [*cls_logits, *box_logits]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())

"""Bottom-up networks and the pyramid: shapes, sizes, strides, freezing, and settings that are refused."""

import math

import pytest
import torch
from backbone_names import EFFICIENTNET, MOBILENET, RESNET, SHUFFLENET, SHUFFLENET_V2, SMALL, num_params
from tiny_runs import default_cfg
from torch import nn

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, build_backbone
from meddet_d2.modeling.backbones import GFLFPN, BottomUp, TopBlockP6P7
from meddet_d2.modeling.nmode.nmode_block import NMODEBlock


def config(**bottom_up):
    cfg = default_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_gfl_fpn_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.BOTTOM_UP.PRETRAINED = False
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    for key, value in bottom_up.items():
        cfg.MODEL.BOTTOM_UP[key] = value
    return cfg


def names_of_frozen(module: nn.Module) -> list[str]:
    return [name for name, p in module.named_parameters() if not p.requires_grad]


@pytest.mark.parametrize(
    "library, name, width_mult, channels, params, fpn_params",
    [
        ("torchvision", "resnet50", 1.0, (512, 1024, 2048), 23_508_032, 3_868_672),
        ("torchvision", "resnet101", 1.0, (512, 1024, 2048), 42_500_160, 3_868_672),
        ("torchvision", "resnet152", 1.0, (512, 1024, 2048), 58_143_808, 3_868_672),
        ("torchvision", "mobilenet_v2", 1.0, (32, 96, 1280), 2_223_872, 3_311_616),
        ("torchvision", "mobilenet_v2", 1.4, (48, 136, 1792), 4_315_776, 3_457_024),
        ("torchvision", "efficientnet_b0", 1.0, (40, 112, 320), 3_595_388, 3_072_000),
        ("torchvision", "efficientnet_b1", 1.0, (40, 112, 320), 6_101_024, 3_072_000),
        ("torchvision", "shufflenet_v2_x1_0", 1.0, (116, 232, 464), 776_420, 3_159_040),
        ("meddet_d2", "shufflenet_v1_g3", 1.0, (240, 480, 960), 904_728, 3_381_248),
        ("meddet_d2", "shufflenet_v1_g3", 0.5, (120, 240, 480), 237_324, 3_166_208),
        ("timm", "mobilenetv2_100", 1.0, (32, 96, 320), 1_811_712, 3_065_856),
        ("timm", "convnext_atto", 1.0, (80, 160, 320), 3_373_880, 3_094_528),
    ],
)
def test_channels_strides_and_sizes(library, name, width_mult, channels, params, fpn_params):
    with torch.device("cpu" if library == "timm" else "meta"):
        bottom_up = BottomUp(library=library, name=name, width_mult=width_mult)
        pyramid = GFLFPN(bottom_up=bottom_up, out_channels=256).eval()
        with torch.no_grad():
            features = bottom_up.eval()(torch.zeros(2, 3, 64, 96))
            levels = pyramid(torch.zeros(2, 3, 64, 96))
    shapes = bottom_up.output_shape()
    assert {f: (s.channels, s.stride) for f, s in shapes.items()} == {
        f: (c, s) for f, c, s in zip(("c3", "c4", "c5"), channels, (8, 16, 32), strict=True)
    }
    assert {f: tuple(x.shape) for f, x in features.items()} == {
        f: (2, s.channels, 64 // s.stride, 96 // s.stride) for f, s in shapes.items()
    }
    assert num_params(bottom_up) == params
    assert num_params(pyramid) - params == fpn_params
    assert [tuple(x.shape) for x in levels.values()] == [
        (2, 256, 8, 12), (2, 256, 4, 6), (2, 256, 2, 3), (2, 256, 1, 2), (2, 256, 1, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("network", [SMALL, RESNET, MOBILENET, EFFICIENTNET, SHUFFLENET, SHUFFLENET_V2])
@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (4, 8), (16, 32), (4,)])
def test_strides_are_a_key(network, strides):
    with torch.device("cpu" if network["library"] == "timm" else "meta"):
        bottom_up = BottomUp(**network, strides=strides).eval()
        features = bottom_up(torch.zeros(1, 3, 64, 96))
    names = [f"c{int(math.log2(stride))}" for stride in strides]
    assert list(features) == names and [s.stride for s in bottom_up.output_shape().values()] == list(strides)
    for (name, shape), stride in zip(bottom_up.output_shape().items(), strides, strict=True):
        assert tuple(features[name].shape) == (1, shape.channels, 64 // stride, 96 // stride)
    # The other levels' maps are what they are by default, and what no map needs is not there.
    default = dict(BottomUp(**network).named_parameters())
    for name, p in bottom_up.named_parameters():
        assert p.shape == default[name].shape


def test_a_pyramid_of_stride_4():
    cfg = config(LIBRARY="timm", NAME="resnet10t", STRIDES=(4, 8, 16))
    cfg.MODEL.GFL.IN_FEATURES = ("p2", "p3", "p4", "p5")
    pyramid = build_backbone(cfg).eval()
    assert pyramid.size_divisibility == 16
    maps = pyramid(torch.zeros(1, 3, 64, 80))
    assert {name: tuple(x.shape[2:]) for name, x in maps.items()} == {
        "p2": (16, 20), "p3": (8, 10), "p4": (4, 5), "p5": (2, 3)
    }  # fmt: skip


def test_build_through_the_registry():
    backbone = build_backbone(config())
    assert isinstance(
        backbone, BACKBONE_REGISTRY.get("build_gfl_fpn_backbone")(config(), ShapeSpec(channels=3)).__class__
    )
    assert {f: (s.channels, s.stride) for f, s in backbone.output_shape().items()} == {
        f"p{i}": (16, 2**i) for i in range(3, 8)
    }
    assert backbone.size_divisibility == 32
    sizes = [tuple(x.shape[2:]) for x in backbone(torch.zeros(1, 3, 64, 64)).values()]
    assert sizes == [(8, 8), (4, 4), (2, 2), (1, 1), (1, 1)]
    with pytest.raises(ValueError, match=r"MODEL\.PIXEL_MEAN has 1 values"):
        BACKBONE_REGISTRY.get("build_gfl_fpn_backbone")(config(), ShapeSpec(channels=1))


def test_pyramid_is_xavier_uniform_and_has_no_relu_before_p7():
    torch.manual_seed(0)
    pyramid = GFLFPN(bottom_up=BottomUp(**SMALL), out_channels=64)
    before = pyramid.bottom_up.state_dict()
    convs = {n: m for n, m in pyramid.named_modules() if isinstance(m, nn.Conv2d) and not n.startswith("bottom_up")}
    assert len(convs) == 8
    for conv in convs.values():
        kernel = conv.weight[0, 0].numel()
        bound = (6 / (kernel * (conv.in_channels + conv.out_channels))) ** 0.5
        assert 0.95 * bound < conv.weight.abs().max() <= bound
        assert not conv.bias.any()
    torch.manual_seed(0)
    untouched = BottomUp(**SMALL).state_dict()
    assert all(torch.equal(untouched[key], before[key]) for key in untouched)

    top = TopBlockP6P7(channels=4)
    p6, p7 = top(torch.randn(1, 4, 8, 8))
    assert p6.min() < 0
    torch.testing.assert_close(p7, top.convs[1](p6))


@pytest.mark.parametrize(
    ("in_features", "names"),
    [(("p3", "p4", "p5"), "p3 p4 p5"), (("p3", "p4", "p5", "p6"), "p3 p4 p5 p6"), (("p3", "p7"), "p3 p4 p5 p6 p7")],
)
def test_p6_and_p7_are_there_for_a_head_that_reads_them(in_features, names):
    cfg = config(LIBRARY="timm", NAME="resnet10t")
    cfg.MODEL.GFL.IN_FEATURES = in_features
    pyramid = build_backbone(cfg).eval()
    assert " ".join(pyramid.output_shape()) == names and pyramid.size_divisibility == 32
    maps = pyramid(torch.zeros(1, 3, 128, 128))
    assert {name: x.shape[-1] for name, x in maps.items()} == {name: 128 // 2 ** int(name[1]) for name in names.split()}
    assert len(getattr(pyramid.top_block, "convs", [])) == len(names.split()) - 3


def test_norm_of_the_pyramid():
    pyramid = GFLFPN(bottom_up=BottomUp(**SMALL), out_channels=64, norm="GN")
    assert sum(isinstance(m, nn.GroupNorm) for m in pyramid.modules()) == 8
    assert all(m.bias is None for n, m in pyramid.named_modules() if n.startswith("fpn") and isinstance(m, nn.Conv2d))
    assert len(pyramid.eval()(torch.zeros(1, 3, 64, 64))) == 5


@pytest.mark.parametrize("network", [SMALL, EFFICIENTNET, SHUFFLENET, SHUFFLENET_V2])
def test_norm_eval_keeps_running_statistics(network):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for norm_eval in (True, False):
        bottom_up = BottomUp(**network, norm_eval=norm_eval).train()
        before = {name: buffer.clone() for name, buffer in bottom_up.named_buffers()}
        bottom_up(images)
        assert all(torch.equal(before[n], b) for n, b in bottom_up.named_buffers()) == norm_eval
        norms = [m for m in bottom_up.modules() if isinstance(m, nn.BatchNorm2d)]
        assert all(m.training != norm_eval and m.weight.requires_grad for m in norms)
        assert bottom_up.training and not bottom_up.eval().training


@pytest.mark.parametrize(
    "network, first_learning",
    [
        (
            {"library": "torchvision", "name": "resnet50"},
            ("conv1", "layer1.0", "layer2.0", "layer3.0", "layer4.0", None),
        ),
        (MOBILENET, ("0.0", "2.conv", "4.conv", "7.conv", "14.conv", None)),
        (EFFICIENTNET, ("0.0", "2.0", "3.0", "4.0", "6.0", None)),
        # Both have nothing but a pooling at stride 4.
        (SHUFFLENET_V2, ("conv1", "stage2.0", "stage2.0", "stage3.0", "stage4.0", None)),
        (SHUFFLENET, ("conv1", "stage2.0", "stage2.0", "stage3.0", "stage4.0", None)),
        (SMALL, ("model.conv1", "model.layer1", "model.layer2", "model.layer3", "model.layer4", None)),
        (
            {"library": "timm", "name": "mobilenetv2_050"},
            ("model.conv_stem", "model.blocks.1", "model.blocks.2", "model.blocks.3", "model.blocks.5", None),
        ),
        (
            {"library": "timm", "name": "convnext_atto"},
            ("model.stem_0", "model.stages_0", "model.stages_1", "model.stages_2", "model.stages_3", None),
        ),
    ],
)
def test_freezing_goes_stage_by_stage(network, first_learning):
    device = "cpu" if network["library"] == "timm" else "meta"
    for freeze_at, name in enumerate(first_learning):
        with torch.device(device):
            bottom_up = BottomUp(**network, freeze_at=freeze_at)
        names = [n for n, _ in bottom_up.named_parameters()]
        frozen = names_of_frozen(bottom_up)
        assert frozen == names[: len(frozen)], "one stretch from the start"
        assert (names[len(frozen)].startswith(f"body.{name}")) if name else len(frozen) == len(names)


@pytest.mark.parametrize("norm", ["BN", "GN"])
def test_frozen_stages_stay_as_they_are(norm):
    bottom_up = BottomUp(**MOBILENET, norm=norm, freeze_at=2).train()
    children = list(bottom_up.body.children())
    kept, rest = nn.Sequential(*children[:4]), nn.Sequential(*children[4:])
    frozen = [m for m in kept.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)]
    learning = [m for m in rest.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)]
    assert all(not p.requires_grad for m in frozen for p in m.parameters())
    assert all(p.requires_grad for m in learning for p in m.parameters())
    if norm == "BN":
        assert not any(m.training for m in frozen) and all(m.training for m in learning)
    before = {name: value.clone() for name, value in kept.state_dict().items()}
    sum(f.sum() for f in bottom_up(torch.randn(2, 3, 64, 64)).values()).backward()
    torch.optim.SGD([p for p in bottom_up.parameters() if p.requires_grad], 0.1).step()
    assert all(torch.equal(before[n], v) for n, v in kept.state_dict().items())


def test_nmode_after_every_output():
    cfg = config()
    cfg.MODEL.NMODE.KIND = "nmode2"
    cfg.MODEL.NMODE.READOUT = "plain"
    cfg.MODEL.NMODE.PLACES = ("backbone", "fpn")
    torch.manual_seed(0)
    backbone = build_backbone(cfg).eval()
    assert sum(isinstance(m, NMODEBlock) for m in backbone.modules()) == 8
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = [*backbone.bottom_up(images).values(), *backbone(images).values()]
    assert all(x.min() >= 0 and x.max() < 1 for x in maps)
    cfg.MODEL.NMODE.PLACES = ("head",)
    assert not any(isinstance(m, NMODEBlock) for m in build_backbone(cfg).modules())


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"library": "torchvision", "name": "resnet51"}, r"MODEL\.BOTTOM_UP\.NAME.*'resnet51'.*resnet50"),
        ({"library": "timm", "name": "mobilenetv2_10"}, r"MODEL\.BOTTOM_UP\.NAME.*mobilenetv2_100"),
        (
            {"library": "timm", "name": "vit_tiny_patch16_224"},
            r"vit_tiny_patch16_224 has.*\[16\].*STRIDES, 8, 16, 32",
        ),
        (
            {"library": "timm", "name": "levit_128s"},
            r"NAME: timm's levit_128s has .* strides \[16, 32, 64\]",
        ),
        ({"library": "timm", "name": "efficientvit_m0"}, r"timm's efficientvit_m0 has .* strides \[16, 32, 64\]"),
        (
            {"library": "timm", "name": "efficientformer_l1"},
            r"NAME: timm's efficientformer_l1 does not run on .*512x512",
        ),
        ({**SMALL, "strides": (2, 64)}, r"MODEL\.BOTTOM_UP\.STRIDES is \(2, 64\)"),
        ({**SMALL, "strides": (6, 12)}, r"MODEL\.BOTTOM_UP\.STRIDES is \(6, 12\)"),
        ({**SMALL, "strides": ()}, r"MODEL\.BOTTOM_UP\.STRIDES is \(\)"),
        ({**SMALL, "strides": (32, 64)}, r"resnet10t has feature maps at strides \[2, 4, 8, 16, 32\]; .*32, 64"),
        ({**RESNET, "strides": (2, 4)}, r"resnet50 has feature maps at strides \[4, 8, 16, 32\]"),
        ({**SHUFFLENET, "strides": (2, 4)}, r"shufflenet_v1_g3 has feature maps at strides \[4, 8, 16, 32\]"),
        ({"library": "meddet_d2", "name": "shufflenet_v1_g5"}, r"MODEL\.BOTTOM_UP\.NAME.*_g1,.*_g2,.*_g3,.*_g4,.*_g8"),
        ({"library": "keras", "name": "resnet50"}, r"MODEL\.BOTTOM_UP\.LIBRARY.*'keras'"),
        ({**SMALL, "norm": "LN"}, r"MODEL\.BOTTOM_UP\.NORM.*'LN'"),
        ({**SMALL, "freeze_at": 6}, r"MODEL\.BACKBONE\.FREEZE_AT is 6"),
        ({**SMALL, "width_mult": 0.5}, r"MODEL\.BOTTOM_UP\.WIDTH_MULT"),
        ({**RESNET, "width_mult": 0.5}, r"MODEL\.BOTTOM_UP\.WIDTH_MULT.*resnet50"),
        ({**EFFICIENTNET, "width_mult": 1.4}, r"MODEL\.BOTTOM_UP\.WIDTH_MULT.*efficientnet_b0"),
        ({**SHUFFLENET, "width_mult": 0.3}, r"MODEL\.BOTTOM_UP\.WIDTH_MULT 0\.3.*3 groups.*0\.25, 0\.5,"),
        ({**SHUFFLENET, "width_mult": 0.0}, r"MODEL\.BOTTOM_UP\.WIDTH_MULT 0\.0"),
        ({"library": "timm", "name": "hrnet_w18_small", "freeze_at": 1}, r"MODEL\.BACKBONE\.FREEZE_AT 1.*set 0"),
    ],
)
def test_wrong_settings_name_the_key(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        BottomUp(**settings)
    assert "\n" not in str(caught.value)

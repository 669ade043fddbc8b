"""Counting parameters and multiply-adds: by hand, against the paper's figures, and through the command line."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import small_landmarks
import torch
from tiny_runs import default_cfg
from torch import nn

import meddet_d2
from detectron2.modeling import build_model
from meddet_d2.distillation.tasks import TASK_REGISTRY, BoxesGFL
from meddet_d2.evaluation.complexity import count, format_table

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools/analyze_model.py"

# Bottom-up and pyramid as measured elsewhere; the head by hand: two towers of four 3x3 convolutions with GroupNorm, the
# predictors of 2 classes and of 4 x 17 bins, and five scales.
STUDENT = 2_223_872 + 3_311_616 + 8 * (256 * 256 * 9 + 512) + (256 * 9 + 1) * (2 + 68) + 5


def detector(*overrides, name="mobilenet_v2", width_mult=1.0):
    """A GFL detector whose weights are never written, so that a ResNet-152 is built in a moment."""
    cfg = default_cfg()
    cfg.MODEL.META_ARCHITECTURE = "GFL"
    cfg.MODEL.BACKBONE.NAME = "build_gfl_fpn_backbone"
    cfg.MODEL.BOTTOM_UP.NAME = name
    cfg.MODEL.BOTTOM_UP.WIDTH_MULT = width_mult
    cfg.MODEL.BOTTOM_UP.PRETRAINED = False
    cfg.merge_from_list(list(overrides))
    with pytest.MonkeyPatch.context() as patch:
        for init in ("kaiming_normal_", "kaiming_uniform_", "xavier_uniform_", "normal_", "uniform_"):
            patch.setattr(nn.init, init, lambda tensor, *args, **kwargs: tensor)
        return build_model(cfg)


class Toy(nn.Module):
    """A detector in shape: one level, whose head runs on it twice."""

    class Backbone(nn.Module):
        size_divisibility = 4

        def __init__(self):
            super().__init__()
            conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
            self.bottom_up = nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU6())
            self.lateral = nn.Conv2d(8, 4, 1)

        def forward(self, x):
            return {"p": self.lateral(self.bottom_up(x))}

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 3, padding=1, groups=2)
            self.norm = nn.GroupNorm(2, 4)
            self.fc = nn.Linear(4, 5)

        def forward(self, features):
            return [self.fc(self.norm(self.conv(f)).mean(dim=(2, 3))) for f in features]

    def __init__(self):
        super().__init__()
        self.backbone = self.Backbone()
        self.head = self.Head()
        self.in_features = ("p", "p")


@TASK_REGISTRY.register()
class ToyTask(BoxesGFL):
    architectures = ("Toy",)

    def raw_outputs(self, network, images):
        features = network.backbone(images)
        return network.head([features[name] for name in network.in_features])


def test_a_net_worked_out_by_hand():
    # 10 x 14 is padded to 12 x 16, so the level has 6 x 8 = 48 locations.
    figures = count(Toy(), 10, 14)
    assert figures["parts"] == {
        "bottom_up": {
            "params": 8 * 3 * 9 + 2 * 8,
            "macs": 48 * 8 * 27,
            "macs_mmcv": 48 * 8 * 27 + 2 * 48 * 8 + 48 * 8,  # convolution, affine norm, ReLU6
        },
        "fpn": {"params": 8 * 4 + 4, "macs": 48 * 4 * 8, "macs_mmcv": 48 * 4 * 8 + 48 * 4},
        "head": {
            "params": 4 * 2 * 9 + 4 + 2 * 4 + 4 * 5 + 5,
            "macs": 2 * (48 * 4 * 18 + 20),  # two levels; each output sees half of the channels
            "macs_mmcv": 2 * (48 * 4 * 18 + 48 * 4 + 2 * 48 * 4 + 20),
        },
    }
    for key in ("params", "macs", "macs_mmcv"):
        assert figures[key] == sum(part[key] for part in figures["parts"].values())


@pytest.mark.parametrize(
    "layer, x, macs, macs_mmcv",
    [
        (nn.InstanceNorm2d(3), (1, 3, 4, 4), 0, 48),
        (nn.LayerNorm(4), (2, 4), 0, 16),
        (nn.MaxPool2d(2), (1, 3, 4, 4), 0, 48),
        (nn.Linear(4, 5), (3, 4), 60, 60),
        (nn.Sigmoid(), (1, 3, 4, 4), 0, 0),
        (nn.ConvTranspose2d(3, 5, 2, stride=2, bias=False), (1, 3, 4, 4), 16 * 3 * 5 * 4, 16 * 3 * 5 * 4),
    ],
)
def test_layers(layer, x, macs, macs_mmcv):
    figures = count(layer, 1, 1, run=lambda model, images: model(images.new_empty(x)))
    assert (figures["macs"], figures["macs_mmcv"]) == (macs, macs_mmcv)
    assert set(figures["parts"]) >= {"other"} or not any(figures[key] for key in ("params", "macs", "macs_mmcv"))


@pytest.mark.parametrize(
    "attention",
    [
        torch.nn.functional.scaled_dot_product_attention,
        lambda q, k, v: (q @ k.transpose(-1, -2)).softmax(-1) @ v,
        lambda q, k, v: torch.einsum("bhqk,bhkc->bhqc", torch.einsum("bhqc,bhkc->bhqk", q, k).softmax(-1), v),
        lambda q, k, v: torch.bmm(torch.bmm(q[0], k[0].transpose(1, 2)).softmax(-1), v[0]),
    ],
    ids=["scaled_dot_product_attention", "matmul", "einsum", "bmm"],
)
def test_attention_is_counted_however_it_is_written(attention):
    """Queries (1, 4, 16, 8) on 20 keys: each of the two products takes heads x queries x keys x channels."""

    class Network(nn.Module):
        def forward(self, images):
            keys = images.new_empty(1, 4, 20, 8)
            return attention(images.new_empty(1, 4, 16, 8), keys, keys)

    figures = count(Network(), 1, 1, run=lambda model, images: model(images))
    assert figures["macs"] == figures["macs_mmcv"] == 2 * 4 * 16 * 20 * 8


def test_attention_in_a_part_is_that_parts():
    toy = Toy()
    plain = count(toy, 10, 14)
    toy.head.fc = nn.Sequential(toy.head.fc, nn.Unflatten(1, (1, 5)), nn.MultiheadAttention(5, 1, batch_first=True))
    toy.head.fc[2].forward = lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, x)
    with_attention = count(toy, 10, 14)
    assert with_attention["parts"]["head"]["macs"] - plain["parts"]["head"]["macs"] == 2 * 2 * 5
    assert with_attention["parts"]["fpn"] == plain["parts"]["fpn"]


def test_the_paper_s_student_to_the_last_digit():
    figures = count(detector(), 512, 512)
    assert figures["params"] == STUDENT
    assert f"{figures['params'] / 1e6:.2f}" == "10.42"
    assert f"{figures['macs_mmcv'] / 1e9:.2f}" == "31.69"
    assert f"{figures['macs'] / 1e9:.2f}" == "31.55"
    assert {name: round(part["params"] / 1e6, 4) for name, part in figures["parts"].items()} == {
        "bottom_up": 2.2239,
        "fpn": 3.3116,
        "head": 4.884,
    }
    assert figures["parts"]["head"]["macs"] / figures["macs"] == pytest.approx(0.84, abs=0.01)


@pytest.mark.parametrize(
    "name, width_mult, params, macs, macs_mmcv",
    [
        ("resnet50", 1.0, 32.2607, 52.14, 52.34),
        ("resnet101", 1.0, 51.2529, 71.5, 71.82),
        ("resnet152", 1.0, 66.8965, 90.9, 91.31),
        ("mobilenet_v2", 1.4, 12.657, 33.1, 33.26),
    ],
)
def test_teachers_and_the_wider_student(name, width_mult, params, macs, macs_mmcv):
    figures = count(detector(name=name, width_mult=width_mult), 512, 512)
    assert figures["params"] / 1e6 == pytest.approx(params, abs=1e-3)
    assert figures["macs"] / 1e9 == pytest.approx(macs, abs=0.06)
    assert figures["macs_mmcv"] / 1e9 == pytest.approx(macs_mmcv, abs=0.006)


def test_the_light_student_is_light():
    cfg = meddet_d2.load_config(str(ROOT / "configs/meddet/meddet_nano.yaml"), ["MODEL.BOTTOM_UP.PRETRAINED", False])
    cfg.MODEL.DEVICE = "cpu"
    figures = count(build_model(cfg), 512, 512)
    # A tower of two separable convolutions, predictors, scales and nmODE^2; three laterals and three convolutions.
    head = 2 * (64 * 9 + 64 * 64 + 128) + 2 * 64 * 9 + (64 + 1) * (2 + 68) + 3 + 2 * 64
    fpn = (24 + 72 + 1280 + 3) * 64 + 3 * (64 * 64 * 9 + 64)
    assert {part: size["params"] for part, size in figures["parts"].items()} == {
        "bottom_up": 1_355_424,  # torchvision's mobilenet_v2 of width 0.75 without its classifier
        "fpn": fpn,
        "head": head,
    }
    assert figures["params"] <= 2.5e6
    assert figures["macs_mmcv"] / 1e9 == pytest.approx(1.49, abs=0.005)


@pytest.mark.parametrize("solver", ["flow_map", "rk4", "odeint"])
def test_nmode_in_the_head_adds_1024_parameters_and_nothing_else(solver):
    plain = count(detector(), 64, 64)
    # "after" keeps the ReLU that mmcv counts.
    keys = ("MODEL.NMODE.KIND", "nmode2", "MODEL.NMODE.SOLVER", solver, "MODEL.NMODE.RELU", "after")
    model = detector(*keys)
    figures = count(model, 64, 64)
    assert figures["params"] - plain["params"] == 1024
    assert (figures["macs"], figures["macs_mmcv"]) == (plain["macs"], plain["macs_mmcv"])
    assert model.head.cls_nmode.solver == solver


def test_the_model_stays_as_it_is():
    model = detector().train()
    before = {name: (id(p), p.device.type) for name, p in model.named_parameters()}
    count(model, 64, 64)
    assert before == {name: (id(p), p.device.type) for name, p in model.named_parameters()}
    assert {device for _, device in before.values()} == {"cpu"} and model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_convolutions_agree_with_fvcore():
    fvcore_nn = pytest.importorskip("fvcore.nn")
    backbone = detector().backbone.eval()
    analysis = fvcore_nn.FlopCountAnalysis(backbone, torch.zeros(1, 3, 64, 64))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    figures = count(detector(), 64, 64)["parts"]
    assert analysis.by_operator()["conv"] == figures["bottom_up"]["macs"] + figures["fpn"]["macs"]


@pytest.mark.parametrize("size", [0, -512])
def test_a_size_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match="at least one pixel"):
        count(Toy(), size, 512)


def test_another_kind_of_model_is_refused():
    with pytest.raises(ValueError, match=r"MODEL\.META_ARCHITECTURE is Sequential, which no task"):
        count(nn.Sequential(), 512, 512)


def test_table_has_a_row_for_every_part():
    rows = format_table(count(Toy(), 16, 16)).splitlines()
    assert [row.split()[0] for row in rows] == ["part", "bottom_up", "fpn", "head", "all"]


def test_command_prints_one_json_object_and_nothing_else():
    arguments = ["--config-file", "configs/meddet.yaml", "--size", "512", "--json", "MODEL.GFL.NUM_CLASSES", "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(TOOL), *arguments], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert figures["size"] == 512
    # nmODE^2 and one class more than the paper's student has.
    assert figures["params"] == STUDENT + 1024 + 9 * 256 + 1
    assert set(figures["parts"]) == {"bottom_up", "fpn", "head"}
    for part in figures["parts"].values():
        assert set(part) == {"params", "macs", "macs_mmcv"}


def run_here(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [TOOL.name, *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name="__main__")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--config-file", "no/such.yaml"), "no/such.yaml"),
        (("--config-file", "configs/backbones/gfl_r50.yaml", "MODEL.BOTTOM_UP.NAM", "resnet50"), "MODEL.BOTTOM_UP.NAM"),
        (("--config-file", "configs/backbones/gfl_r50.yaml", "MODEL.BOTTOM_UP.NAME", "resnet500"), "resnet500"),
    ],
)
def test_command_tells_a_mistake_in_one_line(monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as stopped:
        run_here(monkeypatch, *arguments)
    said = capsys.readouterr()
    assert stopped.value.code == 1 and not said.out
    assert said.err.startswith("error: ") and message in said.err and said.err.count("\n") == 1


def test_command_prints_a_table_and_downloads_nothing(monkeypatch, capsys):
    for place in ("torch.hub", "torchvision.models._api"):
        monkeypatch.setattr(f"{place}.load_state_dict_from_url", lambda *_, **__: pytest.fail("it downloads"))
    with pytest.raises(SystemExit) as ended:
        run_here(monkeypatch, "--config-file", ROOT / "configs/backbones/gfl_mobilenetv2.yaml")
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["all", "10.4195", "31.55", "31.69"]


def test_auxiliary_heads_are_not_counted():
    """A teacher of several tasks is used without them."""
    plain, several = small_landmarks.network(), small_landmarks.network(*small_landmarks.ALL_TASKS)
    assert count(several, 64, 64) == count(plain, 64, 64)
    assert len(several.auxiliary) == 2, "the network itself stays as it is"

"""Stacked hourglasses: their sizes, and who makes the heat maps."""

import pytest
import torch
from small_landmarks import HOURGLASS, config, network
from torch import nn

from detectron2.modeling import build_model
from meddet_d2.evaluation.complexity import count
from meddet_d2.modeling.heatmap.hourglass import even_stacks


# Millions of parameters and 10^9 multiply-adds at 256 x 256, counted by hand from the layers.
@pytest.mark.parametrize(
    "stacks, channels, landmarks, params, macs",
    [
        (8, 256, 16, 25.43, 27.4), (8, 256, 37, 25.51, 27.8),
        (4, 256, 16, 12.86, 14.7), (4, 256, 37, 12.90, 14.9),
        (4, 128, 16, 3.25, 3.74), (4, 128, 37, 3.27, 3.82),
        (2, 128, 16, 1.66, 2.13), (2, 128, 37, 1.67, 2.17),
        (1, 128, 37, 0.87, 1.34), (2, 64, 37, 0.43, 0.58), (1, 64, 37, 0.22, 0.36),
    ],
)  # fmt: skip
def test_sizes(stacks, channels, landmarks, params, macs):
    keys = ["MODEL.HOURGLASS.STACKS", stacks, "MODEL.HOURGLASS.CHANNELS", channels, "MODEL.DEVICE", "meta"]
    model = build_model(config(*keys, "MODEL.LANDMARK.NUM_KEYPOINTS", landmarks, kind=HOURGLASS))
    figures = count(model, 256, 256)
    digits = 1 if macs >= 10 else 2
    assert round(figures["params"] / 1e6, 2) == params
    assert round(figures["macs"] / 1e9, digits) == macs
    assert sum(part["macs"] for part in figures["parts"].values()) == figures["macs"]


def test_one_small_net_to_the_last_digit():
    figures = count(network("MODEL.HOURGLASS.STACKS", 1, kind=HOURGLASS).to("meta"), 64, 64)

    def residual(c, d, size):
        return (c * d // 2 + 9 * (d // 2) ** 2 + d // 2 * d + (c * d if c != d else 0)) * size**2

    stem = 3 * 49 * 4 * 32**2 + residual(4, 8, 32) + residual(8, 8, 16) + residual(8, 16, 16)
    levels = sum(residual(16, 16, 16 >> i) + 2 * residual(16, 16, 8 >> i) for i in range(4))
    rest = residual(16, 16, 1) + residual(16, 16, 16) + (16 * 16 + 16 * 3) * 16**2
    assert figures["macs"] == stem + levels + rest


def test_each_stack_shows_a_map_and_a_checkpoint_has_the_scores_once():
    model = network(kind=HOURGLASS).eval()
    assert model.in_features == ("stack1", "stack2") and model.strides == (4, 4)
    maps = model.backbone(torch.randn(2, 3, 64, 128))
    assert {name: tuple(x.shape) for name, x in maps.items()} == dict.fromkeys(("stack1", "stack2"), (2, 16, 16, 32))
    assert [name for name in model.state_dict() if name.startswith("head.")] == []
    heatmaps = model.head(list(maps.values()))
    for index, (found, shown) in enumerate(zip(heatmaps, maps.values(), strict=True)):
        assert torch.equal(found, model.backbone.scores[index](shown))
    assert torch.equal(model.head.last(list(maps.values())), heatmaps[-1])
    # Of one map alone it is the last stack's, for a student that has fewer.
    assert torch.equal(model.head([maps["stack2"]])[0], heatmaps[-1])


def test_a_stack_sees_the_maps_and_the_scores_of_the_one_before():
    model, images = network(kind=HOURGLASS).eval(), torch.randn(1, 3, 64, 64)
    before = model.backbone(images)
    for part in (model.backbone.scores[0], model.backbone.feature_back[0]):
        kept = part.weight.detach().clone()
        nn.init.normal_(part.weight)
        after = model.backbone(images)
        assert torch.equal(before["stack1"], after["stack1"]) and not torch.equal(before["stack2"], after["stack2"])
        part.weight.data.copy_(kept)


def test_stacks_at_equal_parts_of_the_depth():
    assert even_stacks(8, 4) == [1, 3, 5, 7] and even_stacks(8, 1) == [7] and even_stacks(4, 4) == [0, 1, 2, 3]
    assert even_stacks(4, 3) == [0, 1, 3] and even_stacks(8, 3) == [1, 4, 7]


@pytest.mark.parametrize(
    "options, message",
    [
        (["MODEL.HOURGLASS.STACKS", 0], "MODEL.HOURGLASS.STACKS is 0; it must be at least 1"),
        (["MODEL.HOURGLASS.CHANNELS", 6], "MODEL.HOURGLASS.CHANNELS is 6; it must be a multiple of 4"),
        (["MODEL.LANDMARK.IN_FEATURES", ("stack2",)], "MODEL.LANDMARK.IN_FEATURES .*leave it empty"),
        (["MODEL.PIXEL_MEAN", [1.0], "MODEL.PIXEL_STD", [1.0]], "MODEL.PIXEL_MEAN has 1 values.*3 channels"),
    ],
)
def test_what_cannot_be_built_is_one_line(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        network(*options, kind=HOURGLASS)
    assert "\n" not in str(caught.value)

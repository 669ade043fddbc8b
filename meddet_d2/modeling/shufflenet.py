"""ShuffleNet v1 (Zhang et al., CVPR 2018), which neither torchvision nor timm has, as a feature extractor.

Its 1x1 convolutions are grouped, and between two of them the channels are shuffled, so that every group of the second
sees all groups of the first.

Shape legend:
    N: images; C: channels; H, W: height and width of the input in pixels; g: groups
"""

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from .bodies import SHUFFLENET_STAGES, STRIDES, Body, places, unknown_name, warn_of_random_weights

# The paper's table 1: channels of stages 2, 3, 4 for every number of groups, at much the same cost.
STAGE_CHANNELS = {1: (144, 288, 576), 2: (200, 400, 800), 3: (240, 480, 960), 4: (272, 544, 1088), 8: (384, 768, 1536)}
STAGE_UNITS = (4, 8, 4)
STEM_CHANNELS = 24
SHUFFLENETS = {f"shufflenet_v1_g{groups}": groups for groups in STAGE_CHANNELS}
USUAL_WIDTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Deal the channels out: channel i of group k becomes channel k of group i.

    Args:
        x: (N, C, ...), C a multiple of ``groups``.

    Returns:
        (N, C, ...). Shuffling that by C / groups gives ``x`` again.
    """
    # torch's own channel_shuffle does the same, but torch.onnx cannot export it by tracing.
    return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class ShuffleUnit(nn.Module):
    """Figure 2 of the paper: a bottleneck of grouped 1x1, shuffle, depthwise 3x3 and grouped 1x1 beside a shortcut.

    With stride 1 the two are added. With stride 2 the shortcut is the input's average pooling, and the bottleneck makes
    the channels that it lacks.

    Args:
        in_channels: of the input; with stride 1 as many as ``out_channels``.
        out_channels: of the output. The bottleneck has a quarter of them.
        stride: 1 or 2.
        groups: of the shuffle and of the last convolution; they divide the bottleneck and what it makes.
        first_groups: of the first convolution.
    """

    def __init__(self, *, in_channels: int, out_channels: int, stride: int, groups: int, first_groups: int):
        super().__init__()
        bottleneck = out_channels // 4
        made = out_channels if stride == 1 else out_channels - in_channels
        self.groups = groups
        linear = partial(Conv2dNormActivation, bottleneck, activation_layer=None)
        self.reduce = Conv2dNormActivation(in_channels, bottleneck, 1, groups=first_groups)
        self.depthwise = linear(bottleneck, 3, stride=stride, groups=bottleneck)
        self.expand = linear(made, 1, groups=groups)
        self.pool = None if stride == 1 else nn.AvgPool2d(3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride), rounded up."""
        y = channel_shuffle(self.reduce(x), self.groups)
        y = self.expand(self.depthwise(y))
        return self.relu(x + y if self.pool is None else torch.cat((self.pool(x), y), dim=1))


class ShuffleNetBody(Body):
    """ShuffleNet v1 up to its last stage, with the interface of the bodies in ``bodies.py``.

    Args:
        name: a key of ``SHUFFLENETS``, which tells the number of groups; shufflenet_v1_g3 is the field's usual one.
        strides: of the maps, in ``STRIDES``; the stem's pooling is the map of stride 4.
        width_mult: channels relative to the published network, the stem's too.
        pretrained: there are no weights for it; a warning says so.

    Raises:
        ValueError: the name or a stride is unknown, or the width leaves channels that the groups do not divide.
    """

    def __init__(self, *, name: str, strides: tuple[int, ...], width_mult: float = 1.0, pretrained: bool = False):
        super().__init__()
        if name not in SHUFFLENETS:
            raise ValueError(unknown_name("meddet_d2", name, SHUFFLENETS))
        groups = SHUFFLENETS[name]
        if not _fits(groups, width_mult):
            usual = ", ".join(str(width) for width in USUAL_WIDTHS if _fits(groups, width))
            raise ValueError(
                f"MODEL.BOTTOM_UP.WIDTH_MULT {width_mult}: the {groups} groups of {name} do not divide such channels; "
                f"choose for example {usual}."
            )
        if pretrained:
            warn_of_random_weights(f"meddet_d2's {name}", "there are none for this implementation")

        chosen = places(f"meddet_d2's {name}", STRIDES, strides)
        channels = stem, *_ = _channels(groups, width_mult)
        children: dict[str, nn.Module] = {
            "conv1": Conv2dNormActivation(3, stem, 3, stride=2),
            "maxpool": nn.MaxPool2d(3, stride=2, padding=1),
        }
        for index, (name, units) in enumerate(zip(SHUFFLENET_STAGES[1:], STAGE_UNITS, strict=True)):
            # The stem's channels are too few to be grouped.
            first_groups = groups if index else 1
            children[name] = _stage(
                channels[index], channels[index + 1], units=units, groups=groups, first_groups=first_groups
            )
        self.set_children(children.items(), SHUFFLENET_STAGES, tuple(SHUFFLENET_STAGES[i] for i in chosen))
        self.channels = [channels[i] for i in chosen]


def _stage(in_channels: int, out_channels: int, *, units: int, groups: int, first_groups: int) -> nn.Sequential:
    first = ShuffleUnit(
        in_channels=in_channels, out_channels=out_channels, stride=2, groups=groups, first_groups=first_groups
    )
    rest = (
        ShuffleUnit(in_channels=out_channels, out_channels=out_channels, stride=1, groups=groups, first_groups=groups)
        for _ in range(units - 1)
    )
    return nn.Sequential(first, *rest)


def _channels(groups: int, width_mult: float) -> tuple[int, ...]:
    """Of the stem and of stages 2, 3, 4."""
    return tuple(round(channels * width_mult) for channels in (STEM_CHANNELS, *STAGE_CHANNELS[groups]))


def _fits(groups: int, width_mult: float) -> bool:
    """Whether the groups divide all that is grouped: a quarter of every stage, and what the first adds to the stem."""
    stem, *stages = _channels(groups, width_mult)
    return stem > 0 and (stages[0] - stem) % groups == 0 and all(c % (4 * groups) == 0 for c in stages)

"""Fusion of several teachers' aligned maps to one, equations 7 to 11 of the MedDet paper.

Shapes in this module: K teachers, N images, C channels, (H, W) the size of one level's map. Each is for one level.

A fused map is taught through the lead teacher's frozen head. A fusion that can starts as that teacher's map, which this
head understands from the first step, or as the mean of all maps, which is what Sum has and which AFA brings together.
"""

from collections.abc import Sequence
from typing import Any

import torch
from fvcore.common.registry import Registry
from torch import Tensor, nn

from meddet_d2.config.arguments import require_choice

FUSION_REGISTRY = Registry("FUSION")
FUSION_REGISTRY.__doc__ = """
Ways to fuse K teachers' maps of one level: modules with the keyword arguments ``channels``, ``num_teachers``,
``activation``, ``lead`` and ``start``, and with ``forward(features)``, K maps (N, C, H, W) -> (N, C, H, W).
"""

ACTIVATIONS = ("sigmoid", "softmax", "none")
STARTS = ("lead", "mean")


def build_fusion(
    name: str, *, channels: int, num_teachers: int, activation: str, lead: int, start: str = "lead"
) -> nn.Module:
    """Build the fusion of one level.

    Args:
        name: in ``FUSION_REGISTRY``.
        channels: C.
        num_teachers: K.
        activation: one of ``ACTIVATIONS``; only LWFF has one.
        lead: index of the teacher whose head teaches the fused map.
        start: one of ``STARTS``: the fused map is the lead's, or the mean of all, before anything is learned. Sum is
            the mean in any case.

    Raises:
        ValueError: unknown name, activation or start, or ``lead`` outside [0, K).
    """
    require_choice("DISTILL.MEDDET.FUSION.NAME", name, sorted(key for key, _ in FUSION_REGISTRY))
    require_choice("DISTILL.MEDDET.FUSION.ACTIVATION", activation, ACTIVATIONS)
    require_choice("DISTILL.MEDDET.FUSION.START", start, STARTS)
    check_lead(lead, num_teachers)
    return FUSION_REGISTRY.get(name)(
        channels=channels, num_teachers=num_teachers, activation=activation, lead=lead, start=start
    )


def check_lead(lead: int, num_teachers: int) -> None:
    """Raise a ValueError unless ``lead`` is the index of a teacher."""
    if not 0 <= lead < num_teachers:
        raise ValueError(
            f"DISTILL.MEDDET.FUSION.LEAD_TEACHER is {lead}; there are {num_teachers} teachers, counted from 0 to "
            f"{num_teachers - 1}."
        )


@FUSION_REGISTRY.register()
class LWFF(nn.Module):
    """Learnable weighted feature fusion.

    ``alpha_k = activation(Conv1x1(GAP(x_k)))`` weighs the channels of each teacher's map (eq. 7-10), and
    ``Conv1x1(cat_k(alpha_k * x_k))`` mixes the weighted maps back to C channels (eq. 11). The text calls the relation
    between channels non-linear while eq. 7 prints no activation, hence the choice.

    At the start every alpha is a constant a (1/2 for the sigmoid, 1/K for the softmax across teachers, 1 for none) and
    the last convolution is the identity divided by a on the lead teacher's block and zero on the others, or the same
    part of it on all: the fused map IS the lead teacher's map, or the mean. Zero blocks have a gradient, so the other
    teachers come in from the first step on.

    Args:
        channels, num_teachers, activation, lead, start: as in :func:`build_fusion`.
    """

    def __init__(
        self, *, channels: int, num_teachers: int, activation: str = "sigmoid", lead: int = 0, start: str = "lead"
    ):
        super().__init__()
        self.activation = activation
        convolutions: list[Any] = [nn.Conv2d(channels, channels, kernel_size=1) for _ in range(num_teachers)]
        self.weights = nn.ModuleList(convolutions)
        self.mix = nn.Conv2d(num_teachers * channels, channels, kernel_size=1)
        for conv in convolutions:
            nn.init.zeros_(conv.weight)
            nn.init.constant_(conv.bias, 1.0 if activation == "none" else 0.0)
        starting_alpha = {"sigmoid": 0.5, "softmax": 1 / num_teachers, "none": 1.0}[activation]
        _start(self.mix, num_teachers, lead if start == "lead" else None, 1 / starting_alpha)

    def alphas(self, features: Sequence[Tensor]) -> Tensor:
        """The channel weights of every teacher, eq. 7: (K, N, C, 1, 1)."""
        logits = [conv(x.mean(dim=(2, 3), keepdim=True)) for conv, x in zip(self.weights, features, strict=True)]
        alphas = torch.stack(logits)
        if self.activation == "sigmoid":
            return alphas.sigmoid()
        return alphas.softmax(dim=0) if self.activation == "softmax" else alphas

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Fuse K maps (N, C, H, W) to one."""
        weighted = [alpha * x for alpha, x in zip(self.alphas(features), features, strict=True)]
        return self.mix(torch.cat(weighted, dim=1))


@FUSION_REGISTRY.register()
class Concat(nn.Module):
    """``Conv1x1(cat_k(x_k))``: LWFF without channel weights, with the same start.

    Args:
        channels, num_teachers, lead, start: as in :func:`build_fusion`.
        activation: not used.
    """

    def __init__(
        self, *, channels: int, num_teachers: int, activation: str = "none", lead: int = 0, start: str = "lead"
    ):
        super().__init__()
        self.mix = nn.Conv2d(num_teachers * channels, channels, kernel_size=1)
        _start(self.mix, num_teachers, lead if start == "lead" else None, 1.0)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Fuse K maps (N, C, H, W) to one."""
        return self.mix(torch.cat(list(features), dim=1))


@FUSION_REGISTRY.register()
class Sum(nn.Module):
    """The sum of the maps divided by their number K; nothing to learn here, the AFA before it does the learning.

    The division keeps the maps at one teacher's scale: a frozen head has only ever seen maps of that scale, and K times
    it would saturate the scores.

    Args:
        channels, activation, lead, start: not used; no teacher leads.
        num_teachers: K.
    """

    def __init__(
        self, *, channels: int, num_teachers: int, activation: str = "none", lead: int = 0, start: str = "mean"
    ):
        super().__init__()
        self.num_teachers = num_teachers

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Fuse K maps (N, C, H, W) to one."""
        return torch.stack(list(features)).sum(dim=0) / self.num_teachers


@torch.no_grad()
def _start(mix: Any, num_teachers: int, lead: int | None, scale: float) -> None:
    """Make ``mix`` (K * C -> C, 1x1) ``scale`` times the lead teacher's map, or the mean of all if there is no lead."""
    channels = mix.out_channels
    mix.weight.zero_()
    mix.bias.zero_()
    for k in range(num_teachers) if lead is None else [lead]:
        share = scale / num_teachers if lead is None else scale
        mix.weight[:, k * channels : (k + 1) * channels, 0, 0] = share * torch.eye(channels)

"""Parameters and multiply-adds of a detector for one image, in all and per part.

Two ways of counting, neither of which multiplies by two:
    macs        multiply-adds of convolution and linear layers, without their biases.
    macs_mmcv   as mmcv's flops counter does, which is what detection papers report as "GFLOPs": the above, one for
                every biased output of a convolution, two per element for an affine norm (one without), and one per
                element for a ReLU or a pooling. Resampling, additions, attention, other activations and nmODE are free.
"""

import copy
from collections import defaultdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..modeling.nmode.nmode_block import NMODEBlock

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
_COUNTED = (*_CONVOLUTIONS, *_NORMS, *_ACTIVATIONS, *_POOLS, nn.Linear)

# Name of a part and of the modules in it; the first that fits.
_PARTS = {"bottom_up": "backbone.bottom_up.", "fpn": "backbone.", "head": "head.", "other": ""}


class Cost(NamedTuple):
    """Multiply-adds by both ways of counting; see the module's docstring."""

    macs: int
    macs_mmcv: int


def layer_cost(layer: nn.Module, x: Tensor, y: Tensor) -> Cost:
    """Cost of one call of ``layer`` with input ``x`` and output ``y``; zero for a layer that neither way counts."""
    if isinstance(layer, _CONVOLUTIONS):
        # weight is (out, in / groups, *kernel), so this is the work for one output element.
        macs = y.numel() * layer.weight[0].numel()
        return Cost(macs, macs + (y.numel() if layer.bias is not None else 0))
    if isinstance(layer, nn.Linear):
        macs = y.numel() * layer.in_features
        return Cost(macs, macs)
    if isinstance(layer, _NORMS):
        affine = getattr(layer, "affine", False) or getattr(layer, "elementwise_affine", False)
        return Cost(0, x.numel() * (2 if affine else 1))
    if isinstance(layer, _ACTIVATIONS):
        return Cost(0, y.numel())
    if isinstance(layer, _POOLS):
        return Cost(0, x.numel())
    return Cost(0, 0)


def count(model: nn.Module, height: int, width: int) -> dict[str, Any]:
    """Count a GFL detector's parameters and multiply-adds for one image.

    Nothing is computed: the network runs on the meta device, and the model stays as it is. Decoding and
    non-maximum suppression are left out, as they depend on the image.

    Args:
        model: a detector with ``backbone``, ``head`` and ``in_features``, on any device.
        height, width: of the image in pixels; padded up to what the backbone divides by.

    Returns:
        {"params", "macs", "macs_mmcv", "parts": {part: {"params", "macs", "macs_mmcv"}}}, all integers, with the
        parts "bottom_up", "fpn" and "head", which add up to the whole. A layer that runs on several
        levels counts once in params and on every level in the others.

    Raises:
        ValueError: the size is not positive, or the model is another kind of detector.
    """
    if height < 1 or width < 1:
        raise ValueError(f"The image must have at least one pixel, not {height} x {width}.")
    if not all(hasattr(model, name) for name in ("backbone", "head", "in_features")):
        raise ValueError(
            f"{type(model).__name__} cannot be counted: only detectors with a backbone and a GFL head can."
        )

    model = _copy_to_meta(model).eval()
    parts = {part: {"params": 0, "macs": 0, "macs_mmcv": 0} for part in _PARTS}
    for name, parameter in model.named_parameters():
        parts[_part_of(name)]["params"] += parameter.numel()

    def add_to(part: dict[str, int]) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            cost = layer_cost(layer, inputs[0], output)
            part["macs"] += cost.macs
            part["macs_mmcv"] += cost.macs_mmcv

        return hook

    for name, module in model.named_modules():
        if isinstance(module, _COUNTED):
            module.register_forward_hook(add_to(parts[_part_of(name)]))
    divisor = max(model.backbone.size_divisibility, 1)
    padded = (-(-side // divisor) * divisor for side in (height, width))
    with torch.no_grad():
        features = model.backbone(torch.empty(1, 3, *padded, device="meta"))
        model.head([features[name] for name in model.in_features])

    if not any(parts["other"].values()):
        del parts["other"]
    total: dict[str, Any] = defaultdict(int)
    for part in parts.values():
        for key, value in part.items():
            total[key] += value
    return {**total, "parts": parts}


def format_table(figures: dict[str, Any]) -> str:
    """Lay out the result of :func:`count` as a table, in millions of parameters and 10^9 multiply-adds."""
    lines = [f"{'part':<10} {'params, M':>12} {'macs, G':>10} {'macs_mmcv, G':>14}"]
    for name, part in [*figures["parts"].items(), ("all", figures)]:
        lines.append(
            f"{name:<10} {part['params'] / 1e6:>12.4f} {part['macs'] / 1e9:>10.2f} {part['macs_mmcv'] / 1e9:>14.2f}"
        )
    return "\n".join(lines)


def _part_of(name: str) -> str:
    return next(part for part, prefix in _PARTS.items() if name.startswith(prefix))


def _copy_to_meta(model: nn.Module) -> nn.Module:
    # deepcopy looks up what it has already copied in memo: with the tensors there, it copies the structure alone.
    memo: dict[int, Any] = {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    memo.update({id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()})
    copied = copy.deepcopy(model, memo)
    for module in copied.modules():
        if isinstance(module, NMODEBlock):
            module.solver = "rk4"  # an adaptive solver looks at values, and there are none
    return copied

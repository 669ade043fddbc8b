"""BatchNorm folded into the convolutions before it, for networks that only predict: fewer passes over their maps."""

import copy
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from detectron2.layers import FrozenBatchNorm2d

logger = logging.getLogger(__name__)

# Of the largest value that a network shows: what rounding moves in a hundred layers stays below it.
TOLERANCE = 1e-3


@torch.no_grad()
def fold_norms(network: nn.Module, show: Callable[[nn.Module], list[Tensor]]) -> int:
    """Fold each BatchNorm of fixed statistics into the convolution whose output it alone sees; in place.

    Which belong together is seen in one forward pass. The folded network is taken only if it shows what it did before.

    Args:
        network: in evaluation mode. It cannot be trained any more.
        show: runs it on some image and returns what it shows.

    Returns:
        How many were folded.
    """
    folded = copy.deepcopy(network)
    pairs = _pairs(folded, lambda: show(folded))
    for convolution, norm in pairs:
        _fold(convolution, norm)
    _replace(folded, {id(norm): _what_follows(norm) for _, norm in pairs})
    for before, after in zip(show(network), show(folded), strict=True):
        if not (before - after).abs().max() <= TOLERANCE * before.abs().max():
            logger.warning("BatchNorm stays as it is in a teacher: folded into its convolutions it shows other maps.")
            return 0
    network.__dict__.update(folded.__dict__)
    return len(pairs)


def _pairs(network: nn.Module, run: Callable[[], Any]) -> list[tuple[nn.Conv2d, nn.Module]]:
    """The convolutions and the norms that see their outputs; each is called once."""
    calls: Counter[nn.Module] = Counter()
    # Outputs are kept, or another tensor would get an old one's id.
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    found: list[tuple[nn.Conv2d, nn.Module]] = []

    def seen_by_norm(norm: nn.Module, inputs: tuple) -> None:
        calls[norm] += 1
        if id(inputs[0]) in outputs:
            found.append((outputs[id(inputs[0])][0], norm))

    def made_by_convolution(convolution: Any, inputs: tuple, output: Tensor) -> None:
        calls[convolution] += 1
        outputs[id(output)] = convolution, output

    handles = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(made_by_convolution))
        elif isinstance(module, FrozenBatchNorm2d) or (isinstance(module, nn.BatchNorm2d) and not module.training):
            handles.append(module.register_forward_pre_hook(seen_by_norm))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return [(conv, norm) for conv, norm in found if calls[conv] == calls[norm] == 1 and norm.running_mean is not None]


def _fold(convolution: nn.Conv2d, norm: Any) -> None:
    convolution.weight, convolution.bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.requires_grad_(False)


def _what_follows(norm: nn.Module) -> nn.Module:
    # timm's norms bring their activation.
    rest = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None]
    return nn.Sequential(*rest) if rest else nn.Identity()


def _replace(network: nn.Module, others: dict[int, nn.Module]) -> None:
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if id(child) in others:
                setattr(parent, name, others[id(child)])

"""Parameters and multiply-adds of a detector for one image, in all and per part.

Two ways of counting, neither of which multiplies by two:
    macs        multiply-adds of convolutions, linear layers and all other products of matrices, those of attention
                too, without biases, as torch.utils.flop_counter counts them.
    macs_mmcv   as mmcv's flops counter does, which is what detection papers report as "GFLOPs": the above, one for
                every biased output of a convolution, two per element for an affine norm (one without), and one per
                element for a ReLU or a pooling. Resampling, additions, other activations and nmODE are free. (mmcv
                itself sees layers alone and would count attention as nothing.)
"""

import copy
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..distillation import task_of
from ..modeling.nmode.nmode_block import NMODEBlock

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU)
_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)


def elementwise_cost(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """What mmcv adds to the multiply-adds of one call of ``layer`` with input ``x`` and output ``y``."""
    if isinstance(layer, _CONVOLUTIONS):
        return y.numel() if layer.bias is not None else 0
    if isinstance(layer, _NORMS):
        affine = getattr(layer, "affine", False) or getattr(layer, "elementwise_affine", False)
        return x.numel() * (2 if affine else 1)
    if isinstance(layer, _ACTIVATIONS):
        return y.numel()
    return x.numel() if isinstance(layer, _POOLS) else 0


def count(model: Any, height: int, width: int, run: Callable[[Any, Tensor], object] | None = None) -> dict[str, Any]:
    """Count a network's parameters and multiply-adds for one image, as it is deployed: without auxiliary heads.

    Nothing is computed: the network runs on the meta device, and the model stays as it is. Decoding and
    non-maximum suppression are left out, as they depend on the image.

    Args:
        model: a network of a kind that has a task, on any device.
        height, width: of the image in pixels; padded up to what the backbone divides by.
        run: one pass of a model of any other kind on images (1, 3, H, W); its parts are not counted apart.

    Returns:
        {"params", "macs", "macs_mmcv", "parts": {part: {"params", "macs", "macs_mmcv"}}}, all integers, with the parts
        that the task names and the network has (GFL's: "bottom_up", "fpn" and "head"), and "other" where there is
        more. They add up to the whole.
        A layer that runs on several levels counts once in params and on every level in the others.

    Raises:
        ValueError: the size is not positive, or no task speaks for the model.
    """
    if height < 1 or width < 1:
        raise ValueError(f"The image must have at least one pixel, not {height} x {width}.")
    task, modules, divisor = None, {"other": ""}, 1
    if run is None:
        task = task_of(model)
        run, modules = task.raw_outputs, {**task.parts, **modules}
        divisor = max(model.backbone.size_divisibility, 1)

    def part_of(name: str) -> str:
        return next(part for part, module in modules.items() if not module or f"{name}.".startswith(f"{module}."))

    copied = _copy_to_meta(model).eval()
    if task is not None:
        # What is deployed has no part of it.
        task.drop_auxiliary(copied)
    network = _Pass(copied, run)
    parts: dict[str, Counter[str]] = {part: Counter(params=0, macs=0, macs_mmcv=0) for part in modules}
    for name, parameter in network.model.named_parameters():
        parts[part_of(name)]["params"] += parameter.numel()

    def add_to(part: Counter[str], layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        part["macs_mmcv"] += elementwise_cost(layer, inputs[0], output)

    for name, module in network.model.named_modules():
        if isinstance(module, (*_CONVOLUTIONS, *_NORMS, *_ACTIVATIONS, *_POOLS)):
            module.register_forward_hook(partial(add_to, parts[part_of(name)]))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, *(-(-side // divisor) * divisor for side in (height, width)), device="meta"))

    # What is within the module of an earlier part is taken off a later one's.
    found = counter.get_flop_counts()
    for part, module in modules.items():
        macs = sum(found.get(f"_Pass.model.{module}" if module else "Global", {}).values()) // 2
        for earlier in list(modules)[: list(modules).index(part)]:
            if not module or modules[earlier].startswith(f"{module}."):
                macs -= parts[earlier]["macs"]
        parts[part].update(macs=macs, macs_mmcv=macs)
    parts = {name: part for name, part in parts.items() if any(part.values())}
    total = {key: sum(part[key] for part in parts.values()) for key in ("params", "macs", "macs_mmcv")}
    return {**total, "parts": {name: dict(part) for name, part in parts.items()}}


def format_table(figures: dict[str, Any]) -> str:
    """Lay out the result of :func:`count` as a table, in millions of parameters and 10^9 multiply-adds."""
    rows = [
        (name, part["params"] / 1e6, part["macs"] / 1e9, part["macs_mmcv"] / 1e9)
        for name, part in [*figures["parts"].items(), ("all", figures)]
    ]
    headers = ("part", "params, M", "macs, G", "macs_mmcv, G")
    return tabulate(rows, headers=headers, tablefmt="plain", floatfmt=("", ".4f", ".2f", ".2f"))


class _Pass(nn.Module):
    """What the counter sees as one module: it names parts by the modules that are called, from the first one down."""

    def __init__(self, model: nn.Module, run: Callable[[Any, Tensor], object]):
        super().__init__()
        self.model, self.run = model, run

    def forward(self, images: Tensor) -> object:
        return self.run(self.model, images)


def _copy_to_meta(model: nn.Module) -> nn.Module:
    # deepcopy looks up what it has already copied in memo: with the tensors there, it copies the structure alone.
    memo: dict[int, Any] = {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    memo.update({id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()})
    copied = copy.deepcopy(model, memo)
    for module in copied.modules():
        if isinstance(module, NMODEBlock):
            module.solver = "rk4"  # an adaptive solver looks at values, and there are none
    return copied

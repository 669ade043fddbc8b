"""The optimizers: SGD or AdamW. Nothing of at most one dimension is decayed."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from detectron2.config import CfgNode
from meddet_d2.config.arguments import arguments, require_choice

OPTIMIZERS = {"SGD": torch.optim.SGD, "AdamW": torch.optim.AdamW}
# Of SOLVER.CLIP_GRADIENTS: each number by itself, each parameter's norm, or one norm over all parameters.
CLIPPINGS: dict[str, Callable[[list[nn.Parameter], CfgNode], object]] = {
    "value": lambda parameters, clip: clip_grad_value_(parameters, clip.CLIP_VALUE),
    "norm": lambda parameters, clip: [clip_grad_norm_(p, clip.CLIP_VALUE, clip.NORM_TYPE) for p in parameters],
    "full_model": lambda parameters, clip: clip_grad_norm_(parameters, clip.CLIP_VALUE),
}


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that ``cfg.SOLVER`` describes.

    ``WEIGHT_DECAY`` is for kernels and matrices. Biases, norms, GFL's level scales and nmODE's w and b have at most one
    dimension: their size has a meaning, so nothing pulls them to zero.

    ``CLIP_GRADIENTS.CLIP_TYPE`` may be ``full_model``, or Detectron2's ``value`` or ``norm``.

    Raises:
        ValueError: ``SOLVER.OPTIMIZER`` or the type of clipping is not known, or a decay is asked for what is not
            decayed.
    """
    solver, clip = cfg.SOLVER, cfg.SOLVER.CLIP_GRADIENTS
    require_choice("SOLVER.OPTIMIZER", solver.OPTIMIZER, OPTIMIZERS)
    for key in ("WEIGHT_DECAY_NORM", "WEIGHT_DECAY_BIAS"):
        if solver[key]:
            raise ValueError(f"SOLVER.{key} is {solver[key]}; norms and biases are not decayed here, so set it to 0.0.")
    groups: dict[tuple[bool, bool], dict] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            own_rate = solver.BIAS_LR_FACTOR != 1.0 and name.rpartition(".")[2] == "bias"
            spared = parameter.ndim <= 1
            rate = solver.BASE_LR * (solver.BIAS_LR_FACTOR if own_rate else 1.0)
            settings = {"params": [], "lr": rate, "weight_decay": 0.0 if spared else solver.WEIGHT_DECAY}
            groups.setdefault((own_rate, spared), settings)["params"].append(parameter)
    kind = OPTIMIZERS[solver.OPTIMIZER]
    named = arguments(kind, solver)
    if clip.ENABLED:
        kind = _with_clipping(kind, clip)
    # One kernel for all parameters, which also knows of a step that mixed precision leaves out. Clipping comes before
    # it, and needs gradients that are not scaled.
    fused = not clip.ENABLED and all(p.is_cuda for group in groups.values() for p in group["params"])
    # A checkpoint's state goes by this order.
    return kind([groups[key] for key in sorted(groups)], lr=solver.BASE_LR, fused=fused or None, **named)


def _with_clipping(kind: type[torch.optim.Optimizer], clip: CfgNode) -> type[torch.optim.Optimizer]:
    require_choice("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", clip.CLIP_TYPE, CLIPPINGS)

    def step(self, closure=None):
        CLIPPINGS[clip.CLIP_TYPE]([p for group in self.param_groups for p in group["params"]], clip)
        return kind.step(self, closure)

    return type(f"{kind.__name__}WithClipping", (kind,), {"step": step})

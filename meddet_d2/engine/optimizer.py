"""The optimizers: Detectron2's SGD, or AdamW; no weight decay on anything one-dimensional."""

import itertools

import torch
from torch import nn

from detectron2.config import CfgNode
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping

OPTIMIZERS = {"SGD": torch.optim.SGD, "AdamW": torch.optim.AdamW}
# nmODE's w and b and GFL's per-level scale: their size has a meaning, so nothing should pull it to zero.
UNDECAYED = ("w", "b", "scale")


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that ``cfg.SOLVER`` describes.

    ``CLIP_GRADIENTS.CLIP_TYPE`` may be ``full_model`` (one norm over all parameters) beside Detectron2's
    own ``value`` and ``norm`` (each parameter for itself).

    Raises:
        ValueError: ``SOLVER.OPTIMIZER`` is not known.
    """
    solver = cfg.SOLVER
    if solver.OPTIMIZER not in OPTIMIZERS:
        raise ValueError(f"SOLVER.OPTIMIZER is '{solver.OPTIMIZER}'; it can be one of {', '.join(OPTIMIZERS)}.")
    params = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        overrides={name: {"weight_decay": 0.0} for name in UNDECAYED},
    )
    kind = OPTIMIZERS[solver.OPTIMIZER]
    arguments = {"lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY}
    if kind is torch.optim.SGD:
        arguments.update(momentum=solver.MOMENTUM, nesterov=solver.NESTEROV)
    else:
        arguments.update(betas=tuple(solver.BETAS))
    if solver.CLIP_GRADIENTS.ENABLED and solver.CLIP_GRADIENTS.CLIP_TYPE == "full_model":
        kind = _with_full_model_clipping(kind, solver.CLIP_GRADIENTS.CLIP_VALUE)
    else:
        kind = maybe_add_gradient_clipping(cfg, kind)
    return kind(params, **arguments)


def _with_full_model_clipping(kind: type[torch.optim.Optimizer], max_norm: float) -> type[torch.optim.Optimizer]:
    class ClippedOptimizer(kind):
        def step(self, closure=None):
            parameters = itertools.chain.from_iterable(group["params"] for group in self.param_groups)
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)
            return super().step(closure)

    ClippedOptimizer.__name__ = f"{kind.__name__}WithFullModelClipping"
    return ClippedOptimizer

"""The optimizers: SGD or AdamW. Nothing of at most one dimension is decayed."""

import itertools

import torch
from torch import nn

from detectron2.config import CfgNode
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping

OPTIMIZERS = {"SGD": torch.optim.SGD, "AdamW": torch.optim.AdamW}


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that ``cfg.SOLVER`` describes.

    ``WEIGHT_DECAY`` is for kernels and matrices. Biases, norms, GFL's level scales and nmODE's w and b have at most one
    dimension: their size has a meaning, so nothing pulls them to zero.

    ``CLIP_GRADIENTS.CLIP_TYPE`` may be ``full_model`` (one norm over all parameters) beside Detectron2's
    own ``value`` and ``norm`` (each parameter for itself).

    Raises:
        ValueError: ``SOLVER.OPTIMIZER`` is not known, or a decay is asked for what is not decayed.
    """
    solver = cfg.SOLVER
    if solver.OPTIMIZER not in OPTIMIZERS:
        raise ValueError(f"SOLVER.OPTIMIZER is '{solver.OPTIMIZER}'; it can be one of {', '.join(OPTIMIZERS)}.")
    for key in ("WEIGHT_DECAY_NORM", "WEIGHT_DECAY_BIAS"):
        if solver[key]:
            raise ValueError(f"SOLVER.{key} is {solver[key]}; norms and biases are not decayed here, so set it to 0.0.")
    groups = get_default_optimizer_params(
        model, base_lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY, bias_lr_factor=solver.BIAS_LR_FACTOR
    )
    params = []
    for group in groups:
        decayed = [p for p in group["params"] if p.ndim > 1]
        spared = [p for p in group["params"] if p.ndim <= 1]
        params += [{**group, "params": decayed}, {**group, "params": spared, "weight_decay": 0.0}]
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
    return kind([group for group in params if group["params"]], **arguments)


def _with_full_model_clipping(kind: type[torch.optim.Optimizer], max_norm: float) -> type[torch.optim.Optimizer]:
    def step(self, closure=None):
        parameters = itertools.chain.from_iterable(group["params"] for group in self.param_groups)
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        return kind.step(self, closure)

    return type(f"{kind.__name__}WithFullModelClipping", (kind,), {"step": step})

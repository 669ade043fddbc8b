"""Optimizer and learning rate schedule from ``cfg.SOLVER``."""

import logging

import fvcore.common.param_scheduler as ps
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

_NORM_LAYERS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)


class WarmupParamScheduler(ps.CompositeParamScheduler):
    """``scheduler`` with its beginning, ``warmup_length`` in [0, 1] of the training, replaced by a warm-up.

    That starts at ``warmup_factor`` times the multiplier of ``scheduler``; ``"linear"`` ends where ``scheduler`` takes
    over, ``"constant"`` stays. ``rescale_interval`` squeezes all of ``scheduler`` into the rest; else it is cut.
    """

    def __init__(self, scheduler, warmup_factor, warmup_length, warmup_method="linear", rescale_interval=False):
        if warmup_method not in ("linear", "constant"):
            raise ValueError(f"SOLVER.WARMUP_METHOD must be 'linear' or 'constant', got {warmup_method!r}.")
        start, after = warmup_factor * scheduler(0.0), scheduler(0.0 if rescale_interval else warmup_length)
        super().__init__(
            [ps.LinearParamScheduler(start, after if warmup_method == "linear" else start), scheduler],
            lengths=[warmup_length, 1 - warmup_length],
            interval_scaling=["rescaled", "rescaled" if rescale_interval else "fixed"],
        )


class LRMultiplier(LRScheduler):
    """``multiplier(iteration / max_iter)`` times each group's initial rate; ``last_iter`` is the last one done."""

    def __init__(self, optimizer: Optimizer, multiplier: ps.ParamScheduler, max_iter: int, last_iter: int = -1):
        self._multiplier, self._max_iter = multiplier, max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict:
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}  # the schedule comes from the config

    def get_lr(self) -> list[float]:
        multiplier = self._multiplier(self.last_epoch / self._max_iter)
        return [base_lr * multiplier for base_lr in self.base_lrs]


def build_optimizer(cfg, model: nn.Module) -> Optimizer:
    """SGD with momentum over ``model``'s trainable parameters, with gradient clipping if the config asks for it."""
    solver = cfg.SOLVER
    params = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    options = {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV, "weight_decay": solver.WEIGHT_DECAY}
    return maybe_add_gradient_clipping(cfg, torch.optim.SGD)(params, lr=solver.BASE_LR, foreach=True, **options)


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    overrides: dict[str, dict[str, float]] | None = None,
) -> list[dict]:
    """An optimizer's parameter groups: one for each distinct set of settings, in the order of first appearance.

    Frozen parameters are left out and shared ones taken once. Settings that are None stay the optimizer's own;
    ``overrides`` go by a parameter's own name (``"weight"``, ``"bias"``, ...) and win over all else.
    """
    common = {key: value for key, value in (("lr", base_lr), ("weight_decay", weight_decay)) if value is not None}
    bias: dict[str, float] = {}
    if bias_lr_factor not in (None, 1.0):
        if base_lr is None:
            raise ValueError("get_default_optimizer_params: bias_lr_factor needs base_lr; give it.")
        bias["lr"] = base_lr * bias_lr_factor
    if weight_decay_bias is not None:
        bias["weight_decay"] = weight_decay_bias
    if bias and "bias" in (overrides or {}):
        raise ValueError("get_default_optimizer_params: biases are set by overrides and by arguments; keep one.")
    overrides = {"bias": bias, **(overrides or {})}

    groups: dict[tuple, dict] = {}
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        norm = {"weight_decay": weight_decay_norm} if isinstance(module, _NORM_LAYERS) else {}
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                settings = {**common, **(norm if weight_decay_norm is not None else {}), **overrides.get(name, {})}
                groups.setdefault(tuple(settings.items()), {**settings, "params": []})["params"].append(parameter)
    return list(groups.values())


def maybe_add_gradient_clipping(cfg, optimizer: type[Optimizer]) -> type[Optimizer]:
    """A subclass of the optimizer whose ``step`` clips gradients, if ``SOLVER.CLIP_GRADIENTS.ENABLED``.

    Clipping is per parameter: with ``CLIP_TYPE`` ``"value"`` each element is cut to ``CLIP_VALUE``, with ``"norm"``
    each parameter's gradient is scaled to a norm of at most that.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS.clone()
    if not clip.ENABLED:
        return optimizer
    if clip.CLIP_TYPE not in ("value", "norm"):
        raise ValueError(f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE must be 'value' or 'norm', got {clip.CLIP_TYPE!r}.")

    class WithGradientClip(optimizer):
        def step(self, closure=None):
            for parameter in (p for group in self.param_groups for p in group["params"]):
                if clip.CLIP_TYPE == "value":
                    nn.utils.clip_grad_value_(parameter, clip.CLIP_VALUE)
                else:
                    nn.utils.clip_grad_norm_(parameter, clip.CLIP_VALUE, clip.NORM_TYPE)
            return super().step(closure)

    WithGradientClip.__name__ = f"{optimizer.__name__}WithGradientClip"
    return WithGradientClip


def build_lr_scheduler(cfg, optimizer: Optimizer) -> LRMultiplier:
    """The schedule ``SOLVER.LR_SCHEDULER_NAME``, with its warm-up, over ``SOLVER.MAX_ITER`` iterations."""
    solver, max_iter = cfg.SOLVER, cfg.SOLVER.MAX_ITER
    if solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR":
        steps = [step for step in solver.STEPS if step < max_iter]
        if len(steps) < len(solver.STEPS):
            logging.getLogger(__name__).warning("SOLVER.STEPS %s are cut at MAX_ITER %d.", solver.STEPS, max_iter)
        values = [solver.GAMMA**k for k in range(len(steps) + 1)]
        schedule = ps.MultiStepParamScheduler(values, milestones=steps, num_updates=max_iter)
    elif solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        schedule = ps.CosineParamScheduler(1, solver.BASE_LR_END / solver.BASE_LR)
    else:
        name = solver.LR_SCHEDULER_NAME
        raise ValueError(f"SOLVER.LR_SCHEDULER_NAME must be WarmupMultiStepLR or WarmupCosineLR, got {name!r}.")
    length = min(solver.WARMUP_ITERS / max_iter, 1.0)
    warmup = (solver.WARMUP_FACTOR, length, solver.WARMUP_METHOD, solver.RESCALE_INTERVAL)
    return LRMultiplier(optimizer, WarmupParamScheduler(schedule, *warmup), max_iter)

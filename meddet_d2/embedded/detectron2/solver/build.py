"""Learning rate schedule from ``cfg.SOLVER``."""

import logging

import fvcore.common.param_scheduler as ps
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


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

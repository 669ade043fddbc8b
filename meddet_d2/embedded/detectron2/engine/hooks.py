"""Hooks that nearly every training needs."""

import logging
from collections.abc import Callable, Mapping, Sequence

from fvcore.common.checkpoint import PeriodicCheckpointer as _PeriodicCheckpointer
from fvcore.common.timer import Timer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler as _LRScheduler

from detectron2.evaluation.evaluator import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventWriter

from .train_loop import HookBase

logger = logging.getLogger(__name__)


class IterationTimer(HookBase):
    """Stores each step's seconds as ``time``, not for the first ``warmup_iter``. It is to be registered first."""

    def __init__(self, warmup_iter: int = 3):
        self._warmup_iter, self._timer = warmup_iter, Timer()

    def before_step(self) -> None:
        self._timer.reset()

    def after_step(self) -> None:
        if self.trainer.iter - self.trainer.start_iter + 1 >= self._warmup_iter:
            self.trainer.storage.put_scalars(time=self._timer.seconds())


class PeriodicWriter(HookBase):
    """Lets the writers write every ``period`` iterations and at the end, and then closes them."""

    def __init__(self, writers: Sequence[EventWriter], period: int = 20):
        self._writers, self._period = writers, period

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        for writer in self._writers:
            writer.write()  # what other hooks stored after the last step, an evaluation for one
            writer.close()


class PeriodicCheckpointer(_PeriodicCheckpointer, HookBase):
    """fvcore's ``PeriodicCheckpointer`` as a hook: every ``period`` iterations and after the last one."""

    def before_train(self) -> None:
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        self.step(self.trainer.iter)


class LRScheduler(HookBase):
    """Stores the learning rate and steps its torch scheduler. Optimizer and scheduler are the trainer's by default."""

    def __init__(self, optimizer: Optimizer | None = None, scheduler: _LRScheduler | None = None):
        self._optimizer, self._scheduler = optimizer, scheduler

    @property
    def scheduler(self) -> _LRScheduler:
        return self._scheduler or self.trainer.scheduler

    def after_step(self) -> None:
        groups = (self._optimizer or self.trainer.optimizer).param_groups
        largest = max(groups, key=lambda group: len(group["params"]))
        self.trainer.storage.put_scalar("lr", largest["lr"], smoothing_hint=False)
        self.scheduler.step()

    def state_dict(self) -> dict:
        return self.scheduler.state_dict()

    def load_state_dict(self, state_dict: Mapping) -> None:
        self.scheduler.load_state_dict(state_dict)


class EvalHook(HookBase):
    """Stores the nested dict of numbers (or nothing) that ``eval_function()`` returns, every ``eval_period`` iterations
    (0: never) and after a training that succeeded. Register it on all processes or on none."""

    def __init__(self, eval_period: int, eval_function: Callable[[], Mapping | None], eval_after_train: bool = True):
        self._period, self._func, self._eval_after_train = eval_period, eval_function, eval_after_train

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._evaluate()

    def after_train(self) -> None:
        if self._eval_after_train and self.trainer.iter >= self.trainer.max_iter:
            self._evaluate()

    def _evaluate(self) -> None:
        results = {name: float(value) for name, value in flatten_results_dict(self._func() or {}).items()}
        self.trainer.storage.put_scalars(**results, smoothing_hint=False)
        comm.synchronize()

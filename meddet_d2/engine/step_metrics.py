"""What steps measure stays on the device until the writers write: a step does not wait to be logged."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from detectron2.engine import HookBase, SimpleTrainer
from meddet_d2.hardware.processes import averaged, count_processes


class StepMetrics(HookBase):
    """Keeps losses and other scalars of each step, and stores all of them before the writers' turn.

    The storage then holds what it would if each step had stored its own. The hook comes right before the writers, on
    every process.

    Args:
        steps: Detectron2's trainer of the steps, whose ``_write_metrics`` this takes the place of.
        period: iterations between two turns of the writers.
    """

    def __init__(self, steps: SimpleTrainer, period: int = 20):
        self._steps, self._period = steps, period
        self._store_losses = steps._write_metrics
        self._losses: list[tuple[int, Mapping[str, Tensor], float]] = []
        self._others: list[tuple[int, Mapping[str, Tensor]]] = []
        steps._write_metrics = self._keep_losses

    def _keep_losses(self, losses: Mapping[str, Tensor], data_time: float) -> None:
        detached = {name: loss.detach() for name, loss in losses.items()}
        # A batch that was loaded ahead was waited for in the step before.
        data_time += getattr(self._steps.data_loader, "seconds", 0.0)
        self._losses.append((self._steps.iter, detached, data_time))

    def put(self, values: Mapping[str, Tensor]) -> None:
        """Scalars of this step, stored as the mean over the processes."""
        self._others.append((self.trainer.iter, dict(values)))

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            self.flush()

    def after_train(self) -> None:
        # After an error the other processes may not come here.
        if self.trainer.iter >= self.trainer.max_iter or count_processes() == 1:
            self.flush()

    def flush(self) -> None:
        """Store what was kept: one wait for the device. What is not finite is the guard's to report."""
        losses, others = self._losses, self._others
        self._losses, self._others = [], []
        read = iter(_read([*(values for _, values, _ in losses), *(values for _, values in others)]))
        current = self._steps.iter
        for (iteration, _, data_time), values in zip(losses, read, strict=False):
            if all(value.isfinite() for value in values.values()):
                self._steps.iter = iteration
                self._store_losses(values, data_time)
        self._steps.iter = current
        for (iteration, _), values in zip(others, read, strict=True):
            means = averaged({name: value.item() for name, value in values.items()})
            finite = {name: mean for name, mean in means.items() if math.isfinite(mean)}
            self.trainer.storage.put_scalars(smoothing_hint=False, cur_iter=iteration, **finite)


def _read(kept: list[Mapping[str, Tensor]]) -> list[dict[str, Any]]:
    """The same mappings, their scalars on the CPU."""
    every = [value.double() for values in kept for value in values.values()]
    read = iter(torch.stack(every).cpu().unbind() if every else ())
    return [{name: next(read) for name in values} for values in kept]

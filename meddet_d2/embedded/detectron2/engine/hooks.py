"""Hooks that every training needs."""

from collections.abc import Mapping, Sequence

from fvcore.common.timer import Timer

from detectron2.utils.events import EventWriter

from .train_loop import HookBase


class IterationTimer(HookBase):
    """Stores each step's seconds as ``time``, not for the first two. It is to be registered first."""

    def __init__(self):
        self._timer = Timer()

    def before_step(self) -> None:
        self._timer.reset()

    def after_step(self) -> None:
        if self.trainer.iter - self.trainer.start_iter >= 2:
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


class LRScheduler(HookBase):
    """Stores the learning rate and steps the trainer's ``scheduler``, one of torch's."""

    def after_step(self) -> None:
        largest = max(self.trainer.optimizer.param_groups, key=lambda group: len(group["params"]))
        self.trainer.storage.put_scalar("lr", largest["lr"], smoothing_hint=False)
        self.trainer.scheduler.step()

    def state_dict(self) -> dict:
        return self.trainer.scheduler.state_dict()

    def load_state_dict(self, state_dict: Mapping) -> None:
        self.trainer.scheduler.load_state_dict(state_dict)

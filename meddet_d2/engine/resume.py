"""Stopping a run at any step and going on with it as if nothing had happened."""

import json
import logging
import signal
import threading
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm
from meddet_d2.data.randomness import random_state, set_random_state
from meddet_d2.data.training_stream import TrainingStream

from .safe_checkpointer import FINAL, SafeCheckpointer

logger = logging.getLogger(__name__)

# What a shell and a scheduler see of a process that SIGTERM has ended: 128 + 15.
STOPPED = 143
# How many values of a logged quantity the writers smooth over.
WINDOW = 20


class Stopped(SystemExit):
    """A run was asked to stop, and has written its state: an exit with status ``STOPPED``."""


class Checkpoints(HookBase):
    """Writes the whole state of a run, every ``period`` iterations and after the last one, and puts it back.

    Beside what Detectron2 keeps it holds every process's random numbers, the data order and the logged values that are
    smoothed over. It belongs on all processes, since each gives its own. An evaluation comes after the checkpoint of
    its iteration, which is there if the evaluation fails; :class:`Validation` makes up for it after a resume.

    Args:
        checkpointer: of the model and the trainer.
        stream: where training's images come from.
        period: iterations between checkpoints.
        keep: how many of the numbered checkpoints stay; 0: all.

    Raises:
        ValueError: ``keep`` is 1 or negative: were that one damaged, there would be no other.
    """

    def __init__(self, checkpointer: SafeCheckpointer, stream: TrainingStream, *, period: int, keep: int = 0):
        if keep < 0 or keep == 1:
            raise ValueError(f"SOLVER.CHECKPOINT_KEEP is {keep}; keep at least 2 checkpoints, or 0 for all.")
        self.checkpointer, self.stream, self.period, self.keep = checkpointer, stream, period, keep
        self._random: list[dict] = []
        self._scalars: dict[str, list] = {}

    def before_train(self) -> None:
        trainer = self.trainer
        self.stream.start = trainer.start_iter
        if trainer.start_iter == 0:
            return
        if comm.is_main_process():
            # What was logged after the checkpoint comes again.
            cut_metrics(Path(trainer.cfg.OUTPUT_DIR) / "metrics.json", trainer.start_iter)
        for name, values in self._scalars.items():
            for value, iteration in values:
                trainer.storage.put_scalar(name, value, cur_iter=iteration)
        if len(self._random) == comm.get_world_size():
            set_random_state(self._random[comm.get_rank()])
        else:
            logger.warning(
                "The checkpoint holds the random numbers of %d processes and this run has %d: they start anew.",
                len(self._random), comm.get_world_size(),
            )  # fmt: skip

        if trainer.start_iter >= trainer.max_iter:
            if comm.is_main_process():
                self.checkpointer.finish(FINAL)
            comm.synchronize()

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self.period == 0:
            self.save_numbered()
            if self.keep and comm.is_main_process():
                self.checkpointer.keep_newest(self.keep)
        if done == self.trainer.max_iter:
            self.save(FINAL)

    def save_numbered(self) -> str:
        """Write ``model_<iteration>``, and return that name."""
        name = f"model_{self.trainer.iter:07d}"
        self.save(name)
        return name

    def save(self, name: str) -> None:
        """Write the state after the present iteration. All processes must call it."""
        self.trainer.step_metrics.flush()
        self._random = comm.all_gather(random_state())
        self._scalars = self._smoothed_scalars()
        self.checkpointer.save(name, iteration=self.trainer.iter)
        # Nobody may end the run while the main process writes.
        comm.synchronize()

    def state_dict(self) -> dict[str, Any]:
        return {"random": self._random, "stream": self.stream.state_dict(), "scalars": self._scalars}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._random, self._scalars = state["random"], state["scalars"]
        self.stream.load_state_dict(state["stream"])

    def _smoothed_scalars(self) -> dict[str, list]:
        """The last values of each noisy quantity that this iteration has logged."""
        storage = self.trainer.storage
        return {
            name: [[float(value), int(iteration)] for value, iteration in history.values()[-WINDOW:]]
            for name, history in storage.histories().items()
            # Neither engine says in another way which quantities are noisy.
            if storage._smoothing_hints[name] and storage.latest()[name][1] == self.trainer.iter
        }


class StopOnSignal(HookBase):
    """Ends a run after the step in which SIGTERM has reached any of its processes, with a checkpoint of that step.

    It comes last of all hooks, so that nothing of the step is missing. A running evaluation finishes first.

    Raises:
        Stopped: after the step, on every process.
    """

    def __init__(self, checkpoints: Checkpoints):
        self.checkpoints = checkpoints
        self._asked = False
        self._before: Any = None

    def before_train(self) -> None:
        # Only there can handlers be set; a run in another thread is somebody's own program, and its own affair.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        self._asked = True

    def after_step(self) -> None:
        if not any(comm.all_gather(self._asked)):
            return
        # Once more, if it is there: an evaluation may have come after it.
        name = FINAL if self.trainer.iter + 1 == self.trainer.max_iter else self.checkpoints.save_numbered()
        logger.warning(
            "Stopped by SIGTERM after iteration %d; its state is in %s/%s.pth, so go on with --resume.",
            self.trainer.iter, self.trainer.cfg.OUTPUT_DIR, name,
        )  # fmt: skip
        self.trainer.step_metrics.flush()
        raise Stopped(STOPPED)

    def after_train(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        # Asked during the last evaluation: another training must not begin.
        if self.trainer.iter >= self.trainer.max_iter and any(comm.all_gather(self._asked)):
            logger.warning("Stopped by SIGTERM after the last evaluation; go on with --resume.")
            raise Stopped(STOPPED)


def cut_metrics(path: Path, start: int) -> None:
    """Take the lines of iteration ``start`` and later off a metrics.json, and a line that a kill has left half written.

    In place, since a writer may have the file open at its end.
    """
    if not path.is_file():
        return
    with open(path, "rb+") as file:
        whole = 0
        for line in file:
            try:
                iteration = json.loads(line)["iteration"]
            except (ValueError, KeyError, TypeError):
                break
            if iteration >= start or not line.endswith(b"\n"):
                break
            whole += len(line)
        file.truncate(whole)

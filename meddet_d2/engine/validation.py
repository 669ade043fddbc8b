"""What is measured during training, and what follows from it: the best checkpoint, and an early end."""

import logging
import math
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, detection_utils
from detectron2.engine import HookBase
from detectron2.utils import comm
from meddet_d2.data import mapper_for
from meddet_d2.data.randomness import preserved_randomness
from meddet_d2.data.workers import loader_workers
from meddet_d2.distillation import task_for, task_of
from meddet_d2.evaluation.timing import inferring

from .resume import Checkpoints
from .safe_checkpointer import FINAL, SafeCheckpointer

logger = logging.getLogger(__name__)


class EarlyEnd(BaseException):
    """Training has stopped getting better. No Exception: nothing has failed, and the loop must not say so."""


class Validation(HookBase):
    """Evaluates every ``TEST.EVAL_PERIOD`` iterations and at the end; keeps the best weights; may end training early.

    What it remembers is in the checkpoint, and an evaluation that a kill has cut off is made up for after a resume. It
    takes no random number from training. It belongs on all processes.

    Args:
        checkpointer: writes ``model_best.pth``.
        checkpoints: writes ``model_final.pth`` at an early end.
        period: iterations between evaluations; 0: at the end only.
        best: "loss" for the validation loss, a metric such as "AP50", or "" to keep no best checkpoint.
        patience: evaluations in a row without a better one before training ends; 0: never.
        loss: measure the validation loss in any case.
        primary: the metric that the evaluator goes by; the metrics that ``best`` may name are in its group.
        smaller: whether ``best`` is better when it is smaller; the loss always is.

    Raises:
        ValueError: a patience without a measure of what is better.
    """

    def __init__(
        self,
        checkpointer: SafeCheckpointer,
        checkpoints: Checkpoints,
        *,
        period: int,
        best: str = "",
        patience: int = 0,
        loss: bool = False,
        primary: str,
        smaller: bool = False,
    ):
        if patience < 0 or (patience and not (best and period)):
            raise ValueError(
                f"VALIDATION.PATIENCE is {patience}, which needs VALIDATION.BEST (such as AP50 or loss) and a "
                "TEST.EVAL_PERIOD; set them, or the patience to 0."
            )
        self.checkpointer, self.checkpoints = checkpointer, checkpoints
        self.period, self.best, self.patience = period, best, patience
        self.group, _, self.primary = primary.partition("/")
        self.measures_loss = loss or best == "loss"
        self.smaller = smaller or best == "loss"
        self.state: dict[str, Any] = {"evaluated": -1, "best": None, "best_iteration": -1, "waited": 0, "ended": False}

    def before_train(self) -> None:
        trainer = self.trainer
        if self.state["ended"]:
            raise EarlyEnd
        last = trainer.start_iter - 1
        if self._is_due(last) and self.state["evaluated"] != last:
            # The run was stopped between the checkpoint and the end of its evaluation.
            trainer.iter = trainer.storage.iter = last
            self._evaluate()
            trainer.iter = trainer.storage.iter = trainer.start_iter

    def after_step(self) -> None:
        if self._is_due(self.trainer.iter):
            self._evaluate()

    def after_train(self) -> None:
        trainer = self.trainer
        if trainer.iter >= trainer.max_iter or self.state["ended"]:
            # A finished run that is resumed counts one iteration more than there was.
            trainer.storage.iter = min(trainer.iter, trainer.max_iter)
            self._measure(final=True)

    def state_dict(self) -> dict[str, Any]:
        return dict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state.update(state)

    def _is_due(self, iteration: int) -> bool:
        """The evaluation after the last step is after_train's."""
        done = iteration + 1
        return self.period > 0 and 0 < done < self.trainer.max_iter and done % self.period == 0

    def _evaluate(self) -> None:
        self._measure()
        self.state["evaluated"] = self.trainer.iter
        if self.patience and self.state["waited"] >= self.patience:
            logger.info(
                "No better %s in %d evaluations; training ends after iteration %d. The best was %.4f at iteration %d.",
                self.best, self.patience, self.trainer.iter, self.state["best"] or math.nan,
                self.state["best_iteration"],
            )  # fmt: skip
            self.state["ended"] = True
            self.checkpoints.save(FINAL)
            raise EarlyEnd

    def _measure(self, final: bool = False) -> None:
        with preserved_randomness():
            values = self.trainer.validate(loss=self.measures_loss)
        self.trainer.storage.put_scalars(**values, smoothing_hint=False)
        if self.best:
            self._keep_best(values)
        if final:
            with preserved_randomness():
                self.trainer.storage.put_scalars(**self.trainer.test_at_the_end(), smoothing_hint=False)
        comm.synchronize()

    def _keep_best(self, values: dict[str, float]) -> None:
        name = "validation_loss" if self.best == "loss" else f"{self.group}/{self.best}"
        # Only the main process has the metrics.
        value = comm.all_gather(values.get(name))[0]
        if value is None:
            raise ValueError(
                f"VALIDATION.BEST is {self.best}, which no evaluation gives; take loss, {self.primary}, or another "
                "key of inference/<data set>/evaluation.json."
            )
        best = self.state["best"]
        better = math.isfinite(value) and (best is None or (value < best if self.smaller else value > best))
        if better:
            iteration = min(self.trainer.iter, self.trainer.max_iter - 1)
            self.state.update(best=value, best_iteration=iteration, waited=0)
            logger.info("%s %.4f at iteration %d is the best so far.", self.best, value, iteration)
            self.checkpointer.save_best(iteration=iteration, measure=self.best, value=value)
        else:
            self.state["waited"] += 1


def flat_metrics(results: dict, names: Sequence[str]) -> dict[str, float]:
    """An evaluation's nested results as "<group>/<metric>"; the means of several data sets, and each with its name."""
    if len(names) < 2:
        return _flat(results)
    each = {name: _flat(results[name]) for name in names}
    shared = set.intersection(*(set(metrics) for metrics in each.values()))
    means = {key: math.fsum(metrics[key] for metrics in each.values()) / len(names) for key in shared}
    return {**means, **{f"{name}/{key}": value for name, metrics in each.items() for key, value in metrics.items()}}


def _flat(results: dict) -> dict[str, float]:
    return {f"{task}/{key}": float(value) for task, metrics in results.items() for key, value in metrics.items()}


def build_loss_loader(cfg: CfgNode, names: Sequence[str]) -> DataLoader:
    """Each image of the data sets once, as in an evaluation, with its annotation; this process's share of them."""
    augmentations = detection_utils.build_augmentation(cfg, False)
    mapper = mapper_for(task_for(cfg.MODEL.META_ARCHITECTURE).result)(cfg, is_train=True, augmentations=augmentations)
    return build_detection_test_loader(cfg, list(names), mapper=mapper, num_workers=loader_workers(cfg))


def validation_losses(detector: nn.Module, loader: DataLoader) -> dict[str, float]:
    """The network's own losses in evaluation mode: means over the images, each by itself.

    So they depend neither on a batch size nor on the number of processes, each of which gives its share of the images.
    All processes must call this, also one whose loader is empty.

    Returns:
        "validation_loss", their sum, and each as "validation_<its name>".
    """
    task = task_of(detector)
    measured: dict[str, list[float]] = {}
    with inferring(detector):
        for batch in loader:
            losses = task.observe(detector, batch, targets=task.targets(detector, batch), together=False).losses
            for name, value in losses.items():
                measured.setdefault(name, []).append(value.item())
    shares = comm.all_gather(measured)
    # The first process has an image if there is any.
    everything = {name: [value for share in shares for value in share.get(name, [])] for name in shares[0]}
    means = {f"validation_{name}": math.fsum(values) / len(values) for name, values in everything.items()}
    return {**means, "validation_loss": sum(means.values())}

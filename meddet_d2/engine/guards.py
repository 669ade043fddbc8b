"""Checks that turn a mistake into one line before it costs a run, and numbers that may not go wrong unseen."""

import itertools
import logging
import math
import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from meddet_d2.distillation import task_for
from meddet_d2.distillation.teacher_configs import changed
from meddet_d2.hardware.precision import student_precision
from meddet_d2.hardware.processes import sum_over_processes

logger = logging.getLogger(__name__)

ADVICE = "lower SOLVER.BASE_LR (it belongs to a batch size), switch on SOLVER.CLIP_GRADIENTS, or look at the images."


def check_config(cfg: CfgNode) -> None:
    """Refuse settings that cannot work on this machine, or with one another.

    Raises:
        ValueError: a CUDA device where there is none, a precision that the device does not compute in, two keys that
            scale the learning rate, a pass over the data for BatchNorm, or a meta-architecture that no task speaks for.
    """
    task_for(cfg.MODEL.META_ARCHITECTURE)
    device = torch.device(cfg.MODEL.DEVICE).type
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("MODEL.DEVICE is cuda, but torch finds no CUDA here; set MODEL.DEVICE cpu (or auto).")
    student_precision(cfg.SOLVER, cfg.MODEL.DEVICE)
    if cfg.TEST.PRECISE_BN.ENABLED:
        raise ValueError("TEST.PRECISE_BN.ENABLED is True, but this project has no such pass; set it to False.")
    if cfg.SOLVER.REFERENCE_BATCH < 0 or (cfg.SOLVER.REFERENCE_BATCH and cfg.SOLVER.REFERENCE_WORLD_SIZE):
        raise ValueError(
            f"SOLVER.REFERENCE_BATCH is {cfg.SOLVER.REFERENCE_BATCH} and REFERENCE_WORLD_SIZE "
            f"{cfg.SOLVER.REFERENCE_WORLD_SIZE}; both scale the learning rate: set one of them, at least 0."
        )


def check_schedule(cfg: CfgNode) -> list[str]:
    """Refuse a schedule of training that cannot work.

    Returns:
        A line for each key that will have no effect, or another than its name says.

    Raises:
        ValueError: a number is out of its range, or there is no folder for the results.
    """
    solver, clip, period = cfg.SOLVER, cfg.SOLVER.CLIP_GRADIENTS, cfg.TEST.EVAL_PERIOD
    by_steps, steps = solver.LR_SCHEDULER_NAME == "WarmupMultiStepLR", list(solver.STEPS)
    steps_are_good = not by_steps or all(a < b for a, b in itertools.pairwise([0, *steps]))
    for key, value, good, advice in (
        ("OUTPUT_DIR", cfg.OUTPUT_DIR, cfg.OUTPUT_DIR != "", "name a folder"),
        ("SOLVER.MAX_ITER", solver.MAX_ITER, solver.MAX_ITER >= 1, "give at least 1"),
        ("SOLVER.BASE_LR", solver.BASE_LR, 0 < solver.BASE_LR < math.inf, "give a number above 0"),
        ("SOLVER.BASE_LR_END", solver.BASE_LR_END, 0 <= solver.BASE_LR_END < math.inf, "give at least 0"),
        ("SOLVER.WARMUP_ITERS", solver.WARMUP_ITERS, solver.WARMUP_ITERS >= 0, "give at least 0"),
        ("SOLVER.CHECKPOINT_PERIOD", solver.CHECKPOINT_PERIOD, solver.CHECKPOINT_PERIOD >= 1, "give at least 1"),
        ("SOLVER.STEPS", steps, steps_are_good, "give rising iterations above 0"),
        ("SOLVER.GAMMA", solver.GAMMA, not by_steps or not steps or solver.GAMMA > 0, "give a number above 0"),
        ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", clip.CLIP_VALUE, not clip.ENABLED or clip.CLIP_VALUE > 0,
         "give a number above 0, or every gradient is cut to 0"),
        ("TEST.EVAL_PERIOD", period, period >= 0, "give at least 0"),
    ):  # fmt: skip
        if not good:
            raise ValueError(f"{key} is {value if value != '' else 'empty'}; {advice}.")
    remarks = []
    if solver.WARMUP_ITERS >= solver.MAX_ITER:
        remarks.append(
            f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS} and MAX_ITER {solver.MAX_ITER}: training ends in its "
            f"warm-up and never reaches BASE_LR {solver.BASE_LR:g}; lower WARMUP_ITERS."
        )
    late = [step for step in steps if step >= solver.MAX_ITER]
    if by_steps and late:
        remarks.append(f"SOLVER.STEPS {late} are not before MAX_ITER {solver.MAX_ITER} and have no effect.")
    if period >= solver.MAX_ITER and (cfg.VALIDATION.BEST or cfg.VALIDATION.PATIENCE):
        remarks.append(
            f"TEST.EVAL_PERIOD is {period} and MAX_ITER {solver.MAX_ITER}: the only evaluation comes at the end, so "
            "VALIDATION.BEST and PATIENCE have nothing to choose from."
        )
    return remarks


def scaled_to_batch(cfg: CfgNode) -> CfgNode:
    """The config with its learning rate scaled from ``SOLVER.REFERENCE_BATCH`` images a step to ``IMS_PER_BATCH``."""
    reference, batch = cfg.SOLVER.REFERENCE_BATCH, cfg.SOLVER.IMS_PER_BATCH
    if reference in (0, batch):
        return cfg
    scale = batch / reference
    rates = ["SOLVER.BASE_LR", cfg.SOLVER.BASE_LR * scale, "SOLVER.BASE_LR_END", cfg.SOLVER.BASE_LR_END * scale]
    cfg = changed(cfg, rates)
    logger.info("SOLVER.BASE_LR is %g for batches of %d images (scaled from %d).", cfg.SOLVER.BASE_LR, batch, reference)
    return cfg


def choose_algorithms(cfg: CfgNode) -> None:
    """Let torch try which of cuDNN's algorithms is the fastest, where images have few sizes.

    With ``DETERMINISTIC`` it takes those that give the same bits each time, and refuses others.
    """
    if len(cfg.INPUT.MIN_SIZE_TRAIN) == 1 and cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING == "choice":
        torch.backends.cudnn.benchmark = True
    if cfg.DETERMINISTIC:
        # What cuBLAS asks for; it is read when the first product of matrices is computed.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.use_deterministic_algorithms(True)


def _marks(named: Iterable[tuple[str, Tensor]]) -> tuple[list[str], Tensor]:
    """The names of those of floating point, and of each a number that is finite only if all its values are."""
    kept = {name: value.detach() for name, value in named if value.is_floating_point() and value.numel()}
    if not kept:
        return [], torch.zeros(0)
    values = list(kept.values())
    if values[0].is_cuda:  # one kernel for many tensors
        return list(kept), torch.stack([norm.float() for norm in torch._foreach_norm(values, math.inf)])
    # A sum is several times faster than to look at each value.
    wide = (value.sum(dtype=torch.promote_types(value.dtype, torch.float32)).float() for value in values)
    return list(kept), torch.stack(list(wide))


class FiniteGuard(HookBase):
    """Stops a training after the first step with a loss, gradient or weight that is not finite.

    All are looked at where they arise, and one number is read when the step is done, by all processes. Checkpoints
    come later: nothing of such a step is written. Mixed precision leaves out a step whose gradients are too large for
    its format, so what arrives here was meant to be finite.

    Args:
        trainer: has ``iter``, the iteration; a weak reference where the trainer owns the guard.
    """

    def __init__(self, trainer: Any):
        self.trainer = trainer
        # The ids of the batch's images on this process.
        self.images: list[str] = []
        # What was looked at in this step: how a message begins, the advice, the tensors' names, and their marks.
        self._looks: list[tuple[str, str, list[str], Tensor]] = []

    def watch(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Look at the model's losses, and at its tensors around the optimizer's steps.

        Args:
            model: maps a list of dicts with "image_id" to a dict of scalar losses; it may be wrapped.
            optimizer: of the model's parameters.
        """
        inner = getattr(model, "module", model)
        parameters = [(name, p) for name, p in inner.named_parameters() if p.requires_grad]
        model.register_forward_hook(self._look_at_losses)
        optimizer.register_step_pre_hook(lambda *_: self.look_at_gradients(parameters, optimizer))
        optimizer.register_step_post_hook(lambda *_: self.look("the value of ", [*parameters, *inner.named_buffers()]))

    def _look_at_losses(self, model: nn.Module, inputs: tuple, losses: dict[str, Tensor]) -> None:
        if model.training:
            self.images = [str(item.get("image_id", "?")) for item in inputs[0]]
            self.look("", losses.items())

    def look_at_gradients(
        self, named: Iterable[tuple[str, nn.Parameter]], optimizer: torch.optim.Optimizer, part: str = ""
    ) -> None:
        """Look at parameters' gradients; ``part`` comes before their names."""
        gradients = [(name, p.grad) for name, p in named if p.grad is not None]
        self.look(f"the gradient of {part}", gradients, left_out=getattr(optimizer, "found_inf", None))

    def look(
        self,
        what: str,
        named: Iterable[tuple[str, Tensor]],
        *,
        advice: str = ADVICE,
        left_out: Tensor | None = None,
    ) -> None:
        """Keep for the end of the step whether tensors are finite.

        Args:
            what: comes before the first one's name.
            named: tensors and their names.
            advice: what mends it.
            left_out: above 0 if mixed precision leaves the step out, which is no mistake.
        """
        names, marks = _marks(named)
        if names:
            self._looks.append((what, advice, names, marks if left_out is None else marks.where(left_out == 0, 0.0)))

    def after_step(self) -> None:
        """Read one number.

        Raises:
            FloatingPointError: something was not finite; it names the first of it, the iteration and the images.
        """
        looks, self._looks = self._looks, []
        if not looks:
            return
        wrong = (~torch.cat([marks for *_, marks in looks]).isfinite()).sum()
        # On all processes, or those whose numbers are good would wait for the others in the next step.
        if sum_over_processes(wrong).item() == 0:
            return
        for what, advice, names, marks in looks:
            mine = [name for name, good in zip(names, marks.isfinite().tolist(), strict=True) if not good]
            found = comm.all_gather((mine, self.images))
            if any(names for names, _ in found):
                self._stop(what, found, advice)

    def _stop(self, what: str, found: list[tuple[list[str], list[str]]], advice: str) -> None:
        names = list(dict.fromkeys(name for names, _ in found for name in names))
        more = f" and of {len(names) - 1} more" if len(names) > 1 else ""
        wrong = f"{what}{names[0]}{more}" if what else ", ".join(sorted(names))
        images = ", ".join(image for names, images in found if names for image in images)
        raise FloatingPointError(
            f"{wrong} became infinite or NaN at iteration {self.trainer.iter} on the images with id {images}; nothing "
            f"of it was saved. To mend it, {advice}"
        )

"""The training loop and the hooks around it."""

import logging
import time
import weakref
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import cached_property

import numpy as np
import torch
from torch import nn

from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage

logger = logging.getLogger(__name__)


class HookBase:
    """Something done around the steps of a training; ``trainer`` is set when the hook is registered.

    A hook with state also has ``load_state_dict(state)``.
    """

    trainer: "TrainerBase" = None

    def before_train(self) -> None:
        """Before the first iteration."""

    def after_train(self) -> None:
        """After the last iteration, and also after an error: then ``trainer.iter`` is below ``trainer.max_iter``."""

    def before_step(self) -> None:
        """Before each iteration; must take next to no time."""

    def after_step(self) -> None:
        """After each iteration."""

    def state_dict(self) -> dict:
        """What a checkpoint must keep of this hook: tensors and plain values."""
        return {}


class TrainerBase:
    """A loop of iterations with hooks; subclasses say in :meth:`run_step` what an iteration is.

    While it runs, ``storage`` is its :class:`EventStorage` and ``iter`` the current iteration, from ``start_iter``;
    ``iter`` is ``max_iter`` after a training that succeeded.
    """

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter = self.start_iter = 0

    def register_hooks(self, hooks: Iterable[HookBase | None]) -> None:
        """Add hooks, called in this order. ``None`` stands for no hook."""
        for hook in (hook for hook in hooks if hook is not None):
            if not isinstance(hook, HookBase):
                raise TypeError(f"A hook must be a HookBase, got {hook!r}.")
            hook.trainer = weakref.proxy(self)  # the trainer owns its hooks, not the other way round
            self._hooks.append(hook)

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run the iterations ``range(start_iter, max_iter)``; ``after_train`` comes last whatever happens."""
        logger.info("Training from iteration %d to %d.", start_iter, max_iter)
        self.iter = self.start_iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                for self.iter in range(start_iter, max_iter):
                    self.before_step()
                    self.run_step()
                    self.after_step()
                self.iter += 1  # tells after_train that the training succeeded
            except Exception:
                logger.exception("Training failed at iteration %d:", self.iter)
                raise
            finally:
                self.after_train()

    def run_step(self) -> None:
        """One iteration."""
        raise NotImplementedError

    def _call_hooks(self, when: str) -> None:
        for hook in self._hooks:
            getattr(hook, when)()

    def before_train(self) -> None:
        self._call_hooks("before_train")

    def after_train(self) -> None:
        self.storage.iter = self.iter
        self._call_hooks("after_train")

    def before_step(self) -> None:
        self.storage.iter = self.iter  # what is stored during the step belongs to it
        self._call_hooks("before_step")

    def after_step(self) -> None:
        self._call_hooks("after_step")

    def state_dict(self) -> dict:
        """Iteration, and the hooks' states under their classes' names; of one class only the first can be kept."""
        hooks: dict[str, dict] = {}
        for hook in self._hooks:
            name = type(hook).__qualname__
            if (state := hook.state_dict()) and hooks.setdefault(name, state) is not state:
                logger.warning("Two hooks of class %s have state; only the first one's is stored.", name)
        return {"iteration": self.iter, "hooks": hooks} if hooks else {"iteration": self.iter}

    def load_state_dict(self, state_dict: Mapping) -> None:
        self.iter = state_dict["iteration"]
        first_of = {type(hook).__qualname__: hook for hook in reversed(self._hooks)}
        for name, state in state_dict.get("hooks", {}).items():
            if name in first_of:
                first_of[name].load_state_dict(state)
            else:
                logger.warning("The checkpoint has the state of a hook %s, which this training has not.", name)


class SimpleTrainer(TrainerBase):
    """One model, one optimizer, one source of data without an end; on several processes through DDP.

    ``model`` maps a batch to a dict of scalar losses; it is put in training mode.
    """

    def __init__(self, model, data_loader, optimizer):
        super().__init__()
        model.train()
        self.model, self.data_loader, self.optimizer = model, data_loader, optimizer
        # Neither does anything here: AMPTrainer has its own.
        self._autocast, self.grad_scaler = nullcontext(), torch.amp.GradScaler(enabled=False)

    @cached_property
    def _data_loader_iter(self):
        return iter(self.data_loader)  # workers start with the first step, not with the trainer

    def run_step(self) -> None:
        """Load, forward, backward, check the losses, update: in this order a NaN never reaches the weights."""
        if not self.model.training:
            raise RuntimeError(f"{type(self).__name__}: a hook left the model in eval mode; call model.train().")
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        with self._autocast:
            losses = self.model(data)
            total = sum(losses.values())
        self.optimizer.zero_grad()
        self.grad_scaler.scale(total).backward()
        self._write_metrics(losses, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _write_metrics(self, loss_dict: Mapping, data_time: float) -> None:
        """Store losses averaged over processes, their sum as ``total_loss``, and the slowest ``data_time``.

        Raises:
            FloatingPointError: the sum is infinite or NaN.
        """
        metrics = {name: loss.detach().cpu().item() for name, loss in loss_dict.items()}
        gathered = comm.gather({**metrics, "data_time": data_time})
        if not comm.is_main_process():
            return
        storage = get_event_storage()
        storage.put_scalar("data_time", max(m.pop("data_time") for m in gathered), cur_iter=self.iter)
        means = {name: float(np.mean([m[name] for m in gathered])) for name in gathered[0]}
        total = sum(means.values())
        if not np.isfinite(total):
            raise FloatingPointError(f"Losses {means} at iteration {self.iter} are not finite; lower SOLVER.BASE_LR.")
        storage.put_scalar("total_loss", total, cur_iter=self.iter)
        if len(means) > 1:
            storage.put_scalars(cur_iter=self.iter, **means)

    def state_dict(self) -> dict:
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: Mapping) -> None:
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])


class AMPTrainer(SimpleTrainer):
    """:class:`SimpleTrainer` with autocast to float16; a CPU model is a ValueError."""

    def __init__(self, model: nn.Module, data_loader, optimizer):
        if (device := next(model.parameters()).device).type != "cuda":
            raise ValueError(f"SOLVER.AMP.ENABLED needs a CUDA device, the model is on {device}; set it to False.")
        super().__init__(model, data_loader, optimizer)
        self.grad_scaler = torch.amp.GradScaler("cuda")
        self._autocast = torch.autocast("cuda", dtype=torch.float16)

    def state_dict(self) -> dict:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: Mapping) -> None:
        super().load_state_dict(state_dict)
        self.grad_scaler.load_state_dict(state_dict["grad_scaler"])

"""Hooks of this project's training loops."""

import math

import torch
from torch import nn

from detectron2.engine import HookBase
from meddet_d2.distillation.methods.meddet.adversarial import discriminator_loss

from .parallel import averaged, parallel


class DiscriminatorHook(HookBase):
    """Updates the discriminator of the AATM after each step of the student.

    The distiller leaves what the discriminator sees of the step's fused and generated maps, detached, and this hook
    teaches the discriminator to tell them apart. It hangs on ``after_step``: under ``DefaultTrainer`` Detectron2
    never calls ``after_backward``. It owns everything of the discriminator (weights, Adam, its DDP wrapper), because
    of two stateful hooks of one class Detectron2 would save only the first.

    Args:
        distiller: has ``discriminator`` and, after each step, ``pairs``.
        lr, betas: of the discriminator's Adam.
        real_label: target for real maps, in (0.5, 1]; below 1 it is one-sided label smoothing.
        clip: the greatest norm of all its gradients together; 0: as they are.
    """

    def __init__(
        self,
        distiller: nn.Module,
        *,
        lr: float,
        betas: tuple[float, float],
        real_label: float = 1.0,
        clip: float = 0.0,
    ):
        if not clip >= 0:
            raise ValueError(f"DISTILL.AATM.CLIP_GRADIENTS is {clip}; give a norm of at least 0.")
        self.distiller = distiller
        self.discriminator = distiller.discriminator
        self.model = parallel(self.discriminator)
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=tuple(betas))
        self.real_label = real_label
        self.clip = clip

    def after_step(self) -> None:
        """One Adam step on the pairs of this iteration.

        Raises:
            FloatingPointError: the discriminator's loss, a gradient or a weight is not finite; nothing is written.
        """
        pairs, guard = self.distiller.pairs, self.trainer.guard
        self.discriminator.train()
        # Real and fake of every level go through one forward: DDP then reduces once.
        described = [torch.cat(pair) for pair in pairs]
        split = [logits.chunk(2) for logits in self.model(described)]
        loss = torch.stack([discriminator_loss(real, fake, self.real_label) for real, fake in split]).mean()
        with torch.no_grad():
            correct = torch.stack([torch.cat([real > 0, fake <= 0]).float().mean() for real, fake in split]).mean()
        measured = averaged({"loss_discriminator": loss.item(), "discriminator_accuracy": correct.item()})
        # On all processes, or those whose loss is good would wait for the others in the backward pass.
        if not math.isfinite(measured["loss_discriminator"]):
            guard.stop("the discriminator's loss", "lower DISTILL.AATM.LR or keep DISTILL.AATM.STANDARDIZE on.")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        guard.check_gradients(self.discriminator.named_parameters(), part="discriminator.")
        if self.clip:
            nn.utils.clip_grad_norm_(self.discriminator.parameters(), self.clip)
        self.optimizer.step()
        guard.check_weights(self.discriminator.named_parameters(), part="discriminator.")
        self.trainer.storage.put_scalars(**measured, smoothing_hint=False)
        self.distiller.pairs = None

    def state_dict(self) -> dict:
        """The discriminator's weights and its optimizer's state."""
        return {"discriminator": self.discriminator.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.discriminator.load_state_dict(state_dict["discriminator"])
        self.optimizer.load_state_dict(state_dict["optimizer"])


class TeacherRecord:
    """The checksums of the teachers' files, as a part of a checkpoint: a resume with other teachers is refused.

    Args:
        checksums: of each teacher its file's SHA-256, by the teacher's name.
        accept_changed: take the teachers as they are now.
    """

    def __init__(self, checksums: dict[str, str], accept_changed: bool = False):
        self.checksums = checksums
        self.accept_changed = accept_changed

    def state_dict(self) -> dict[str, str]:
        return dict(self.checksums)

    def load_state_dict(self, state_dict: dict[str, str]) -> None:
        """Compare.

        Raises:
            ValueError: a teacher's file is another than the one that the run began with.
        """
        changed = sorted(
            name
            for name in self.checksums.keys() | state_dict.keys()
            if self.checksums.get(name) != state_dict.get(name)
        )
        if changed and not self.accept_changed:
            then, now = (record.get(changed[0], "none")[:12] for record in (state_dict, self.checksums))
            raise ValueError(
                f"Teacher {changed[0]} is not the one that this run began with (SHA-256 {then}... then, {now}... now); "
                "put its file back, or accept the new one with DISTILL.TEACHERS.ACCEPT_CHANGED True."
            )

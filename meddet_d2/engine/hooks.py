"""Hooks of this project's training loops."""

import torch
from torch import nn

from detectron2.engine import HookBase
from detectron2.engine.defaults import create_ddp_model
from meddet_d2.distillation.adversarial import discriminator_loss


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
    """

    def __init__(self, distiller: nn.Module, *, lr: float, betas: tuple[float, float], real_label: float = 1.0):
        self.distiller = distiller
        self.discriminator = distiller.discriminator
        self.model = create_ddp_model(self.discriminator, broadcast_buffers=False)
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=tuple(betas))
        self.real_label = real_label

    def after_step(self) -> None:
        """One Adam step on the pairs of this iteration.

        Raises:
            FloatingPointError: the discriminator's loss is not finite; nothing is updated.
        """
        pairs = self.distiller.pairs
        self.discriminator.train()
        # Real and fake of every level go through one forward: DDP then reduces once.
        described = [torch.cat(pair) for pair in pairs]
        split = [logits.chunk(2) for logits in self.model(described)]
        loss = torch.stack([discriminator_loss(real, fake, self.real_label) for real, fake in split]).mean()
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"The discriminator's loss became {loss.item()} at iteration {self.trainer.iter}; "
                "lower DISTILL.AATM.LR or keep DISTILL.AATM.STANDARDIZE on."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            correct = [torch.cat([real > 0, fake <= 0]).float().mean() for real, fake in split]
        self.trainer.storage.put_scalars(
            loss_discriminator=loss.item(),
            discriminator_accuracy=torch.stack(correct).mean().item(),
            smoothing_hint=False,
        )
        self.distiller.pairs = None

    def state_dict(self) -> dict:
        """The discriminator's weights and its optimizer's state."""
        return {"discriminator": self.discriminator.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.discriminator.load_state_dict(state_dict["discriminator"])
        self.optimizer.load_state_dict(state_dict["optimizer"])

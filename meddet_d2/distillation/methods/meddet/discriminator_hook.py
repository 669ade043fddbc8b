"""The discriminator's own training, beside the student's."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detectron2.engine import HookBase
from meddet_d2.hardware.processes import parallel

from .adversarial import Adversary, discriminator_loss

ADVICE = "lower DISTILL.MEDDET.AATM.LR or keep DISTILL.MEDDET.AATM.STANDARDIZE on."


class DiscriminatorHook(HookBase):
    """Updates the discriminator of the AATM after each step of the student.

    The adversary has kept what it saw of the step's fused and generated maps, detached, and this hook teaches the
    discriminator to tell them apart. It hangs on ``after_step``: under ``DefaultTrainer`` Detectron2
    never calls ``after_backward``. It owns everything of the discriminator (weights, Adam, its DDP wrapper), because
    of two stateful hooks of one class Detectron2 would save only the first.

    Args:
        adversary: with the discriminator, and after each step with what it judged.
        lr, betas: of the discriminator's Adam.
        real_label: target for real maps, in (0.5, 1]; below 1 it is one-sided label smoothing.
        clip: the greatest norm of all its gradients together; 0: as they are.
    """

    def __init__(
        self,
        adversary: Adversary,
        *,
        lr: float,
        betas: Sequence[float],
        real_label: float = 1.0,
        clip: float = 0.0,
    ):
        if not clip >= 0:
            raise ValueError(f"DISTILL.MEDDET.AATM.CLIP_GRADIENTS is {clip}; give a norm of at least 0.")
        self.adversary = adversary
        self.discriminator = adversary.discriminator
        self.model = parallel(self.discriminator)
        parameters = list(self.discriminator.parameters())
        self.optimizer = torch.optim.Adam(
            parameters, lr=lr, betas=(betas[0], betas[1]), fused=all(p.is_cuda for p in parameters) or None
        )
        self.real_label = real_label
        self.clip = clip

    def after_step(self) -> None:
        """One Adam step on what was judged in this iteration."""
        self.learn(self.adversary.take())

    def learn(self, lesson: list[tuple[Tensor, Tensor]]) -> None:
        """One Adam step.

        Args:
            lesson: of each level the descriptions of real and of fake maps.
        """
        guard = self.trainer.guard
        self.discriminator.train()
        # Real and fake of every level go through one forward: DDP then reduces once.
        described = [torch.cat(pair) for pair in lesson]
        split = [logits.chunk(2) for logits in self.model(described)]
        loss = torch.stack([discriminator_loss(real, fake, self.real_label) for real, fake in split]).mean()
        with torch.no_grad():
            correct = torch.stack([torch.cat([real > 0, fake <= 0]).float().mean() for real, fake in split]).mean()
        guard.look("", [("the discriminator's loss", loss)], advice=ADVICE)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        guard.look_at_gradients(self.discriminator.named_parameters(), self.optimizer, part="discriminator.")
        if self.clip:
            nn.utils.clip_grad_norm_(self.discriminator.parameters(), self.clip)
        self.optimizer.step()
        guard.look("the value of discriminator.", self.discriminator.named_parameters())
        self.trainer.step_metrics.put({"loss_discriminator": loss.detach(), "discriminator_accuracy": correct})

    def state_dict(self) -> dict:
        """The discriminator's weights and its optimizer's state."""
        return {"discriminator": self.discriminator.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.discriminator.load_state_dict(state_dict["discriminator"])
        self.optimizer.load_state_dict(state_dict["optimizer"])

"""The adversarial auxiliary teacher module (AATM): generator, discriminator and their losses, equation 1 of MedDet.

Shapes in this module: N images, C channels, (H, W) the size of a level's map, P the side of the pooled map. Logits are
positive where the discriminator takes a map for real, that is for the fused map of the teachers.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from meddet_d2.config.arguments import require, require_choice

# The generator's side of eq. 1 for the discriminator's logits on generated maps.
GENERATOR_LOSSES = {
    "non_saturating": lambda logits: F.softplus(-logits.float()).mean(),
    "minimax": lambda logits: -F.softplus(logits.float()).mean(),
}


class Generator(nn.Module):
    """``Conv3x3 - ReLU - Conv3x3``: makes a map like the teachers' from one aligned map of the student.

    It stands between the student and the imitation loss (eq. 13), in training only, one for each level.

    Args:
        channels: C, in and out.
        residual: add the layers' output to the map instead of putting it in the map's place. The last layer then starts
            at zero and the generator as the identity, so that the student's own map is what has to look like the
            teachers', and the layers only add what it cannot have.
    """

    def __init__(self, *, channels: int, residual: bool = False):
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
        )
        if residual:
            for parameter in self.layers[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, feature: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        made = self.layers(feature)
        return feature + made if self.residual else made


class Discriminator(nn.Module):
    """Tells the teachers' fused maps from generated ones: for each level three fully connected layers.

    A map is standardised, pooled to P x P, so that any image size works, and flattened: :meth:`describe`, which has no
    weights. So the student's step describes its maps once, for its own loss and for the discriminator's step.

    Args:
        channels: C of each level.
        pool: P. A smaller map has its values repeated.
        hidden: widths of the first two layers; the third has one output.
        standardize: standardise the maps, see :func:`standardize`. It leaves nothing of a level of a single cell (P7 of
            an image of up to 128 pixels): there the discriminator cannot learn and L_adv is a constant.
    """

    def __init__(
        self, *, channels: Sequence[int], pool: int = 4, hidden: Sequence[int] = (256, 64), standardize: bool = True
    ):
        super().__init__()
        require(len(hidden) == 2, "DISTILL.MEDDET.AATM.HIDDEN", tuple(hidden), "the widths of two hidden layers")
        require(pool >= 1, "DISTILL.MEDDET.AATM.POOL", pool, "at least 1")
        self.pool = pool
        self.standardize = standardize
        self.levels = nn.ModuleList(
            nn.Sequential(
                nn.Linear(c * pool * pool, hidden[0]),
                nn.LeakyReLU(0.2),
                nn.Linear(hidden[0], hidden[1]),
                nn.LeakyReLU(0.2),
                nn.Linear(hidden[1], 1),
            )
            for c in channels
        )

    def describe(self, features: Sequence[Tensor]) -> list[Tensor]:
        """What is judged of one map (N, C, H, W) of each level: (N, C * P * P), in fp32."""
        pool = standardized_pool if self.standardize else F.adaptive_avg_pool2d
        return [pool(x if x.dtype == torch.float64 else x.float(), self.pool).flatten(1) for x in features]

    def forward(self, described: Sequence[Tensor]) -> list[Tensor]:
        """Judge what :meth:`describe` made of one map of each level; returns a logit (N, 1) for each level."""
        return [layers(x) for layers, x in zip(self.levels, described, strict=True)]


class Adversary:
    """The discriminator as the student's step meets it: standing still, and watching for a lesson to come.

    This is no nn.Module, so whatever holds it does not take the discriminator for its own.

    Args:
        discriminator: trained by ``DiscriminatorHook`` on what :meth:`take` gives.
    """

    def __init__(self, discriminator: Discriminator):
        self.discriminator = discriminator
        self._lesson: list[tuple[Tensor, Tensor]] | None = None

    def judge(self, real: Sequence[Tensor], fake: Sequence[Tensor]) -> list[Tensor]:
        """Judge generated maps.

        Args:
            real: the fused maps (N, C, H, W), one of each level, without a graph.
            fake: the generated maps, likewise; the gradient reaches them and not the discriminator.

        Returns:
            A logit (N, 1) for each image on each level.
        """
        described = self.discriminator.describe(fake)
        pairs = zip(self.discriminator.describe(real), described, strict=True)
        self._lesson = [(r, f.detach()) for r, f in pairs]
        return frozen_call(self.discriminator, described)

    def take(self) -> list[tuple[Tensor, Tensor]]:
        """What was judged last: of each level the description of the real and of the fake maps, detached. Once only.

        Raises:
            RuntimeError: nothing was judged since the last call.
        """
        if self._lesson is None:
            raise RuntimeError("Nothing was judged since the discriminator's last step; run the distiller first.")
        lesson, self._lesson = self._lesson, None
        return lesson


def standardized_pool(feature: Tensor, size: int, eps: float = 1e-5) -> Tensor:
    """Give each channel of each image mean 0 and variance 1 over the map, and pool it to size x size by its mean.

    Without the first the discriminator can win by the maps' scale alone, which teaches the student nothing.

    Args:
        feature: (N, C, H, W). A constant channel becomes zero.
        size: of the result. A smaller map has its values repeated.
        eps: added to the variance.
    """
    variance, mean = torch.var_mean(feature, dim=(2, 3), correction=0, keepdim=True)
    # A mean of values less their mean is the same in either order, and pooled there are few of them.
    return (F.adaptive_avg_pool2d(feature, size) - mean) * (variance + eps).rsqrt()


def frozen_call(module: nn.Module, *inputs: Any) -> Any:
    """Run ``module`` with its parameters held constant: gradients reach the inputs and never the parameters.

    Better than switching ``requires_grad`` off and on: nothing can forget to switch it on again, and a
    DistributedDataParallel wrapper around the module does not notice.
    """
    constants = {name: parameter.detach() for name, parameter in module.named_parameters()}
    return torch.func.functional_call(module, constants, inputs)


def generator_loss(logits: Tensor, kind: str = "non_saturating") -> Tensor:
    """The generator's side of eq. 1, the mean over the images.

    Args:
        logits: (N, 1), the discriminator's on generated maps.
        kind: "minimax" is ``log(1 - D(G))`` as the equation has it, whose gradient vanishes where the discriminator is
            sure; "non_saturating" is ``-log D(G)``, with the same fixed point and a gradient there.

    Returns:
        A scalar: non_saturating in [0, inf), ln 2 where D is undecided; minimax in (-inf, 0].

    Raises:
        ValueError: unknown kind.
    """
    require_choice("DISTILL.MEDDET.AATM.GENERATOR_LOSS", kind, GENERATOR_LOSSES)
    return GENERATOR_LOSSES[kind](logits)


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor, real_label: float = 1.0) -> Tensor:
    """The discriminator's side of eq. 1: binary cross-entropy of real and of fake maps, added.

    Args:
        real_logits: (N, 1), on fused maps of the teachers.
        fake_logits: (N, 1), on generated maps.
        real_label: target for real maps; 0.9 is one-sided label smoothing.

    Returns:
        A scalar >= 0; 2 ln 2 = 1.386 where D is undecided.
    """
    real = F.binary_cross_entropy_with_logits(real_logits.float(), torch.full_like(real_logits, real_label).float())
    fake = F.binary_cross_entropy_with_logits(fake_logits.float(), torch.zeros_like(fake_logits).float())
    return real + fake

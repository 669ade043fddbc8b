"""What can stand in the place of a backbone's BatchNorm: GroupNorm, or a BatchNorm over all processes."""

import math
from collections.abc import Callable

import torch
from fvcore.nn.distributed import differentiable_all_reduce
from torch import Tensor, nn

from ..hardware.processes import count_processes
from .group_norm import GroupNorm, NormReluSequential


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm by the images of all processes in training, on any device: torch's own needs CUDA.

    The mean comes before the variance, in two exchanges: a difference of two sums would lose the small variances.
    Parameters, buffers and evaluation are BatchNorm2d's. Every process must call it, with the same number of channels.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape; N may differ between processes."""
        if not self.training or count_processes() == 1:
            return super().forward(x)
        over = (0, 2, 3)
        sums = torch.cat([x.sum(over), x.new_tensor([x.numel() / x.shape[1]])])
        sums = differentiable_all_reduce(sums)
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        centred = x - mean[:, None, None]
        variance = differentiable_all_reduce(centred.square().sum(over)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * (count / (count - 1).clamp(min=1)))
        scaled = centred * (variance + self.eps).rsqrt()[:, None, None]
        return scaled * self.weight[:, None, None] + self.bias[:, None, None] if self.affine else scaled

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        batches, running_mean, running_var = self.num_batches_tracked, self.running_mean, self.running_var
        assert batches is not None and running_mean is not None and running_var is not None  # track_running_stats
        batches += 1
        share = 1 / batches.item() if self.momentum is None else self.momentum
        running_mean.lerp_(mean, share)
        running_var.lerp_(variance, share)


def group_norm(norm: nn.BatchNorm2d) -> GroupNorm:
    """A GroupNorm with the affine parameters of a BatchNorm.

    There are 32 groups where 32 divides the channels, else the largest power of two that does; but never groups of
    one channel, which could not be normalised on a 1x1 map.
    """
    groups = math.gcd(32, norm.num_features)
    if groups == norm.num_features:
        groups = max(groups // 2, 1)
    made = GroupNorm(groups, norm.num_features)
    made.weight, made.bias = norm.weight, norm.bias
    return made


def sync_batch_norm(norm: nn.BatchNorm2d) -> SyncBatchNorm2d:
    """A SyncBatchNorm2d with the parameters and statistics of a BatchNorm."""
    made = SyncBatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made.weight, made.bias = norm.weight, norm.bias
    made.running_mean, made.running_var = norm.running_mean, norm.running_var
    made.num_batches_tracked = norm.num_batches_tracked
    return made


# MODEL.BOTTOM_UP.NORM, and what it puts in the place of a BatchNorm; None leaves it.
NORMS: dict[str, Callable[[nn.BatchNorm2d], nn.Module] | None] = {
    "BN": None,
    "GN": group_norm,
    "SyncBN": sync_batch_norm,
}


def replace_batch_norm(module: nn.Module, name: str) -> nn.Module:
    """Return ``module`` with the norm called ``name``, of NORMS, in the place of every BatchNorm2d."""
    make = NORMS[name]
    if make is None:
        return module
    if isinstance(module, nn.BatchNorm2d):
        # timm's BatchNormAct2d is also the activation that follows.
        activation = getattr(module, "act", None)
        return make(module) if activation is None else NormReluSequential(make(module), activation)
    for child_name, child in module.named_children():
        module.add_module(child_name, replace_batch_norm(child, name))
    return module

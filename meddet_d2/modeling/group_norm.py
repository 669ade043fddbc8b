"""GroupNorm, and the ReLU behind it, as one kernel each way on CUDA; torch's own modules elsewhere."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu

from ..hardware.triton_use import has_kernel, is_dense


class GroupNorm(nn.GroupNorm):
    """torch's GroupNorm (Wu and He, equation 1), which on CUDA keeps its input's memory order.

    torch's own goes from channels-last to NCHW there, and the next convolution back. The kernel computes in float32
    and returns the input's dtype, under autocast too: torch's own returns float32, which a convolution casts again.
    """

    def forward(self, x: Tensor, then_relu: bool = False) -> Tensor:
        """Map (N, C, H, W) to the same shape, dtype and memory order; with ``then_relu``, its ReLU."""
        if self.has_kernel(x):
            from .group_norm_kernel import group_norm

            x = x if is_dense(x) else x.contiguous()
            return group_norm(x, self.weight, self.bias, self.num_groups, self.eps, then_relu)[0]
        y = super().forward(x)
        return relu(y) if then_relu else y

    def has_kernel(self, x: Tensor) -> bool:
        """Whether the kernel serves an input. Groups of one channel are torch's, which refuses groups of one value."""
        return has_kernel(x) and x.dim() == 4 and self.affine and self.num_channels > self.num_groups


class NormReluSequential(nn.Sequential):
    """nn.Sequential, in which a GroupNorm that has a kernel does the ReLU behind it, too: that is then not called."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x through all layers."""
        done = False
        for layer, following in pairwise([*self, None]):
            if done:
                done = False
            elif isinstance(layer, GroupNorm) and isinstance(following, nn.ReLU) and layer.has_kernel(x):
                x, done = layer(x, then_relu=True), True
            else:
                x = layer(x)
        return x

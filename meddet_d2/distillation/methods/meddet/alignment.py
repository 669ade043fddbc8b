"""Adaptive feature alignment (AFA), equation 6 of the MedDet paper.

Shapes in this module: N images, C1 channels in, C2 channels out, (H, W) the map's size, (H1, W1) the student's.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class AdaptiveFeatureAlignment(nn.Module):
    """``align(x) = AdaptiveMaxPool(Conv1x1(x))``: one level of one network, mapped to common channels and size.

    Where the channels agree the convolution starts as the identity, so that at the start every network shows its own,
    unmixed features. Otherwise it starts with orthonormal rows or columns, which keep the features' scale.

    Args:
        in_channels: C1, of this network's map.
        out_channels: C2, of all aligned maps.
    """

    def __init__(self, *, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        if in_channels == out_channels:
            nn.init.dirac_(self.conv.weight)
        else:
            nn.init.orthogonal_(self.conv.weight)
        nn.init.zeros_(self.conv.get_parameter("bias"))

    def forward(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Align one map.

        Args:
            feature: (N, C1, H, W).
            size: (H1, W1), the size of the student's map at this level.

        Returns:
            (N, C2, H1, W1). A map that already has the size is not pooled; a smaller one has its values repeated.
        """
        aligned = self.conv(feature)
        return aligned if aligned.shape[-2:] == tuple(size) else F.adaptive_max_pool2d(aligned, tuple(size))

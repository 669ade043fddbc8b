"""Building blocks of networks."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops import boxes as box_ops


@dataclass
class ShapeSpec:
    """What a module can say about a map before it sees one."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` that applies ``norm`` and then ``activation`` (each a callable or None) to its output."""

    def __init__(self, *args, norm: nn.Module | None = None, activation: Callable | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.norm, self.activation = norm, activation

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        x = x if self.norm is None else self.norm(x)
        return x if self.activation is None else self.activation(x)


def get_norm(norm: str | Callable[[int], nn.Module] | None, out_channels: int) -> nn.Module | None:
    """A layer by name ("BN", "SyncBN", "FrozenBN", "GN") or from a callable of the channels; None for "" and None."""
    if not norm:
        return None
    named = {"BN": nn.BatchNorm2d, "SyncBN": nn.SyncBatchNorm, "FrozenBN": FrozenBatchNorm2d}
    named["GN"] = lambda channels: nn.GroupNorm(32, channels)
    return (named[norm] if isinstance(norm, str) else norm)(out_channels)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Suppress within each group of ``idxs`` (N,). Returns the indices that stay, by falling score.

    Boxes (N, 4) go to float32 first: the offset that keeps groups apart does not fit into half precision.
    """
    return box_ops.batched_nms(boxes.float(), scores, idxs, iou_threshold)

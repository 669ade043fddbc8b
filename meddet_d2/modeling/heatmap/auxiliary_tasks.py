"""What a teacher learns beside its heat maps, so that its features say more: offsets to landmarks, and structures.

FSF-LD's teacher is pretrained on several tasks; which ones cannot be read, so these are this project's choice. Offsets
are those of landmark detection by voting: every place near a landmark says where it lies. Structures are masks, such as
vertebral bodies and discs. The heads are a 1x1 convolution each. Training alone needs them.

Shape legend:
    N: images; K: landmarks; S: structures; h, w: height and width of a map in cells
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# A pixel's value in a structure's mask where nobody has said whether it belongs to it.
UNKNOWN = 255
# Keeps Dice's quotient finite where there is no structure, in cells.
_SMOOTH = 1.0


def offset_errors(
    predicted: Tensor, centers: Tensor, radius: Tensor, present: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """How far the offsets point beside the landmarks, summed over the cells near them.

    Args:
        predicted: (N, 2 * K, h, w): for each landmark dx and dy to it, in radii.
        centers: (N, K, 2) landmarks as x, y in cells.
        radius: (N,) in cells: farther cells say nothing.
        present: (N, K) bool.
        valid: (N, 1, h, w) bool, the cells of the image.

    Returns:
        The sums over dx and dy of absolute errors, and the number of cells near landmarks: two scalars.
    """
    height, width = predicted.shape[-2:]
    dx, dy = (
        centers[..., axis, None] - torch.arange(side, device=centers.device) for axis, side in ((0, width), (1, height))
    )
    near = dx.square()[:, :, None, :] + dy.square()[..., None] <= radius.square()[:, None, None, None]
    near = near & present[..., None, None] & valid
    scale = radius[:, None, None]
    targets = torch.stack(torch.broadcast_tensors((dx / scale)[:, :, None, :], (dy / scale)[..., None]), dim=2)
    errors = (predicted.float().unflatten(1, (-1, 2)) - targets).abs().sum(dim=2)
    # Where there is no landmark its place may be anything.
    return torch.where(near, errors, 0.0).sum(), near.sum()


def structure_errors(logits: Tensor, masks: Tensor, stride: int, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Dice loss plus binary cross entropy of each structure in each image, where masks are known.

    Args:
        logits: (N, S, h, w).
        masks: (N, S, height, width) uint8 from the images' first pixel on, 1 inside, 0 outside, 255 where it is not
            known. A cell's target is the part of its pixels inside; it counts if all of them are known.
        stride: pixels of a cell.
        valid: (N, 1, h, w) bool, the cells of the image.

    Returns:
        The sum over images and structures, and the number of those of which any cell is known: two scalars.
    """
    rest = [side * stride - own for side, own in zip(logits.shape[-2:], masks.shape[-2:], strict=True)]
    masks = F.pad(masks, (0, rest[1], 0, rest[0]), value=UNKNOWN)
    known = ((F.avg_pool2d((masks == UNKNOWN).float(), stride) == 0) & valid).float()
    target = F.avg_pool2d((masks == 1).float(), stride)
    logits = logits.float()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    cells = known.sum(dim=(2, 3))
    scores = logits.sigmoid() * known
    both, either = (scores * target).sum(dim=(2, 3)), (scores + target * known).sum(dim=(2, 3))
    dice = 1 - (2 * both + _SMOOTH) / (either + _SMOOTH)
    errors = (entropy * known).sum(dim=(2, 3)) / cells.clamp(min=1) + dice
    return torch.where(cells > 0, errors, 0.0).sum(), (cells > 0).sum()

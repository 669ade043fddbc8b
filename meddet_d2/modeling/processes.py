"""Numbers of a whole step, summed or averaged over the processes that share its batch.

None of it takes part in a gradient. Every process must call these equally often and with the same shapes. Without
other processes they do nothing.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def count_processes() -> int:
    """How many processes share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(values: Tensor) -> Tensor:
    """The values, added up over the processes."""
    if count_processes() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def mean_over_processes(values: Sequence[Tensor]) -> list[Tensor]:
    """Each value's mean over the processes, in one exchange for all; they keep their shapes and their type."""
    if count_processes() == 1:
        return list(values)
    total = sum_over_processes(torch.cat([x.flatten() for x in values])) / count_processes()
    pieces = total.split([x.numel() for x in values])
    return [piece.view(x.shape).to(x.dtype) for piece, x in zip(pieces, values, strict=True)]


def own_share(first: int) -> int:
    """How many of the first images of a step's batch are this process's: also its own first ones.

    Image i of the batch belongs to process i modulo their number (``TrainingStream``).
    """
    processes = count_processes()
    if processes == 1:
        return first
    return max(0, -(-(first - dist.get_rank()) // processes))

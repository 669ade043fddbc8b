"""Numbers of a whole step, summed or averaged over the processes that share its batch; and the models that they share.

None of the numbers takes part in a gradient. Every process must call these equally often and with the same shapes.
Without other processes they do nothing.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from detectron2.utils import comm


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


def parallel(model: nn.Module) -> nn.Module:
    """The model in DistributedDataParallel, on any device; as it is if there is one process.

    Detectron2's own ``create_ddp_model`` names a GPU in any case.
    """
    if comm.get_world_size() == 1:
        return model
    cuda = next(model.parameters()).is_cuda
    # Statistics are averaged, not taken from the first process: see AveragedStatistics.
    return nn.parallel.DistributedDataParallel(
        model, device_ids=[torch.cuda.current_device()] if cuda else None, broadcast_buffers=False
    )


def averaged(values: Mapping[str, float]) -> dict[str, float]:
    """Named numbers, each the mean over the processes; NaN on one of them is NaN on all."""
    if comm.get_world_size() == 1:
        return dict(values)
    gathered = comm.all_gather(dict(values))
    return {name: sum(one[name] for one in gathered) / len(gathered) for name in values}

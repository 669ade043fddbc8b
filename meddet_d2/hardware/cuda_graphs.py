"""CUDA graphs: all kernels between a batch and decoding in one launch, for each size of batch (MODEL.CUDA_GRAPHS).

A graph runs the kernels that were recorded, on the memory that they were recorded with. So a network's weights may
change in place, as an optimizer and ``load_state_dict`` change them, but not be replaced.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

# Calls before a recording: cuDNN and Triton choose and build their kernels in the first ones.
WARM_UP = 3


def record(function: Callable[..., Any], *inputs: Tensor, pool: Any = None) -> Callable[..., Any]:
    """A CUDA graph of a function.

    Args:
        function: of tensors on one CUDA device. It must not wait for the device, and its kernels and their sizes must
            depend on nothing but its inputs' sizes.
        inputs: examples. Their values count nothing; sizes, memory order and dtype are recorded.
        pool: memory of other graphs that this one may use (``torch.cuda.graph_pool_handle``); None: memory that no
            other graph uses. Graphs that share it overwrite each other's outputs.

    Returns:
        What the function returned, for new inputs of the same sizes. The next call writes to the same memory.
    """
    static = [given.detach().clone() for given in inputs]
    here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            function(*static)
    here.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        outputs = function(*static)

    def replay(*given: Tensor) -> Any:
        for place, values in zip(static, given, strict=True):
            place.copy_(values, non_blocking=True)
        graph.replay()
        return outputs

    return replay


class GraphedNetwork:
    """The part of a network between a batch and decoding, with a CUDA graph for each size of batch.

    It serves predictions in single precision. Where gradients are kept, and under autocast, the network runs as it is.

    Args:
        network: maps a batch (N, C, H, W) to tensors.
        sizes: graphs are recorded for so many sizes of batch, the first ones. Batches of others run without a graph,
            and a warning says so once.
        recorder: called with a function and an input, gives a call of the same kind, as :func:`record`.
    """

    def __init__(self, network: Callable[[Tensor], Any], sizes: int, recorder: Callable[..., Any] | None = None):
        self.network, self.sizes = network, sizes
        self._recorder = recorder
        self._pool: Any = None
        self._graphs: dict[tuple, Callable[[Tensor], Any]] = {}
        self._warned = False

    def __call__(self, images: Tensor) -> Any:
        if torch.is_grad_enabled() or torch.is_autocast_enabled(images.device.type):
            return self.network(images)
        key = (images.shape, images.stride(), images.dtype)
        if key not in self._graphs:
            if len(self._graphs) == self.sizes:
                self._warn(images)
                return self.network(images)
            # Outside of inference mode, or what is recorded could not be used outside of it either.
            with torch.inference_mode(False), torch.no_grad():
                self._graphs[key] = self._record(images)
        return self._graphs[key](images)

    def _record(self, images: Tensor) -> Callable[[Tensor], Any]:
        if self._recorder is not None:
            return self._recorder(self.network, images)
        # Of two graphs one runs at a time, and decoding has copied from its outputs before the next one does.
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        with torch.cuda.device(images.device):
            return record(self.network, images, pool=self._pool)

    def _warn(self, images: Tensor) -> None:
        if not self._warned:
            self._warned = True
            count, _, height, width = images.shape
            logger.warning(
                "MODEL.CUDA_GRAPHS is %d, and batches had so many sizes before this one of %d x %d x %d: it and others "
                "run without a graph, which is slower. Raise the key, or give images of fewer sizes.",
                self.sizes, count, height, width,
            )  # fmt: skip


def graph_network(detector: Any, sizes: int) -> None:
    """Let a detector predict by CUDA graphs: its ``network`` becomes a :class:`GraphedNetwork`.

    Args:
        detector: a module on its device, with ``network``, which maps a normalised batch to what decoding reads.
        sizes: ``MODEL.CUDA_GRAPHS``; 0 changes nothing. So does another device than CUDA, with a warning.

    Raises:
        ValueError: below 0, or the detector has no ``network``.
    """
    if sizes < 0:
        raise ValueError(f"MODEL.CUDA_GRAPHS is {sizes}; give a number of sizes, or 0 for no graphs.")
    if sizes == 0:
        return
    if not hasattr(detector, "network"):
        raise ValueError(f"MODEL.CUDA_GRAPHS is {sizes}, but a {type(detector).__name__} has no network to record.")
    device = next(detector.parameters()).device
    if device.type != "cuda":
        logger.warning("MODEL.CUDA_GRAPHS is %d, but MODEL.DEVICE is %s: the network runs without.", sizes, device)
        return
    detector.network = GraphedNetwork(detector.network, sizes)

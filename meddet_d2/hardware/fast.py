"""What makes a network fast on its device and changes none of its results but by rounding."""

from collections.abc import Iterable
from typing import Any

from .compiling import compile_parts
from .cuda_graphs import graph_network


def make_fast(network: Any, parts: Iterable[str], *, compiled: bool, graphs: int) -> Any:
    """Prepare a network that is on its device.

    Args:
        network: a module whose meta-architecture has ``network`` (:func:`graph_network`).
        parts: names of the submodules to compile, as a task names them.
        compiled: ``MODEL.COMPILE``.
        graphs: ``MODEL.CUDA_GRAPHS``.

    Returns:
        The network.

    Raises:
        ValueError: as :func:`graph_network`.
    """
    if compiled:
        compile_parts(network, parts)
    graph_network(network, graphs)
    return network

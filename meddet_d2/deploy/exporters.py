"""Which exporter writes a network as ONNX: one for each task."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import onnx
from fvcore.common.registry import Registry
from torch import nn

from ..distillation import task_of

EXPORTER_REGISTRY = Registry("EXPORTER")
EXPORTER_REGISTRY.__doc__ = "Exporters: classes that follow the protocol :class:`Exporter`."


class Exporter(Protocol):
    """What an export asks of one kind of network.

    Attributes:
        task: the name of its task's class. It also writes the networks of a task derived from that.
    """

    task: str

    def network_graph(self, network: Any) -> onnx.ModelProto:
        """The network from normalised images to its head's outputs."""

    def whole_graph(self, network: Any, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Images as they are read in, findings out; ``graph`` is :meth:`network_graph`'s, or an int8 one of it."""

    def thresholds(self, network: Any) -> dict[str, float]:
        """What the graph decides by, for the card."""


def exporter_for(network: nn.Module) -> Exporter:
    """The exporter of a network.

    Raises:
        ValueError: there is none for its task.
    """
    names = [kind.__name__ for kind in type(task_of(network)).__mro__]
    exporters = {exporter.task: exporter for _, exporter in EXPORTER_REGISTRY}
    for name in names:
        if name in exporters:
            return exporters[name]()
    raise ValueError(
        f"{type(network).__name__} cannot be exported: no exporter in EXPORTER_REGISTRY is for {names[0]}; a plugin"
        " (--plugin) may register one."
    )


@contextmanager
def quiet_export() -> Iterator[None]:
    """In the block no library writes its steps or others' deprecations on the terminal. Errors are shown."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

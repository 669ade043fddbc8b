"""GFL as ONNX: backbone, FPN and head as torch writes them, with reading and decoding around them (graph.py)."""

from functools import partial
from typing import Any

import numpy as np
import onnx
from onnxscript import ir

from ..modeling import GFL
from . import graph
from .exporters import EXPORTER_REGISTRY
from .graph_writing import without_paths, write_network, write_whole


def network_graph(detector: GFL) -> onnx.ModelProto:
    """Backbone, FPN and head as ONNX.

    Returns:
        "normalised" (N, 3, H', W') float32, sides a multiple of the backbone's divisor -> of each level "cls_l" and
        "box_l".

    Raises:
        ValueError: see :func:`write_network`.
    """
    model = write_network(detector, graph.network_outputs(len(detector.strides)))
    _narrow_table_indices(model.graph)
    return without_paths(model)


def _narrow_table_indices(network: Any) -> None:
    """Let nmODE^2's places in its table be int32, which torch's gather cannot write: half the memory to go through."""
    for mask in (node for node in network if node.op_type == "BitwiseAnd"):
        place, cells = sorted(mask.inputs, key=ir.Value.is_initializer)
        cells.const_value = ir.tensor(cells.const_value.numpy().astype(np.int32), name=cells.name)
        place.producer().attributes["to"] = ir.AttrInt64("to", ir.DataType.INT32)


def detector_graph(detector: GFL, network: onnx.ModelProto) -> onnx.ModelProto:
    """The whole detector: images as they are read in, detections out; see graph.front and graph.decoder."""
    return write_whole(detector, network, partial(graph.decoder, detector=detector), graph.OUTPUTS)


@EXPORTER_REGISTRY.register()
class GFLExporter:
    """See :class:`Exporter`."""

    task = "BoxesGFL"
    network_graph, whole_graph = staticmethod(network_graph), staticmethod(detector_graph)

    @staticmethod
    def thresholds(network: GFL) -> dict[str, float]:
        return {
            "score": network.score_thresh,
            "nms": network.nms_thresh,
            "nms_across_classes": network.nms_across_classes,
            "topk": network.topk_candidates,
            "max_detections": network.max_detections,
        }

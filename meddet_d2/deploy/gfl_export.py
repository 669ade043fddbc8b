"""GFL as ONNX: backbone, FPN and head as torch writes them, with reading and decoding around them (graph.py)."""

import copy
from typing import Any

import numpy as np
import onnx
import torch
from onnxscript import GraphBuilder, ir
from torch import Tensor, nn

from ..distillation.tasks.boxes_gfl import BoxesGFL
from ..modeling import GFL
from . import graph
from .card import FORMAT, FORMAT_MARK
from .exporters import EXPORTER_REGISTRY, quiet_export

# Greatest sides, in units of the divisor, for which the exported graph's shapes are proven: 16,384 pixels at 32.
_LARGEST = 512


class _Network(nn.Module):
    """Backbone, FPN and head: tensors in, tensors out."""

    def __init__(self, detector: GFL) -> None:
        super().__init__()
        self.backbone, self.head, self.in_features = detector.backbone, detector.head, detector.in_features

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return BoxesGFL().raw_outputs(self, images)


def network_graph(detector: GFL) -> onnx.ModelProto:
    """Backbone, FPN and head as ONNX.

    Returns:
        "normalised" (N, 3, H', W') float32, sides a multiple of the backbone's divisor -> of each level "cls_l" and
        "box_l".

    Raises:
        ValueError: torch cannot write the network as ONNX; MODEL.NMODE.SOLVER odeint is the usual reason.
    """
    divisor = max(detector.backbone.size_divisibility, 1)
    dim = torch.export.Dim
    sides = [divisor * dim(name, min=1, max=_LARGEST) for name in ("rows", "columns")]
    example = torch.zeros(2, 3, 4 * divisor, 5 * divisor, device=detector.device)
    try:
        with torch.no_grad(), quiet_export():
            # In torch's default memory order: from the other one the exporter writes shapes of one batch size alone.
            network = copy.deepcopy(_Network(detector)).to(memory_format=torch.contiguous_format).eval()
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                verbose=False,
                opset_version=graph.OPSET,
                input_names=[graph.NORMALISED],
                output_names=graph.network_outputs(len(detector.strides)),
                dynamic_shapes=({0: dim("N", min=1), 2: sides[0], 3: sides[1]},),
            )
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"torch cannot write this network as ONNX (MODEL.NMODE.SOLVER flow_map?): {reason}") from error
    if program is None:
        raise ValueError("torch gave no ONNX program; the versions in constraints.txt do.")
    _narrow_table_indices(program.model.graph)
    return _written(program.model)


def _narrow_table_indices(network: Any) -> None:
    """Let nmODE^2's places in its table be int32, which torch's gather cannot write: half the memory to go through."""
    for mask in (node for node in network if node.op_type == "BitwiseAnd"):
        place, cells = sorted(mask.inputs, key=ir.Value.is_initializer)
        cells.const_value = ir.tensor(cells.const_value.numpy().astype(np.int32), name=cells.name)
        place.producer().attributes["to"] = ir.AttrInt64("to", ir.DataType.INT32)


def detector_graph(detector: GFL, network: onnx.ModelProto) -> onnx.ModelProto:
    """The whole detector: images as they are read in, detections out; see graph.front and graph.decoder."""
    model = ir.from_proto(network)
    builder = GraphBuilder(model.graph)
    # For names that the network does not have.
    builder.push_module("detector")
    images = ir.val(graph.IMAGES, ir.DataType.UINT8, ("N", 3, "H", "W"))
    (normalised,), maps = model.graph.inputs, tuple(model.graph.outputs)
    normalised.replace_all_uses_with(graph.front(builder.op, images, detector))
    results = graph.decoder(builder.op, images, maps, detector)
    for result, (name, shape) in zip(results, graph.OUTPUTS.items(), strict=True):
        result.name, result.shape = name, ir.Shape(shape)
    model.graph.inputs[:], model.graph.outputs[:] = [images], results
    model.graph.sort()
    model.ir_version = graph.IR_VERSION
    model.metadata_props[FORMAT_MARK] = str(FORMAT)
    whole = _written(model)
    onnx.checker.check_model(whole, full_check=True)
    return whole


def _written(model: ir.Model) -> onnx.ModelProto:
    # The names of files and lines in every node are of no use to who runs it, and are paths of this machine.
    ir.passes.common.ClearMetadataAndDocStringPass()(model)
    written = ir.to_proto(model)
    del written.graph.value_info[:]
    return written


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

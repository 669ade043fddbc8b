"""GFL as ONNX: backbone, FPN and head as torch writes them, with reading and decoding around them (graph.py)."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ..modeling import GFL
from . import graph
from .card import FORMAT, FORMAT_MARK
from .exporters import EXPORTER_REGISTRY

# Greatest sides, in units of the divisor, for which the exported graph's shapes are proven: 16,384 pixels at 32.
_LARGEST = 512


@EXPORTER_REGISTRY.register()
class GFLExporter:
    """See :class:`Exporter`."""

    task = "BoxesGFL"

    def network_graph(self, network: GFL) -> onnx.ModelProto:
        return network_graph(network)

    def whole_graph(self, network: GFL, graph: onnx.ModelProto) -> onnx.ModelProto:
        return detector_graph(network, graph)

    def thresholds(self, network: GFL) -> dict[str, float]:
        return {
            "score": network.score_thresh,
            "nms": network.nms_thresh,
            "nms_across_classes": network.nms_across_classes,
            "topk": network.topk_candidates,
            "max_detections": network.max_detections,
        }


class _Network(nn.Module):
    """Backbone, FPN and head: tensors in, tensors out."""

    def __init__(self, detector: GFL) -> None:
        super().__init__()
        self.backbone, self.head, self.in_features = detector.backbone, detector.head, detector.in_features

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.backbone(images)
        cls_logits, box_logits = self.head([features[name] for name in self.in_features])
        return (*cls_logits, *box_logits)


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
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                _Network(detector).eval(),
                (example,),
                dynamo=True,
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
    # The names of torch's files and lines in every node are of no use to who runs it, and are paths of this machine.
    model = onnx.load_from_string(program.model_proto.SerializeToString())
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    _narrow_table_indices(model.graph)
    return model


def _narrow_table_indices(network: onnx.GraphProto) -> None:
    """Let nmODE^2's places in its table be int32, which torch's gather cannot write: half the memory to go through."""
    constants = {constant.name: constant for constant in network.initializer}
    produced_by = {output: node for node in network.node for output in node.output}
    for mask in (node for node in network.node if node.op_type == "BitwiseAnd"):
        (cells,) = (name for name in mask.input if name in constants)
        (place,) = (name for name in mask.input if name not in constants)
        values = onnx.numpy_helper.to_array(constants[cells])
        constants[cells].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.int32), cells))
        (kind,) = (attribute for attribute in produced_by[place].attribute if attribute.name == "to")
        kind.i = onnx.TensorProto.INT32


def decoding_settings(detector: GFL) -> graph.DecodingSettings:
    """The settings by which a detector decodes, for the graph."""
    return graph.DecodingSettings(
        strides=detector.strides,
        num_classes=detector.num_classes,
        reg_max=detector.reg_max,
        anchor_offset=detector.anchor_offset,
        score_thresh=detector.score_thresh,
        topk_candidates=detector.topk_candidates,
        nms_thresh=detector.nms_thresh,
        nms_across_classes=detector.nms_across_classes,
        max_detections=detector.max_detections,
    )


def detector_graph(detector: GFL, network: onnx.ModelProto) -> onnx.ModelProto:
    """The whole detector: images as they are read in, detections out; see graph.front and graph.decoder."""
    mean, std = (values.flatten().tolist() for values in (detector.pixel_mean, detector.pixel_std))
    parts = [
        graph.front(mean, std, max(detector.backbone.size_divisibility, 1)),
        network,
        graph.decoder(decoding_settings(detector)),
    ]
    model = graph.join(parts, [graph.IMAGES], graph.OUTPUTS)
    model.metadata_props.add(key=FORMAT_MARK, value=str(FORMAT))
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """torch's exporter tells its steps and others' deprecations on the terminal."""
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()) as said:
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            yield said
        finally:
            logging.getLogger("torch.onnx").setLevel(level)

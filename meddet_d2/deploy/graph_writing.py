"""A network as ONNX by torch, and one graph of it with what stands before and behind (graph.py): for all exporters."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
from onnxscript import GraphBuilder, OpBuilder, ir
from torch import Tensor, nn

from ..distillation import task_of
from . import graph
from .card import FORMAT, FORMAT_MARK
from .exporters import quiet_export

# Greatest sides, in units of the divisor, for which the exported graph's shapes are proven: 16,384 pixels at 32.
_LARGEST = 512
# From images and the network's outputs to results.
Decode = Callable[[OpBuilder, ir.Value, Sequence[ir.Value]], Sequence[ir.Value]]


class _Network(nn.Module):
    """All that its task counts, as one module: normalised images in, tensors out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.outputs = network, task_of(network).raw_outputs

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.outputs(self.network, images)


def write_network(network: Any, outputs: Sequence[str]) -> ir.Model:
    """A network before decoding.

    Args:
        network: of a kind that has a task.
        outputs: names of its task's raw outputs.

    Returns:
        "normalised" (N, 3, H', W') float32, sides a multiple of the backbone's divisor -> the outputs.

    Raises:
        ValueError: torch cannot write the network as ONNX; MODEL.NMODE.SOLVER odeint is the usual reason.
    """
    divisor = max(network.backbone.size_divisibility, 1)
    dim = torch.export.Dim
    sides = [divisor * dim(name, min=1, max=_LARGEST) for name in ("rows", "columns")]
    # In torch's default memory order: from the other one the exporter writes shapes of one batch size alone.
    copied = copy.deepcopy(_Network(network)).to(memory_format=torch.contiguous_format).eval()
    return write_module(
        copied,
        {graph.NORMALISED: torch.zeros(2, 3, 4 * divisor, 5 * divisor, device=network.device)},
        outputs,
        ({0: dim("N", min=1), 2: sides[0], 3: sides[1]},),
    )


def write_module(
    module: nn.Module, examples: Mapping[str, Tensor], outputs: Sequence[str], dynamic_shapes: Any
) -> ir.Model:
    """A module as ONNX, its inputs named as ``examples`` are; raises as :func:`write_network`."""
    try:
        with torch.no_grad(), quiet_export():
            program = torch.onnx.export(
                module,
                tuple(examples.values()),
                dynamo=True,
                verbose=False,
                opset_version=graph.OPSET,
                input_names=list(examples),
                output_names=list(outputs),
                dynamic_shapes=dynamic_shapes,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"torch cannot write this network as ONNX (MODEL.NMODE.SOLVER flow_map?): {reason}") from error
    if program is None:
        raise ValueError("torch gave no ONNX program; the versions in constraints.txt do.")
    return program.model


def write_whole(
    network: Any, written: onnx.ModelProto, decode: Decode, outputs: Mapping[str, tuple[str | int, ...]]
) -> onnx.ModelProto:
    """Images as they are read in, results out; see graph.front.

    Args:
        network: whose mean, deviation and divisor the reading takes.
        written: its graph, or an int8 one of it.
        decode: what follows it.
        outputs: names and shapes of the results.
    """
    model = ir.from_proto(written)
    builder = GraphBuilder(model.graph)
    # For names that the network does not have.
    builder.push_module("detector")
    images = ir.val(graph.IMAGES, ir.DataType.UINT8, ("N", 3, "H", "W"))
    (normalised,), maps = model.graph.inputs, tuple(model.graph.outputs)
    normalised.replace_all_uses_with(graph.front(builder.op, images, network))
    results = decode(builder.op, images, maps)
    for result, (name, shape) in zip(results, outputs.items(), strict=True):
        result.name, result.shape = name, ir.Shape(shape)
    model.graph.inputs[:], model.graph.outputs[:] = [images], results
    model.graph.sort()
    model.ir_version = graph.IR_VERSION
    model.metadata_props[FORMAT_MARK] = str(FORMAT)
    whole = without_paths(model)
    onnx.checker.check_model(whole, full_check=True)
    return whole


def without_paths(model: ir.Model) -> onnx.ModelProto:
    """The model to be kept: the names of files and lines in every node are paths of this machine."""
    ir.passes.common.ClearMetadataAndDocStringPass()(model)
    written = ir.to_proto(model)
    del written.graph.value_info[:]
    return written

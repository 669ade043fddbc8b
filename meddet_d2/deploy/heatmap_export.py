"""Landmarks as ONNX: the network and the decoding as torch writes them, with reading before (graph.py).

Shape legend:
    N: images; K: landmarks; H, W: height and width of the input; h, w: of a heat map in cells
"""

from collections.abc import Sequence
from typing import Any

import onnx
import torch
from onnxscript import OpBuilder, ir
from torch import Tensor, nn

from ..modeling.heatmap.gaussian_targets import STRIDE, to_pixels
from ..modeling.heatmap.peaks import decode_maps
from .exporters import EXPORTER_REGISTRY
from .graph_writing import without_paths, write_module, write_network, write_whole

MAPS, SIZE = "heatmaps", "size"
OUTPUTS: dict[str, tuple[str | int, ...]] = {"points": ("N", "K", 2), "scores": ("N", "K"), "sound": ("N",)}
# Cells a side of the largest map: 16,384 pixels.
_LARGEST = 4096


class MapDecoder(nn.Module):
    """From heat maps to points, by the functions that the network itself decodes by.

    Args:
        decoding: in ``DECODINGS``.
        sigma: of the targets, in cells.
    """

    def __init__(self, decoding: str, sigma: float) -> None:
        super().__init__()
        self.decoding, self.sigma = decoding, sigma

    def forward(self, maps: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """
        Args:
            maps: (N, K, h, w).
            size: (2,) int64, H and W of all images; what a map has beyond is padding.

        Returns:
            OUTPUTS: points (N, K, 2), x and y in pixels of the input, within it; scores (N, K); sound (N,) bool: False
            where NaN was predicted.
        """
        cells = torch.div(size + STRIDE - 1, STRIDE, rounding_mode="floor")
        rows, columns = (torch.arange(maps.shape[axis]) < cells[axis - 2] for axis in (2, 3))
        valid = (rows[:, None] & columns).expand(maps.shape[0], 1, -1, -1)
        found, scores = decode_maps(maps, valid, self.decoding, self.sigma)
        points = to_pixels(found, STRIDE).clamp(min=0).minimum(size.flip(0).to(maps.dtype))
        sound = ~torch.where(valid, maps, 0.0).sum(dim=(1, 2, 3)).isnan()
        return points, scores, sound


def network_graph(detector: Any) -> onnx.ModelProto:
    """Backbone, decoder and head: "normalised" (N, 3, H', W') -> "heatmaps" (N, K, h, w), the prediction's alone."""
    return without_paths(write_network(detector, [MAPS]))


def landmark_graph(detector: Any, network: onnx.ModelProto) -> onnx.ModelProto:
    """The whole network: images as they are read in, OUTPUTS out."""
    dim = torch.export.Dim
    shapes = {0: dim("N", min=1), 2: dim("rows", min=1, max=_LARGEST), 3: dim("columns", min=1, max=_LARGEST)}
    examples = {MAPS: torch.zeros(2, detector.num_keypoints, 24, 40), SIZE: torch.tensor([90, 150])}
    module = MapDecoder(detector.decoding, detector.criterion.sigma).eval()
    decoder = write_module(module, examples, list(OUTPUTS), (shapes, None))

    def decode(op: OpBuilder, images: ir.Value, maps: Sequence[ir.Value]) -> Sequence[ir.Value]:
        return _joined(op, decoder.graph, [*maps, op.Shape(images, start=2)])

    return write_whole(detector, network, decode, OUTPUTS)


def _joined(op: OpBuilder, part: ir.Graph, inputs: Sequence[ir.Value]) -> Sequence[ir.Value]:
    """A graph's nodes in the one that is being built, on these inputs; gives its outputs."""
    whole, outputs = op.builder.graph, list(part.outputs)
    for place, value in zip(part.inputs, inputs, strict=True):
        place.replace_all_uses_with(value)
    nodes, constants = list(part), list(part.initializers.values())
    part.inputs.clear()
    part.outputs.clear()
    part.initializers.clear()
    part.remove(nodes)
    # Both graphs number their values from 0.
    for value in (*constants, *(value for node in nodes for value in node.outputs)):
        value.name = f"decoding.{value.name}"
    for node in nodes:
        node.name = f"decoding.{node.name}"
    for value in constants:
        whole.register_initializer(value)
    whole.extend(nodes)
    return outputs


@EXPORTER_REGISTRY.register()
class HeatmapExporter:
    """See :class:`Exporter`."""

    task = "Heatmap"
    network_graph, whole_graph = staticmethod(network_graph), staticmethod(landmark_graph)

    @staticmethod
    def thresholds(network: Any) -> dict[str, float]:
        """The graph gives every landmark, however low its score."""
        return {"score": 0.0}

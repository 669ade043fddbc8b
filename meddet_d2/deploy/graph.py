"""What stands before and behind the network in an exported graph: normalisation and padding; decoding and NMS.

Both are written in ONNX operators, because their sizes depend on the image. They do what modeling/gfl/gfl_detector.py
(preprocess_image) and modeling/gfl/decoding.py do; tests/deploy compares the two.

Shape legend:
    N: images; H, W: height and width of the input; C: classes; R: reg_max
    H_l, W_l: size of level l; k: candidates of a level, K: of all levels; D: the most detections of one image
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 10
IMAGES, NORMALISED = "images", "normalised"
OUTPUTS = ("boxes", "scores", "classes", "count", "sound")


@dataclass(frozen=True)
class DecodingSettings:
    """How predictions become detections; names and meaning as in GFL."""

    strides: tuple[int, ...]
    num_classes: int
    reg_max: int
    anchor_offset: float
    score_thresh: float
    topk_candidates: int
    nms_thresh: float
    nms_across_classes: bool
    max_detections: int


class _Graph:
    """Collects operators; each method returns the name of its result."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, operator: str, *inputs: str, outputs: int = 1, result: str = "", **attributes):
        names = [result] if result else [f"{self.name}.{len(self.nodes)}.{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value, dtype: type = np.int64) -> str:
        name = f"{self.name}.constant.{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def cast(self, x: str, kind: int, result: str = "") -> str:
        return self("Cast", x, result=result, to=kind)

    def model(self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, self.name, inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def front(mean: Sequence[float], std: Sequence[float], divisor: int) -> onnx.ModelProto:
    """From images to the network's input.

    Args:
        mean, std: of each channel.
        divisor: the sides are padded, on the right and below, to multiples of it.

    Returns:
        "images" (N, 3, H, W) uint8 -> "normalised" (N, 3, H', W') float32, zero where it is padded.
    """
    g = _Graph("front")
    mean_row, std_row = (g.constant(np.reshape(values, (-1, 1, 1)), np.float32) for values in (mean, std))
    scaled = g("Div", g("Sub", g.cast(IMAGES, TensorProto.FLOAT), mean_row), std_row)
    missing = g("Mod", g("Neg", g("Shape", IMAGES, start=2)), g.constant([divisor]))
    g("Pad", scaled, g("Concat", g.constant([0] * 6), missing, axis=0), result=NORMALISED)
    channels = len(mean)
    return g.model(
        [_value(IMAGES, TensorProto.UINT8, "N", channels, "H", "W")],
        [_value(NORMALISED, TensorProto.FLOAT, "N", channels, "padded_H", "padded_W")],
    )


def decoder(settings: DecodingSettings) -> onnx.ModelProto:
    """From the head's output to detections.

    Returns:
        "images", for its size, and of each level "cls_l" (N, C, H_l, W_l) and "box_l" (N, 4 * (R + 1), H_l, W_l) ->
        "boxes" (N, D, 4) in pixels of "images", "scores" (N, D), falling, "classes" (N, D) int64, "count" (N,) int64:
        behind so many detections the rest of an image is padding; "sound" (N,) bool: False where NaN was predicted.
    """
    g = _Graph("decoder")
    levels = [_candidates(g, index, stride, settings) for index, stride in enumerate(settings.strides)]
    # (N, K), (N, K), (N, K, 4)
    scores, classes, boxes = (g("Concat", *parts, axis=1) for parts in list(zip(*levels, strict=True))[:3])
    sound = [g("Not", g("IsNaN", level[3])) for level in levels]
    g("Equal", _total(g, [g.cast(part, TensorProto.INT64) for part in sound]), g.constant(len(sound)), result="sound")

    height, width = g("Split", g("Shape", IMAGES, start=2), outputs=2, axis=0, num_outputs=2)
    limits = g.cast(g("Concat", width, height, width, height, axis=0), TensorProto.FLOAT)
    boxes = g("Max", g("Min", boxes, limits), g.constant(0.0, np.float32))
    # What lies in the padding is empty now, and no detection.
    low, high = g("Split", boxes, outputs=2, axis=2, num_outputs=2)
    sides = g("ReduceMin", g("Sub", high, low), g.constant([2]), keepdims=0)
    scores = g("Where", g("Greater", sides, g.constant(0.0, np.float32)), scores, g.constant(0.0, np.float32))

    # NonMaxSuppression wants a row of scores for each class; a candidate counts in its own only. Or one row for all.
    rows = g("Unsqueeze", scores, g.constant([1]))
    if not settings.nms_across_classes:
        own = g("Equal", g("Unsqueeze", classes, g.constant([1])), g.constant(np.arange(settings.num_classes)[:, None]))
        rows = g("Where", own, rows, g.constant(0.0, np.float32))
    chosen = g(
        "NonMaxSuppression",
        boxes,
        rows,
        g.constant([settings.max_detections]),
        g.constant([settings.nms_thresh], np.float32),
        g.constant([settings.score_thresh], np.float32),
    )
    # Of image, class, candidate: the image and the candidate.
    place = g("Gather", chosen, g.constant([0, 2]), axis=1)
    nothing = g("ConstantOfShape", g("Shape", scores), value=numpy_helper.from_array(np.zeros(1, np.float32)))
    kept = g("ScatterND", nothing, place, g("GatherND", scores, place))
    best, index = _top(g, kept, settings.max_detections)
    index = g("Unsqueeze", index, g.constant([2]))
    g("Identity", best, result="scores")
    g("GatherND", boxes, index, batch_dims=1, result="boxes")
    g("GatherND", classes, index, batch_dims=1, result="classes")
    found = g.cast(g("Greater", best, g.constant(0.0, np.float32)), TensorProto.INT64)
    g("ReduceSum", found, g.constant([1]), keepdims=0, result="count")

    sides_of = [(f"H_{index}", f"W_{index}") for index in range(len(settings.strides))]
    channels = {"cls": settings.num_classes, "box": 4 * (settings.reg_max + 1)}
    inputs = [_value(IMAGES, TensorProto.UINT8, "N", 3, "H", "W")]
    for name, count in channels.items():
        inputs += [_value(f"{name}_{i}", TensorProto.FLOAT, "N", count, *side) for i, side in enumerate(sides_of)]
    outputs: dict[str, tuple[Any, ...]] = {
        "boxes": (TensorProto.FLOAT, "N", "D", 4),
        "scores": (TensorProto.FLOAT, "N", "D"),
        "classes": (TensorProto.INT64, "N", "D"),
        "count": (TensorProto.INT64, "N"),
        "sound": (TensorProto.BOOL, "N"),
    }
    return g.model(inputs, [_value(name, *outputs[name]) for name in OUTPUTS])


def network_outputs(levels: int) -> list[str]:
    """Names of the network's outputs, in the order in which the head gives them."""
    return [f"{name}_{index}" for name in ("cls", "box") for index in range(levels)]


def join(parts: Sequence[onnx.ModelProto], inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
    """One graph of several, whose values of one name are one value.

    Args:
        parts: in the order in which they run; all but the inputs of the whole comes from an earlier one.
        inputs, outputs: names of those of the whole.

    Raises:
        ValueError: two parts use one name for different things, or another set of operators.
    """
    produced = [name for part in parts for node in part.graph.node for name in node.output if name]
    produced += [constant.name for part in parts for constant in part.graph.initializer]
    if len(set(produced)) != len(produced):
        raise ValueError("Two parts of the graph give one name to different values; rename the network's.")
    opsets = {(entry.domain, entry.version) for part in parts for entry in part.opset_import}
    if len({domain for domain, _ in opsets}) != len(opsets):
        raise ValueError(f"The parts of the graph use different sets of operators: {sorted(opsets)}.")
    values = {value.name: value for part in parts for value in (*part.graph.input, *part.graph.output)}
    graph = helper.make_graph(
        [node for part in parts for node in part.graph.node],
        "detector",
        [values[name] for name in inputs],
        [values[name] for name in outputs],
        [constant for part in parts for constant in part.graph.initializer],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*entry) for entry in sorted(opsets)], ir_version=IR_VERSION
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _candidates(g: _Graph, level: int, stride: int, settings: DecodingSettings) -> tuple[str, str, str, str]:
    """Of one level: scores (N, k), classes (N, k), boxes (N, k, 4), and a number (N,) that is NaN if a part is."""
    cls, box = f"cls_{level}", f"box_{level}"
    classes, nothing = g.constant(settings.num_classes), g.constant(0.0, np.float32)
    scores = g("Sigmoid", _rows(g, cls))
    # The padding's locations were never trained.
    of_image = g("Where", _in_image(g, cls, stride), scores, nothing)
    best, pair = _top(g, g("Reshape", of_image, g.constant([0, -1])), settings.topk_candidates)
    location = g("Div", pair, classes)

    # Of the candidates only, before anything is turned round: they are a quarter of the finest level.
    channels = g.constant([1, 4 * (settings.reg_max + 1), 1])
    of_location = g("Expand", g("Unsqueeze", location, g.constant([1])), channels)
    logits = g("GatherElements", g("Reshape", box, g.constant([0, 0, -1])), of_location, axis=2)
    logits = g("Reshape", g("Transpose", logits, perm=[0, 2, 1]), g.constant([0, 0, 4, settings.reg_max + 1]))
    bins = g.constant(np.arange(settings.reg_max + 1), np.float32)
    strides = g("ReduceSum", g("Mul", g("Softmax", logits, axis=3), bins), g.constant([3]), keepdims=0)
    before, behind = g("Split", _times(g, strides, stride), outputs=2, axis=2, num_outputs=2)
    width = g("Shape", cls, start=3)
    column = g("Unsqueeze", g("Mod", location, width), g.constant([2]))
    row = g("Unsqueeze", g("Div", location, width), g.constant([2]))
    cell = g.cast(g("Concat", column, row, axis=2), TensorProto.FLOAT)
    center = _times(g, g("Add", cell, g.constant(settings.anchor_offset, np.float32)), stride)
    boxes = g("Concat", g("Sub", center, before), g("Add", center, behind), axis=2)
    # A sum is NaN where a part is; infinities of both signs do not come out of a sigmoid and a softmax.
    odd = g(
        "Add",
        g("ReduceSum", scores, g.constant([1, 2]), keepdims=0),
        g("ReduceSum", boxes, g.constant([1, 2]), keepdims=0),
    )
    return best, g("Mod", pair, classes), boxes, odd


def _in_image(g: _Graph, level: str, stride: int) -> str:
    """(H_l * W_l, 1) bool: which cells of a level the image reaches into."""
    inside = []
    for axis in (2, 3):
        # One number, and a range of cells from 0.
        side, cells = (g("Shape", x, start=axis, end=axis + 1) for x in (IMAGES, level))
        first = g("Range", g.constant(0), g("Squeeze", cells), g.constant(1))
        inside.append(g("Less", g("Mul", first, g.constant(stride)), side))
    rows, columns = (g("Unsqueeze", x, g.constant([axis])) for x, axis in zip(inside, (1, 0), strict=True))
    return g("Reshape", g("And", rows, columns), g.constant([-1, 1]))


def _rows(g: _Graph, level: str) -> str:
    """(N, X, H_l, W_l) -> (N, H_l * W_l, X)."""
    return g("Transpose", g("Reshape", level, g.constant([0, 0, -1])), perm=[0, 2, 1])


def _top(g: _Graph, values: str, most: int) -> list[str]:
    """The ``most`` largest of (N, X), or all if there are fewer: values and places, both (N, min(most, X))."""
    k = g("Min", g.constant([most]), g("Shape", values, start=1))
    return g("TopK", values, k, outputs=2, axis=1)


def _times(g: _Graph, x: str, factor: float) -> str:
    return g("Mul", x, g.constant(factor, np.float32))


def _total(g: _Graph, parts: list[str]) -> str:
    total = parts[0]
    for part in parts[1:]:
        total = g("Add", total, part)
    return total


def _value(name: str, kind: int, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))

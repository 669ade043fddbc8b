"""What stands before and behind the network in an exported graph: normalisation and padding; decoding and NMS.

Both are written in ONNX operators, because their sizes depend on the image. They do what modeling/gfl/gfl_detector.py
(preprocess_image) and modeling/gfl/decoding.py do; tests/deploy compares the two.

Shape legend:
    N: images; H, W: height and width of the input; C: classes; R: reg_max
    H_l, W_l: size of level l; k: candidates of a level, K: of all levels; D: the most detections of one image
"""

from collections.abc import Sequence

import numpy as np
from onnxscript import OpBuilder, ir

from ..modeling import GFL

OPSET, IR_VERSION = 20, 10
IMAGES, NORMALISED = "images", "normalised"
# Their shapes; see `decoder`.
OUTPUTS = {"boxes": ("N", "D", 4), "scores": ("N", "D"), "classes": ("N", "D"), "count": ("N",), "sound": ("N",)}
FLOAT, INT = ir.DataType.FLOAT, ir.DataType.INT64


def network_outputs(levels: int) -> list[str]:
    """Names of the network's outputs, in the order in which the head gives them."""
    return [f"{name}_{index}" for name in ("cls", "box") for index in range(levels)]


def front(op: OpBuilder, images: ir.Value, detector: GFL) -> ir.Value:
    """From images to the network's input, by a detector's mean, deviation and divisor.

    Args:
        images: (N, 3, H, W) uint8.

    Returns:
        (N, 3, H', W') float32, zero where it is padded: on the right and below, to multiples of the divisor.
    """
    mean, std = (
        ir.tensor(getattr(detector, name).numpy(force=True), name=name) for name in ("pixel_mean", "pixel_std")
    )
    scaled = op.Div(op.Sub(op.Cast(images, to=FLOAT), mean), std)
    missing = op.Mod(op.Neg(op.Shape(images, start=2)), [max(detector.backbone.size_divisibility, 1)])
    return op.Pad(scaled, op.Concat([0] * 6, missing, axis=0))


def decoder(op: OpBuilder, images: ir.Value, maps: Sequence[ir.Value], detector: GFL) -> list[ir.Value]:
    """From the head's output to detections, by the settings of a detector.

    Args:
        images: (N, 3, H, W), for their size.
        maps: as `network_outputs` names them, of each level (N, C, H_l, W_l) and (N, 4 * (R + 1), H_l, W_l).

    Returns:
        OUTPUTS: boxes (N, D, 4) in pixels of ``images``, scores (N, D), falling, classes (N, D) int64, count (N,)
        int64: behind so many detections the rest of an image is padding; sound (N,) bool: False where NaN was
        predicted.
    """
    count = len(detector.strides)
    levels = zip(maps[:count], maps[count:], detector.strides, strict=True)
    candidates = [_candidates(op, images, *level, detector) for level in levels]
    # (N, K), (N, K), (N, K, 4), (N, levels)
    scores, classes, boxes, sums = (op.Concat(*parts, axis=1) for parts in zip(*candidates, strict=True))
    sound = op.Not(op.IsNaN(op.ReduceSum(sums, [1], keepdims=0)))

    limits = op.Cast(op.Gather(op.Shape(images), [3, 2, 3, 2]), to=FLOAT)
    boxes = op.Max(op.Min(boxes, limits), 0.0)
    # What lies in the padding is empty now, and no detection.
    low, high = op.Split(boxes, axis=2, num_outputs=2, _outputs=2)
    filled = op.Greater(op.ReduceMin(op.Sub(high, low), [2], keepdims=0), 0.0)
    scores = op.Where(filled, scores, 0.0)

    # NonMaxSuppression wants a row of scores for each class; a candidate counts in its own only. Or one row for all.
    rows = op.Unsqueeze(scores, [1])
    if not detector.nms_across_classes:
        own = op.Equal(
            op.Unsqueeze(classes, [1]), ir.tensor(np.arange(detector.num_classes)[:, None], name="class_numbers")
        )
        rows = op.Where(own, rows, 0.0)
    chosen = op.NonMaxSuppression(
        boxes, rows, [detector.max_detections], [detector.nms_thresh], [detector.score_thresh]
    )
    # Of image, class, candidate: the image and the candidate.
    place = op.Gather(chosen, [0, 2], axis=1)
    kept = op.ScatterND(op.ConstantOfShape(op.Shape(scores)), place, op.GatherND(scores, place))
    best, index = _top(op, kept, detector.max_detections)
    index = op.Unsqueeze(index, [2])
    found = op.Cast(op.Greater(best, 0.0), to=INT)
    return [
        op.GatherND(boxes, index, batch_dims=1),
        best,
        op.GatherND(classes, index, batch_dims=1),
        op.ReduceSum(found, [1], keepdims=0),
        sound,
    ]


def _candidates(
    op: OpBuilder, images: ir.Value, cls: ir.Value, box: ir.Value, stride: int, detector: GFL
) -> tuple[ir.Value, ...]:
    """Of one level: scores (N, k), classes (N, k), boxes (N, k, 4), and a number (N, 1) that is NaN if a part is."""
    sides, bins = 4 * (detector.reg_max + 1), detector.reg_max + 1
    # (N, H_l * W_l, C)
    scores = op.Sigmoid(op.Transpose(op.Reshape(cls, [0, 0, -1]), perm=[0, 2, 1]))
    # The padding's locations were never trained.
    of_image = op.Where(_in_image(op, images, cls, stride), scores, 0.0)
    best, pair = _top(op, op.Reshape(of_image, [0, -1]), detector.topk_candidates)
    location = op.Div(pair, detector.num_classes)

    # Of the candidates only, before anything is turned round: they are a quarter of the finest level.
    of_location = op.Expand(op.Unsqueeze(location, [1]), [1, sides, 1])
    logits = op.GatherElements(op.Reshape(box, [0, 0, -1]), of_location, axis=2)
    logits = op.Reshape(op.Transpose(logits, perm=[0, 2, 1]), [0, 0, 4, bins])
    weighted = op.Mul(op.Softmax(logits, axis=3), [float(distance) for distance in range(bins)])
    distances = op.Mul(op.ReduceSum(weighted, [3], keepdims=0), float(stride))
    before, behind = op.Split(distances, axis=2, num_outputs=2, _outputs=2)
    width = op.Shape(cls, start=3)
    column_row = [op.Unsqueeze(part, [2]) for part in (op.Mod(location, width), op.Div(location, width))]
    cell = op.Cast(op.Concat(*column_row, axis=2), to=FLOAT)
    center = op.Mul(op.Add(cell, float(detector.anchor_offset)), float(stride))
    boxes = op.Concat(op.Sub(center, before), op.Add(center, behind), axis=2)
    # A sum is NaN where a part is; infinities of both signs do not come out of a sigmoid and a softmax.
    total = op.Add(*(op.ReduceSum(part, [1, 2], keepdims=0) for part in (scores, boxes)))
    return best, op.Mod(pair, detector.num_classes), boxes, op.Unsqueeze(total, [1])


def _in_image(op: OpBuilder, images: ir.Value, level: ir.Value, stride: int) -> ir.Value:
    """(H_l * W_l, 1) bool: which cells of a level the image reaches into."""
    inside = []
    for axis in (2, 3):
        # One number, and a range of cells from 0.
        side, cells = (op.Shape(x, start=axis, end=axis + 1) for x in (images, level))
        inside.append(op.Less(op.Mul(op.Range(0, op.Squeeze(cells), 1), stride), side))
    rows, columns = inside
    return op.Reshape(op.And(op.Unsqueeze(rows, [1]), op.Unsqueeze(columns, [0])), [-1, 1])


def _top(op: OpBuilder, values: ir.Value, most: int) -> Sequence[ir.Value]:
    """The ``most`` largest of (N, X), or all if there are fewer: values and places, both (N, min(most, X))."""
    return op.TopK(values, op.Min([most], op.Shape(values, start=1)), axis=1, _outputs=2)

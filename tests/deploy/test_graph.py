"""The decoding that is written in ONNX operators against the detector's own."""

from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch
from onnxscript import build_graph, ir

from meddet_d2.deploy.graph import IMAGES, IR_VERSION, OPSET, OUTPUTS, decoder, front, network_outputs
from meddet_d2.modeling.gfl.anchors import anchor_pyramid, join_levels
from meddet_d2.modeling.gfl.decoding import decode_detections
from meddet_d2.modeling.gfl.gfl_head import Integral

STRIDES, SIZES, REG_MAX = (8, 16, 32), ((8, 12), (4, 6), (2, 3)), 7


def settings(**changes) -> SimpleNamespace:
    """What a detector decodes by."""
    values = {
        "strides": STRIDES,
        "num_classes": 3,
        "reg_max": REG_MAX,
        "anchor_offset": 0.25,
        "score_thresh": 0.05,
        "topk_candidates": 1000,
        "nms_thresh": 0.6,
        "nms_across_classes": False,
        "max_detections": 100,
        **changes,
    }
    return SimpleNamespace(**values)


def predictions(images: int = 2, classes: int = 3, seed: int = 0, shift: float = -2.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    cls = [torch.randn(images, classes, *size, generator=generator) * 2 + shift for size in SIZES]
    box = [torch.randn(images, 4 * (REG_MAX + 1), *size, generator=generator) * 2 for size in SIZES]
    return [*cls, *box]


def run(part, inputs, outputs):
    """What a part of the graph makes of arrays: ``part`` is called with the operators and a value for each array."""
    values = [
        ir.val(name, ir.DataType.from_numpy(array.dtype), [f"{name}_{axis}" for axis in range(array.ndim)])
        for name, array in inputs.items()
    ]
    graph = build_graph(part, values, [ir.val(name) for name in outputs], opset_imports={"": OPSET})
    model = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def decode(maps, size, chosen):
    inputs = {IMAGES: np.zeros((len(maps[0]), 3, *size), np.uint8)}
    inputs |= dict(zip(network_outputs(len(STRIDES)), (level.numpy() for level in maps), strict=True))
    return run(lambda op, images, *levels: decoder(op, images, levels, chosen), inputs, OUTPUTS)


def expected(maps, size, chosen):
    levels = len(STRIDES)
    pyramid = anchor_pyramid(SIZES, STRIDES, 8, chosen.anchor_offset, torch.device("cpu"))
    sizes = [size] * len(maps[0])
    return decode_detections(
        join_levels(maps[:levels]),
        join_levels(maps[levels:]),
        pyramid=pyramid,
        valid=pyramid.filled_by(sizes),
        integral=Integral(REG_MAX),
        image_sizes=sizes,
        output_sizes=sizes,
        score_thresh=chosen.score_thresh,
        topk=chosen.topk_candidates,
        nms_thresh=chosen.nms_thresh,
        nms_across_classes=chosen.nms_across_classes,
        max_detections=chosen.max_detections,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"topk_candidates": 5},
        {"max_detections": 7},
        {"nms_thresh": 0.3},
        {"nms_thresh": 0.3, "nms_across_classes": True},
        {"nms_across_classes": True, "max_detections": 7},
        {"nms_thresh": 1.0, "max_detections": 1000},
        {"score_thresh": 0.6},
        {"anchor_offset": 0.0},
        {"num_classes": 1},
    ],
)
@pytest.mark.parametrize("size", [(64, 96), (50, 71), (33, 64), (17, 25)])
def test_decoder_agrees_with_the_detectors_own(changes, size):
    chosen = settings(**changes)
    maps = predictions(classes=chosen.num_classes)
    boxes, scores, classes, count, sound = decode(maps, size, chosen)
    assert sound.tolist() == [True, True]
    wanted = expected(maps, size, chosen)
    assert count.tolist() == [len(instances) for instances in wanted] and min(count) > 0
    for index, instances in enumerate(wanted):
        found = slice(0, count[index])
        np.testing.assert_allclose(boxes[index, found], instances.pred_boxes.tensor, atol=1e-4)
        np.testing.assert_allclose(scores[index, found], instances.scores, atol=1e-6)
        np.testing.assert_array_equal(classes[index, found], instances.pred_classes)
        assert not scores[index, count[index] :].any()


def test_nothing_to_find():
    maps = predictions(shift=-30.0)
    boxes, scores, _, count, sound = decode(maps, (64, 96), settings())
    assert count.tolist() == [0, 0] and sound.all() and not scores.any() and boxes.shape[-1] == 4


@pytest.mark.parametrize("level", [0, 2, 3, 5])
def test_nan_is_told_for_the_image_that_has_it(level):
    # Candidates from everywhere, so that a box's NaN is met.
    chosen = settings(score_thresh=0.0)
    maps = predictions()
    maps[level][1, 0, 1, 1] = float("nan")
    assert decode(maps, (64, 96), chosen)[-1].tolist() == [True, False]


@pytest.mark.parametrize("size", [(64, 96), (50, 71), (1, 33)])
def test_front_normalises_and_pads(size):
    image = np.random.default_rng(0).integers(0, 256, (2, 3, *size), np.uint8)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    rows = [torch.tensor(values).view(-1, 1, 1) for values in (mean, std)]
    detector = SimpleNamespace(pixel_mean=rows[0], pixel_std=rows[1], backbone=SimpleNamespace(size_divisibility=32))
    (found,) = run(lambda op, images: front(op, images, detector), {IMAGES: image}, ["normalised"])
    height, width = size
    assert found.shape == (2, 3, -(-height // 32) * 32, -(-width // 32) * 32)
    wanted = (image - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
    np.testing.assert_allclose(found[:, :, :height, :width], wanted, atol=1e-5)
    assert not found[:, :, height:].any() and not found[:, :, :, width:].any()

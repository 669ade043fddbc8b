"""From the head's outputs to detections."""

import math

import pytest
import torch
from small_gfl import STRIDES, FixedHead, detector

from meddet_d2.modeling.gfl.decoding import top_candidates


def maps_of(found, size, num_classes=2, reg_max=16):
    """Head outputs that stand for detections (level, cell x, cell y, class, score, box in pixels), and feature maps."""
    shapes = [(math.ceil(size / s), math.ceil(size / s)) for s in STRIDES]
    cls_logits = [torch.full((1, num_classes, *shape), -20.0) for shape in shapes]
    box_logits = [torch.zeros(1, 4, reg_max + 1, *shape) for shape in shapes]
    for level, x, y, label, score, (x0, y0, x1, y1) in found:
        stride = STRIDES[level]
        cls_logits[level][0, label, y, x] = math.log(score / (1 - score))
        for side, d in enumerate((x - x0 / stride, y - y0 / stride, x1 / stride - x, y1 / stride - y)):
            i = min(int(d), reg_max - 1)
            box_logits[level][0, side, :, y, x] = -60.0
            box_logits[level][0, side, i, y, x] = math.log(max(i + 1 - d, 1e-20))
            box_logits[level][0, side, i + 1, y, x] = math.log(max(d - i, 1e-20))
    return [torch.zeros(1, 32, *shape) for shape in shapes], cls_logits, [x.flatten(1, 2) for x in box_logits]


def predictions(found, size=128, image_size=(128, 128), **keys):
    model = detector(**keys).eval()
    features, cls_logits, box_logits = maps_of(found, size)
    model.head = FixedHead(cls_logits, box_logits)
    return model.predict(features, [image_size])[0]


def test_decoding_perfect_predictions_gives_the_boxes_back():
    found = [
        (0, 5, 4, 1, 0.9, (21.25, 17.5, 63.0, 40.75)),
        (1, 4, 5, 0, 0.8, (10.0, 40.0, 118.5, 121.0)),
        (4, 0, 0, 1, 0.3, (0.0, 0.0, 127.0, 100.5)),
    ]
    result = predictions(found)
    assert result.image_size == (128, 128)
    assert result.pred_classes.tolist() == [1, 0, 1]
    torch.testing.assert_close(result.scores, torch.tensor([0.9, 0.8, 0.3]))
    torch.testing.assert_close(result.pred_boxes.tensor, torch.tensor([f[-1] for f in found]), rtol=0, atol=1e-4)


def test_nms_is_class_wise_or_across_classes_that_exclude_each_other():
    box, shifted = (21.0, 17.0, 63.0, 41.0), (22.0, 17.0, 64.0, 41.0)
    same = predictions([(0, 5, 4, 1, 0.9, box), (0, 6, 4, 1, 0.8, shifted)])
    assert same.scores.tolist() == pytest.approx([0.9])
    other = predictions([(0, 5, 4, 1, 0.9, box), (0, 6, 4, 0, 0.8, shifted)])
    assert other.pred_classes.tolist() == [1, 0]
    exclusive = predictions([(0, 5, 4, 1, 0.9, box), (0, 6, 4, 0, 0.8, shifted)], NMS_ACROSS_CLASSES=True)
    assert exclusive.pred_classes.tolist() == [1] and exclusive.scores.tolist() == pytest.approx([0.9])
    tolerant = predictions([(0, 5, 4, 1, 0.9, box), (0, 6, 4, 1, 0.8, shifted)], NMS_THRESH_TEST=0.99)
    assert len(tolerant) == 2


def test_boxes_are_clipped_to_the_image_and_those_in_the_padding_dropped():
    found = [(0, 8, 2, 0, 0.9, (50.0, 4.0, 90.0, 30.0)), (0, 12, 12, 0, 0.8, (90.0, 80.0, 110.0, 110.0))]
    result = predictions(found, image_size=(70, 80))
    torch.testing.assert_close(result.pred_boxes.tensor, torch.tensor([[50.0, 4.0, 80.0, 30.0]]), rtol=0, atol=1e-4)


def test_threshold_top_candidates_and_number_of_detections():
    grid = [(0, x, y, 0, 0.1 + 0.01 * (4 * y + x), (8 * x - 3, 8 * y - 3, 8 * x + 3, 8 * y + 3))
            for y in range(1, 4) for x in range(1, 4)]  # fmt: skip
    assert len(predictions(grid)) == 9
    assert len(predictions(grid, SCORE_THRESH_TEST=0.2)) == 4
    best = predictions(grid, TOPK_CANDIDATES_TEST=2).scores.tolist()
    assert best == pytest.approx([0.25, 0.24])
    model = detector().eval()
    features, cls_logits, box_logits = maps_of(grid, 128)
    model.head, model.max_detections = FixedHead(cls_logits, box_logits), 3
    assert model.predict(features, [(128, 128)])[0].scores.tolist() == pytest.approx([0.25, 0.24, 0.23])
    assert len(predictions([])) == 0


def test_top_candidates_are_pairs_of_location_and_class():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(11, 3, generator=generator)
    scores = torch.stack([scores, scores.flip(0)])
    found = top_candidates(scores, [8, 3], topk=5)
    for n in range(2):
        expected = []
        for rows in (range(8), range(8, 11)):
            pairs = sorted(((scores[n, i, c].item(), i, c) for i in rows for c in range(3)), reverse=True)
            expected += pairs[:5]
        assert list(zip(*(values[n].tolist() for values in found), strict=True)) == expected

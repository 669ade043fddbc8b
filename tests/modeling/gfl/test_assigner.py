import math
import statistics

import pytest
import torch

from meddet_d2.modeling.boxes import (
    boxes_to_distances,
    concentric_iou,
    distances_to_boxes,
    pairwise_iou,
)
from meddet_d2.modeling.gfl.anchors import anchor_pyramid
from meddet_d2.modeling.gfl.assigner import ATSSAssigner

STRIDES = (8, 16, 32, 64, 128)


def anchors_of(height, width, strides=STRIDES):
    sizes = tuple((math.ceil(height / s), math.ceil(width / s)) for s in strides)
    boxes = anchor_pyramid(sizes, strides, 8, 0.0, torch.device("cpu")).boxes
    return [level.double() for level in boxes]


def slow_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def slow_atss(anchors_per_level, gt_boxes, topk):
    """ATSS anchor by anchor and box by box."""
    anchors = [a for level in anchors_per_level for a in level.tolist()]
    owner, owner_iou = [-1] * len(anchors), [-1.0] * len(anchors)
    for g, box in enumerate(gt_boxes.tolist()):
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        candidates, first = [], 0
        for level in anchors_per_level:
            indices = range(first, first + len(level))
            centers = {i: ((anchors[i][0] + anchors[i][2]) / 2, (anchors[i][1] + anchors[i][3]) / 2) for i in indices}
            candidates += sorted(indices, key=lambda i: math.dist(centers[i], middle))[:topk]
            first += len(level)
        ious = [slow_iou(anchors[i], box) for i in candidates]
        threshold = statistics.mean(ious) + (statistics.stdev(ious) if len(ious) > 1 else 0.0)
        for i, iou in zip(candidates, ious, strict=True):
            x, y = (anchors[i][0] + anchors[i][2]) / 2, (anchors[i][1] + anchors[i][3]) / 2
            inside = min(x - box[0], y - box[1], box[2] - x, box[3] - y) > 0.01
            if iou >= threshold and inside and iou > owner_iou[i]:
                owner[i], owner_iou[i] = g, iou
    return owner


def slow_diou(a, b):
    distance = math.dist(((a[0] + a[2]) / 2, (a[1] + a[3]) / 2), ((b[0] + b[2]) / 2, (b[1] + b[3]) / 2))
    diagonal = math.dist((min(a[0], b[0]), min(a[1], b[1])), (max(a[2], b[2]), max(a[3], b[3])))
    return slow_iou(a, b) - distance**2 / diagonal**2


def slow_valuable_region(anchors_per_level, gt_boxes, topk, ratio):
    """The region anchor by anchor and box by box."""
    anchors = [a for level in anchors_per_level for a in level.tolist()]
    region = [0.0] * len(anchors)
    for box in gt_boxes.tolist():
        middle, ious = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), []
        for level in anchors_per_level:
            ordered = sorted(level.tolist(), key=lambda a: math.dist(((a[0] + a[2]) / 2, (a[1] + a[3]) / 2), middle))
            ious += [slow_iou(a, box) for a in ordered[:topk]]
        threshold = statistics.mean(ious) + statistics.stdev(ious)
        for i, anchor in enumerate(anchors):
            if ratio * threshold <= slow_diou(anchor, box) < threshold:
                region[i] = max(region[i], slow_iou(anchor, box))
    return region


def random_boxes(count, height, width, smallest, largest, seed):
    generator = torch.Generator().manual_seed(seed)
    size = smallest + torch.rand(count, 2, generator=generator, dtype=torch.float64) * (largest - smallest)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    corner = corner * (torch.tensor([width, height]) - size).clamp(min=0)
    return torch.cat([corner, corner + size], dim=1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("largest", [20, 60, 150])
@pytest.mark.parametrize("topk", [1, 9])
def test_equals_plain_loops(seed, largest, topk):
    anchors = anchors_of(160, 192)
    boxes = random_boxes(7, 160, 192, 4, largest, seed)
    assigned = ATSSAssigner(topk)(anchors, boxes)
    assert assigned.dtype == torch.int64
    assert assigned.tolist() == slow_atss(anchors, boxes, topk)


def test_disc_sized_boxes_get_seven_positives_all_on_p3():
    anchors = anchors_of(512, 512)
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(300, 2, generator=generator, dtype=torch.float64) * torch.tensor([470.0, 494.0])
    positives, on_p3 = 0, 0
    for corner in corners:
        box = torch.cat([corner, corner + torch.tensor([42.0, 18.0])])[None]
        assigned = ATSSAssigner()(anchors, box)
        positives += int((assigned == 0).sum())
        on_p3 += int((assigned[: len(anchors[0])] == 0).sum())
    assert positives / 300 == pytest.approx(7.0, abs=0.3)
    assert on_p3 == positives


@pytest.mark.parametrize("ratio", [0.25, 0.6])
@pytest.mark.parametrize("largest", [20, 60, 150])
def test_the_valuable_region_equals_plain_loops(largest, ratio):
    anchors, boxes = anchors_of(160, 192), random_boxes(7, 160, 192, 4, largest, seed=1)
    region = ATSSAssigner().valuable_region(anchors, boxes, ratio)
    expected = torch.tensor(slow_valuable_region(anchors, boxes, 9, ratio), dtype=torch.float64)
    torch.testing.assert_close(region, expected, rtol=1e-12, atol=1e-15)
    assert (expected > 0).any()


def test_the_valuable_region_of_a_disc_lies_about_its_positives():
    anchors, box = anchors_of(512, 512), torch.tensor([[200.0, 240.0, 242.0, 258.0]]).double()
    region, positive = ATSSAssigner().valuable_region(anchors, box) > 0, ATSSAssigner()(anchors, box) >= 0
    assert region.sum() > positive.sum() > 0 and not (region & positive).any()
    # Unlike a positive's, a centre may lie outside of the box.
    centers = torch.cat(anchors)[region].view(-1, 2, 2).mean(dim=1)
    assert (boxes_to_distances(centers, box.expand(len(centers), 4)).amin(dim=1) < 0).any()


def test_a_batch_without_boxes_or_with_a_nan_box_has_no_valuable_region():
    anchors = anchors_of(64, 64)
    for boxes in (torch.zeros(0, 4), torch.full((1, 4), math.nan)):
        region = ATSSAssigner().valuable_region(anchors, boxes.double())
        assert region.shape == (sum(map(len, anchors)),) and not region.any()


def test_no_boxes_are_all_background():
    anchors = anchors_of(64, 64)
    assigned = ATSSAssigner()(anchors, torch.zeros(0, 4, dtype=torch.float64))
    assert assigned.shape == (sum(map(len, anchors)),) and (assigned == -1).all()


def test_levels_with_fewer_anchors_than_candidates():
    anchors = anchors_of(64, 64)
    assert [len(level) for level in anchors] == [64, 16, 4, 1, 1]
    boxes = random_boxes(3, 64, 64, 20, 60, seed=5)
    assigned = ATSSAssigner()(anchors, boxes).tolist()
    assert assigned == slow_atss(anchors, boxes, 9)
    assert set(assigned) == {-1, 0, 1, 2}


def test_box_between_the_centres_has_no_positive():
    assigned = ATSSAssigner()(anchors_of(64, 64), torch.tensor([[9.0, 9.0, 15.0, 15.0]]).double())
    assert (assigned == -1).all()


def test_centre_on_the_edge_is_not_inside():
    # Its left edge runs through the centres at x = 8; those at x = 16 are inside.
    anchors = anchors_of(64, 64)
    centers = torch.cat(anchors).view(-1, 2, 2).mean(dim=1)
    assigned = ATSSAssigner()(anchors, torch.tensor([[8.0, 10.0, 21.0, 29.0]]).double())
    assert (assigned >= 0).any() and (centers[assigned >= 0, 0] > 8).all()


def test_anchor_claimed_twice_goes_to_the_larger_overlap():
    anchors = anchors_of(128, 128)
    small, large = [41.3, 43.1, 83.2, 81.9], [34.6, 37.4, 94.1, 95.7]
    alone = [ATSSAssigner()(anchors, torch.tensor([box]).double()) for box in (small, large)]
    claimed = (alone[0] == 0) & (alone[1] == 0)
    assert claimed.any()
    overlap = pairwise_iou(torch.cat(anchors), torch.tensor([small, large]).double())
    for order in ([0, 1], [1, 0]):
        boxes = torch.tensor([[small, large][i] for i in order]).double()
        both = ATSSAssigner()(anchors, boxes)
        assert (both[claimed] == overlap[claimed][:, order].argmax(dim=1)).all()
        assert both.tolist() == slow_atss(anchors, boxes, 9)


def test_single_candidate_has_no_deviation_and_is_taken():
    anchor = [torch.tensor([[0.0, 0.0, 64.0, 64.0]])]
    assert ATSSAssigner()(anchor, torch.tensor([[20.0, 20.0, 50.0, 60.0]])).tolist() == [0]
    assert ATSSAssigner()(anchor, torch.tensor([[40.0, 40.0, 60.0, 60.0]])).tolist() == [-1]


def test_nan_box_gets_nothing_and_disturbs_no_other():
    anchors = anchors_of(64, 64)
    good = torch.tensor([[10.0, 12.0, 50.0, 47.0]]).double()
    alone = ATSSAssigner()(anchors, good)
    with_nan = ATSSAssigner()(anchors, torch.cat([good, torch.full((1, 4), math.nan, dtype=torch.float64)]))
    assert (alone == 0).any() and torch.equal(alone, with_nan)


def test_topk_must_be_positive():
    with pytest.raises(ValueError, match=r"MODEL\.GFL\.ATSS_TOPK"):
        ATSSAssigner(0)


def test_iou_equals_plain_loops_and_empty_boxes_overlap_nothing():
    a, b = random_boxes(6, 50, 50, 0, 40, seed=1), random_boxes(5, 50, 50, 0, 40, seed=2)
    expected = torch.tensor([[slow_iou(x, y) for y in b.tolist()] for x in a.tolist()], dtype=torch.float64)
    torch.testing.assert_close(pairwise_iou(a, b), expected, rtol=1e-12, atol=1e-15)
    empty = torch.ones(1, 4)
    assert pairwise_iou(empty, empty).item() == 0


def test_distances_and_boxes_are_inverse_and_share_the_iou():
    boxes = random_boxes(20, 60, 60, 5, 40, seed=3)
    others = boxes + torch.tensor([-1.0, 2.0, 1.5, 3.0])
    centers = boxes.view(-1, 2, 2).mean(dim=1)
    first, second = boxes_to_distances(centers, boxes), boxes_to_distances(centers, others)
    torch.testing.assert_close(distances_to_boxes(centers, first), boxes)
    assert (second > 0).all()
    torch.testing.assert_close(concentric_iou(first, second), pairwise_iou(boxes, others).diagonal())


def test_anchors_are_squares_about_the_cells_corner():
    pyramid = anchor_pyramid(((2, 3), (1, 2)), (8, 16), 8, 0.0, torch.device("cpu"))
    assert pyramid.level_sizes == [6, 2]
    assert pyramid.centers.tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8], [0, 0], [16, 0]]
    assert pyramid.boxes[0][4].tolist() == [-24, -24, 40, 40]
    assert pyramid.boxes[1][1].tolist() == [-48, -64, 80, 64]
    assert pyramid.strides.flatten().tolist() == [8] * 6 + [16] * 2
    shifted = anchor_pyramid(((2, 3), (1, 2)), (8, 16), 8, 0.5, torch.device("cpu"))
    assert shifted.centers[0].tolist() == [4, 4] and shifted.centers[7].tolist() == [24, 8]


def test_anchors_made_in_inference_serve_training():
    with torch.inference_mode():
        pyramid = anchor_pyramid(((3, 5),), (8,), 8, 0.25, torch.device("cpu"))
    assert anchor_pyramid(((3, 5),), (8,), 8, 0.25, torch.device("cpu")) is pyramid
    scale = torch.ones(1, requires_grad=True)
    (scale * pyramid.centers).sum().backward()
    assert scale.grad.item() == pyramid.centers.sum()

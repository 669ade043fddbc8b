import math
import statistics

import pytest
import torch
from fvcore.nn import giou_loss
from torchvision.ops import distance_box_iou

from detectron2.structures import Boxes, Instances
from meddet_d2.modeling.boxes import (
    boxes_to_distances,
    center_distances,
    concentric_giou_loss,
    concentric_iou,
    distances_to_boxes,
    overlaps,
)
from meddet_d2.modeling.gfl.anchors import anchor_pyramid
from meddet_d2.modeling.gfl.assigner import ATSSAssigner
from meddet_d2.modeling.gfl.ground_truth import GroundTruth

STRIDES = (8, 16, 32, 64, 128)


def pyramid_of(height, width, strides=STRIDES):
    """In double precision, as the loops compute."""
    sizes = tuple((math.ceil(height / s), math.ceil(width / s)) for s in strides)
    pyramid = anchor_pyramid(sizes, strides, 8, 0.0, torch.device("cpu"))
    return pyramid._replace(boxes=pyramid.boxes.double(), centers=pyramid.centers.double())


def objects_of(*images, size=(160, 192)):
    """Boxes of each image, in double precision."""
    instances = []
    for boxes in images:
        one = Instances(size, gt_boxes=Boxes(boxes), gt_classes=torch.zeros(len(boxes), dtype=torch.int64))
        instances.append(one)
    gt = GroundTruth.of(instances, "cpu")
    exact = torch.zeros(gt.boxes.shape, dtype=torch.float64)
    for row, boxes in zip(exact, images, strict=True):
        row[: len(boxes)] = boxes
    return GroundTruth(exact, gt.classes, gt.present, gt.image_sizes)


def owners(pyramid, *images, topk=9, valid=None):
    """Of each image and anchor the box that it is trained to find, or -1."""
    location, objects, positive = ATSSAssigner(topk)(pyramid, valid, objects_of(*images))
    assigned = torch.full((len(images), len(pyramid.boxes)), -1)
    for n in range(len(images)):
        places = location[n][positive[n]]
        assert len(places.unique()) == len(places)  # an anchor stands in one place
        assigned[n, places] = objects[n][positive[n]]
    return assigned


def levels_of(pyramid):
    return pyramid.boxes.split(pyramid.level_sizes)


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
def test_equals_plain_loops_whatever_else_is_in_the_batch(seed, largest, topk):
    pyramid = pyramid_of(160, 192)
    images = [random_boxes(count, 160, 192, 4, largest, seed + 10 * count) for count in (7, 0, 2)]
    assigned = owners(pyramid, *images, topk=topk)
    for n, boxes in enumerate(images):
        assert assigned[n].tolist() == slow_atss(levels_of(pyramid), boxes, topk)


@pytest.mark.parametrize("topk", [1, 9])
def test_anchors_of_the_padding_are_no_candidates(topk):
    """As in a pyramid that ends where the image does."""
    sizes = ((84, 100), (160, 192))
    pyramid, boxes = pyramid_of(160, 192), [random_boxes(5, *size, 8, 60, seed=3) for size in sizes]
    valid = pyramid.filled_by(sizes)
    assigned = owners(pyramid, *boxes, topk=topk, valid=valid)
    for n, size in enumerate(sizes):
        assert assigned[n][valid[n]].tolist() == slow_atss(levels_of(pyramid_of(*size)), boxes[n], topk)
        assert (assigned[n][~valid[n]] == -1).all()
    assert pyramid.filled_by([(153, 185)] * 2) is None and (~valid[0]).any() and valid[1].all()


def test_of_centres_equally_near_the_first_are_the_candidates():
    """A box about the middle of four cells; whatever the batch is padded to."""
    box = torch.tensor([[20.0, 28.0, 60.0, 52.0]]).double()
    for size in ((80, 80), (160, 192)):
        pyramid = pyramid_of(*size)
        valid = pyramid.filled_by([(80, 80)])
        assigned = owners(pyramid, box, topk=3, valid=valid)[0]
        expected = slow_atss(levels_of(pyramid_of(80, 80)), box, 3)
        assert (assigned if valid is None else assigned[valid[0]]).tolist() == expected and 0 in expected


def test_disc_sized_boxes_get_seven_positives_all_on_p3():
    pyramid = pyramid_of(512, 512)
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(300, 1, 2, generator=generator, dtype=torch.float64) * torch.tensor([470.0, 494.0])
    assigned = owners(pyramid, *torch.cat([corners, corners + torch.tensor([42.0, 18.0])], dim=2)) == 0
    assert assigned.sum().item() / 300 == pytest.approx(7.0, abs=0.3)
    assert not assigned[:, pyramid.level_sizes[0] :].any()


def region_of(pyramid, *images, ratio=0.25, valid=None):
    return ATSSAssigner().valuable_region(pyramid, valid, objects_of(*images), ratio)


@pytest.mark.parametrize("ratio", [0.25, 0.6])
@pytest.mark.parametrize("largest", [20, 60, 150])
def test_the_valuable_region_equals_plain_loops(largest, ratio):
    pyramid, images = pyramid_of(160, 192), [random_boxes(n, 160, 192, 4, largest, seed=1) for n in (7, 0, 3)]
    region = region_of(pyramid, *images, ratio=ratio)
    for n, boxes in enumerate(images):
        slow = slow_valuable_region(levels_of(pyramid), boxes, 9, ratio)
        torch.testing.assert_close(region[n], torch.tensor(slow, dtype=torch.float64), rtol=1e-12, atol=1e-15)
    assert (region[0] > 0).any()


def test_the_valuable_region_is_not_in_the_padding():
    pyramid, boxes = pyramid_of(160, 192), random_boxes(5, 84, 100, 8, 60, seed=3)
    valid = pyramid.filled_by([(84, 100)])
    region = region_of(pyramid, boxes, valid=valid)[0]
    own = torch.tensor(slow_valuable_region(levels_of(pyramid_of(84, 100)), boxes, 9, 0.25), dtype=torch.float64)
    torch.testing.assert_close(region[valid[0]], own, rtol=1e-12, atol=1e-15)
    assert not region[~valid[0]].any() and own.any()


def test_the_valuable_region_of_a_disc_lies_about_its_positives():
    pyramid, box = pyramid_of(512, 512), torch.tensor([[200.0, 240.0, 242.0, 258.0]]).double()
    region, positive = region_of(pyramid, box)[0] > 0, owners(pyramid, box)[0] >= 0
    assert region.sum() > positive.sum() > 0 and not (region & positive).any()
    # Unlike a positive's, a centre may lie outside of the box.
    assert (boxes_to_distances(pyramid.centers[region], box).amin(dim=1) < 0).any()


def test_no_box_or_a_nan_box_is_background_with_no_valuable_region():
    pyramid = pyramid_of(64, 64)
    images = torch.zeros(0, 4).double(), torch.full((1, 4), math.nan).double()
    assert not region_of(pyramid, *images).any()
    assert (owners(pyramid, *images) == -1).all()


def test_levels_with_fewer_anchors_than_candidates():
    pyramid = pyramid_of(64, 64)
    assert pyramid.level_sizes == [64, 16, 4, 1, 1]
    boxes = random_boxes(3, 64, 64, 20, 60, seed=5)
    assigned = owners(pyramid, boxes)[0].tolist()
    assert assigned == slow_atss(levels_of(pyramid), boxes, 9)
    assert set(assigned) == {-1, 0, 1, 2}


def test_box_between_the_centres_has_no_positive():
    assert (owners(pyramid_of(64, 64), torch.tensor([[9.0, 9.0, 15.0, 15.0]]).double()) == -1).all()


def test_centre_on_the_edge_is_not_inside():
    # Its left edge runs through the centres at x = 8; those at x = 16 are inside.
    pyramid = pyramid_of(64, 64)
    assigned = owners(pyramid, torch.tensor([[8.0, 10.0, 21.0, 29.0]]).double())[0]
    assert (assigned >= 0).any() and (pyramid.centers[assigned >= 0, 0] > 8).all()


def test_anchor_claimed_twice_goes_to_the_larger_overlap():
    pyramid = pyramid_of(128, 128)
    small, large = [41.3, 43.1, 83.2, 81.9], [34.6, 37.4, 94.1, 95.7]
    alone = owners(pyramid, *(torch.tensor([box]).double() for box in (small, large)))
    claimed = (alone == 0).all(dim=0)
    assert claimed.any()
    overlap = overlaps(pyramid.boxes[:, None], torch.tensor([small, large]).double())
    for order in ([0, 1], [1, 0]):
        boxes = torch.tensor([[small, large][i] for i in order]).double()
        both = owners(pyramid, boxes)[0]
        assert (both[claimed] == overlap[claimed][:, order].argmax(dim=1)).all()
        assert both.tolist() == slow_atss(levels_of(pyramid), boxes, 9)


def test_of_two_boxes_that_are_the_same_the_first_has_the_anchors():
    pyramid, box = pyramid_of(64, 64), torch.tensor([[10.0, 12.0, 50.0, 47.0]]).double()
    assert torch.equal(owners(pyramid, box.repeat(2, 1)), owners(pyramid, box))


def test_single_candidate_has_no_deviation_and_is_taken():
    pyramid = anchor_pyramid(((1, 1),), (64,), 1, 0.5, torch.device("cpu"))
    pyramid = pyramid._replace(boxes=pyramid.boxes.double(), centers=pyramid.centers.double())
    inside, outside = torch.tensor([[[20.0, 20.0, 50.0, 60.0]], [[40.0, 40.0, 60.0, 60.0]]]).double()
    assert owners(pyramid, inside, outside).tolist() == [[0], [-1]]


def test_nan_box_gets_nothing_and_disturbs_no_other():
    pyramid, good = pyramid_of(64, 64), torch.tensor([[10.0, 12.0, 50.0, 47.0]]).double()
    alone, with_nan = owners(pyramid, good, torch.cat([good, torch.full((1, 4), math.nan).double()]))
    assert (alone == 0).any() and torch.equal(alone, with_nan)


def test_topk_must_be_positive():
    with pytest.raises(ValueError, match=r"MODEL\.GFL\.ATSS_TOPK"):
        ATSSAssigner(0)


def test_iou_equals_plain_loops_and_empty_boxes_overlap_nothing():
    a, b = random_boxes(6, 50, 50, 0, 40, seed=1), random_boxes(5, 50, 50, 0, 40, seed=2)
    expected = torch.tensor([[slow_iou(x, y) for y in b.tolist()] for x in a.tolist()], dtype=torch.float64)
    torch.testing.assert_close(overlaps(a[:, None], b), expected, rtol=1e-12, atol=1e-15)
    empty = torch.ones(1, 4)
    assert overlaps(empty, empty).item() == 0


def test_distances_and_boxes_are_inverse_and_share_the_iou():
    boxes = random_boxes(20, 60, 60, 5, 40, seed=3)
    others = boxes + torch.tensor([-1.0, 2.0, 1.5, 3.0])
    centers = boxes.view(-1, 2, 2).mean(dim=1)
    first, second = boxes_to_distances(centers, boxes), boxes_to_distances(centers, others)
    torch.testing.assert_close(distances_to_boxes(centers, first), boxes)
    assert (second > 0).all()
    torch.testing.assert_close(concentric_iou(first, second), overlaps(boxes, others))
    torch.testing.assert_close(concentric_giou_loss(first, second), giou_loss(boxes, others), rtol=1e-9, atol=0)


def test_distance_iou_equals_torchvisions():
    a, b = random_boxes(6, 50, 50, 1, 40, seed=1), random_boxes(5, 50, 50, 1, 40, seed=2)
    found = overlaps(a[:, None], b) - center_distances(a[:, None], b)
    torch.testing.assert_close(found, distance_box_iou(a, b), rtol=1e-6, atol=1e-7)


def test_anchors_are_squares_about_the_cells_corner():
    pyramid = anchor_pyramid(((2, 3), (1, 2)), (8, 16), 8, 0.0, torch.device("cpu"))
    assert pyramid.level_sizes == [6, 2]
    assert pyramid.centers.tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8], [0, 0], [16, 0]]
    assert pyramid.boxes[4].tolist() == [-24, -24, 40, 40]
    assert pyramid.boxes[7].tolist() == [-48, -64, 80, 64]
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

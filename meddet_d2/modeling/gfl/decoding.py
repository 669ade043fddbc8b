"""From the head's output to detections: top-k per level, threshold, boxes, NMS in each class or across them.

All images of a batch go through every operator together. The host waits for the device when the number of candidates
is known, in NMS, and at the end.

Shape legend:
    N: images; L: locations of all levels of one image; C: classes; R: reg_max
    K: candidates of an image, the sum over levels of min(topk, locations * C); D: detections of an image
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from detectron2.structures import Boxes, Instances

from ..boxes import distances_to_boxes
from .anchors import AnchorPyramid


def top_candidates(scores: Tensor, level_sizes: list[int], topk: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best (location, class) pairs of every level.

    Args:
        scores: (N, L, C), level after level.
        level_sizes: locations of each level.
        topk: at most so many pairs of one level.

    Returns:
        Scores, locations in [0, L) and classes in [0, C) of the pairs, each (N, K).
    """
    num_classes = scores.shape[2]
    best_scores, best_pairs, first = [], [], 0
    for level in scores.split(level_sizes, dim=1):
        pairs = level.flatten(1)
        best, pair = pairs.topk(min(topk, pairs.shape[1]))
        best_scores.append(best)
        best_pairs.append(pair + first * num_classes)
        first += level.shape[1]
    chosen = torch.cat(best_pairs, dim=1)
    return torch.cat(best_scores, dim=1), chosen // num_classes, chosen % num_classes


@torch.no_grad()
def decode_detections(
    cls_logits: Tensor,
    box_logits: Tensor,
    *,
    pyramid: AnchorPyramid,
    valid: Tensor | None,
    integral: Callable[[Tensor], Tensor],
    image_sizes: Sequence[tuple[int, int]],
    output_sizes: Sequence[tuple[int, int]],
    score_thresh: float,
    topk: int,
    nms_thresh: float,
    nms_across_classes: bool,
    max_detections: int,
) -> list[Instances]:
    """Detections of a batch.

    Args:
        cls_logits: (N, L, C).
        box_logits: (N, L, 4 * (R + 1)).
        pyramid: the L anchors.
        valid: (N, L) bool, False for an image's padding, where nothing is found; None: no image is padded.
        integral: distances in strides from distance logits.
        image_sizes: of each image, height and width in pixels, without padding; boxes are clipped to it.
        output_sizes: of each image, the height and width that its boxes are scaled to.
        score_thresh: lowest score (exclusive).
        topk: candidates of each level.
        nms_thresh: of two boxes of one class with a larger IoU, the lower-scored is dropped.
        nms_across_classes: so it is of two boxes of different classes, for classes that exclude each other.
        max_detections: at most so many of an image, the best.

    Returns:
        Of each image, Instances with ``pred_boxes`` in pixels of the output, ``scores`` in (0, 1), falling, and
        ``pred_classes``, D of each.

    Raises:
        FloatingPointError: if a prediction is NaN: no detection would look like a healthy patient.
    """
    num_images, _, num_classes = cls_logits.shape
    scores = cls_logits.sigmoid()
    if valid is not None:
        scores = torch.where(valid[..., None], scores, 0.0)
    unknown = scores.isnan()
    scores, location, classes = top_candidates(scores, pyramid.level_sizes, topk)
    chosen = box_logits.gather(1, location[..., None].expand(-1, -1, box_logits.shape[2]))  # (N, K, 4 * (R + 1))
    distances = integral(chosen) * pyramid.strides[location]
    numbers = [[*size, *output] for size, output in zip(image_sizes, output_sizes, strict=True)]
    sizes = torch.tensor(numbers, dtype=distances.dtype).to(distances.device, non_blocking=True)  # (N, 4)
    limits = sizes[:, None, [1, 0, 1, 0]]  # as x, y, x, y
    boxes = distances_to_boxes(pyramid.centers[location], distances).clamp(min=0).minimum(limits)
    # Boxes that lie in the padding are empty after clipping.
    kept = (scores > score_thresh) & (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    images, places = kept.nonzero(as_tuple=True)

    boxes, scores, classes = boxes[images, places], scores[images, places], classes[images, places]
    rivals = images if nms_across_classes else images * num_classes + classes
    # In double precision: NMS moves each group of rivals to a place apart, and single precision would round it there.
    best = batched_nms(boxes.double(), scores.double(), rivals, nms_thresh)
    # They come by falling score. Sorted by image, and then by score, an image's best are its first.
    best = best[images[best].argsort(stable=True)]
    counts = best.new_zeros(num_images + 1).index_add_(0, images[best], torch.ones_like(best))
    # No box of a NaN is kept, so it is looked for in all candidates and in every score.
    counts[-1] = unknown.any() | distances.isnan().any()
    *per_image, wrong = counts.tolist()
    if wrong:
        raise FloatingPointError("the detector predicts NaN: look for NaN in its checkpoint, or in the image itself")
    size, output = sizes[:, [1, 0, 1, 0]][images[best]], sizes[:, [3, 2, 3, 2]][images[best]]
    found = (boxes[best] * (output / size)).minimum(output), scores[best], classes[best]
    detections = []
    for output_size, *fields in zip(output_sizes, *(values.split(per_image) for values in found), strict=True):
        one = Instances(output_size)
        first = [values[:max_detections] for values in fields]
        one.pred_boxes, one.scores, one.pred_classes = Boxes(first[0]), first[1], first[2]
        detections.append(one)
    return detections

"""Adaptive Training Sample Selection (Zhang et al., CVPR 2020, algorithm 1).

Shape legend:
    n_l: anchors of level l; L: anchors of all levels, level after level
    G: ground-truth boxes; K: candidates of a box, the sum over levels of min(topk, n_l)
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import distance_box_iou

from ..boxes import pairwise_iou

# A centre this close to the box's edge, in pixels, or closer does not count as inside.
_MIN_DEPTH = 0.01


class ATSSAssigner:
    """Chooses the anchors that are trained to find each ground-truth box.

    A box's candidates are, on every level, the ``topk`` anchors whose centres are nearest to its own. Its positives are
    the candidates that reach the mean plus the (unbiased) standard deviation of the candidates' IoU, and whose
    centre lies inside the box. An anchor claimed by several boxes goes to the one it overlaps most.
    All other anchors are background: there is no band that is ignored.

    Three cases worth knowing:
        * A box thinner than the finest stride can lie between all centres, and then has no positive; so can a box
          whose candidates' IoU fall into two groups, which lifts the threshold over the largest. Both are as published.
        * A single candidate has no standard deviation (it would be NaN and refuse every anchor): taken as 0, which
          leaves the candidate itself, if its centre is inside.
        * A box with a NaN in it overlaps nothing and gets no positive.
    """

    def __init__(self, topk: int = 9) -> None:
        if topk < 1:
            raise ValueError(f"ATSS needs at least one candidate per level, got MODEL.GFL.ATSS_TOPK = {topk}")
        self.topk = topk

    @torch.no_grad()
    def __call__(self, anchors_per_level: Sequence[Tensor], gt_boxes: Tensor) -> Tensor:
        """Assign anchors to boxes.

        Args:
            anchors_per_level: of each level, (n_l, 4) as x0, y0, x1, y1 in pixels; those of the image without padding.
            gt_boxes: (G, 4), likewise.

        Returns:
            (L,) int64: the index of the anchor's box, or -1 for background; all -1 when G = 0.
        """
        anchors = torch.cat(list(anchors_per_level))
        if len(gt_boxes) == 0:
            return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)

        candidates, iou, threshold = self._candidates(anchors_per_level, gt_boxes)
        candidate_iou = iou.gather(0, candidates)
        centers = _centers(anchors)[candidates]
        to_edges = torch.cat([centers - gt_boxes[:, :2], gt_boxes[:, 2:] - centers], dim=-1)
        positive = (candidate_iou >= threshold) & (to_edges.amin(dim=-1) > _MIN_DEPTH)

        # The IoU where a box claims an anchor and -1 elsewhere; a box names no candidate twice.
        claim = torch.full_like(iou, -1.0).scatter_(0, candidates, torch.where(positive, candidate_iou, -1.0))
        best, index = claim.max(dim=1)
        return torch.where(best >= 0, index, -1)

    @torch.no_grad()
    def valuable_region(self, anchors_per_level: Sequence[Tensor], gt_boxes: Tensor, ratio: float = 0.25) -> Tensor:
        """The valuable localization region around the positives (Zheng et al., "Localization Distillation", CVPR 2022).

        It is the anchors, of all and not of the candidates alone, whose distance-IoU with a box is at least ``ratio``
        times that box's threshold and below the threshold. Their centre may lie outside of the box.
        The authors' code divides by the anchor's area where DIoU has the union.

        Args:
            anchors_per_level, gt_boxes: as for :meth:`__call__`.
            ratio: where the region begins, in [0, 1].

        Returns:
            (L,): the anchor's IoU with its box, the largest if several claim it; 0 outside of the region.
        """
        anchors = torch.cat(list(anchors_per_level))
        if len(gt_boxes) == 0:
            return anchors.new_zeros(len(anchors))
        _, iou, threshold = self._candidates(anchors_per_level, gt_boxes)
        diou = distance_box_iou(anchors, gt_boxes)
        return torch.where((diou >= ratio * threshold) & (diou < threshold), iou, 0.0).amax(dim=1)

    def _candidates(self, anchors_per_level: Sequence[Tensor], gt_boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Indices of every box's candidates (K, G), the IoU of all anchors (L, G) and the boxes' thresholds (G,)."""
        gt_centers = _centers(gt_boxes)
        nearest_per_level, first = [], 0
        for level in anchors_per_level:
            distance = (_centers(level)[:, None] - gt_centers[None]).square().sum(dim=-1)  # (n_l, G)
            nearest = distance.topk(min(self.topk, len(level)), dim=0, largest=False).indices
            nearest_per_level.append(nearest + first)
            first += len(level)
        candidates = torch.cat(nearest_per_level)

        iou = pairwise_iou(torch.cat(list(anchors_per_level)), gt_boxes)
        candidate_iou = iou.gather(0, candidates)
        threshold = candidate_iou.mean(dim=0)
        if len(candidates) > 1:
            threshold = threshold + candidate_iou.std(dim=0)
        return candidates, iou, threshold


def _centers(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2

"""Adaptive Training Sample Selection (Zhang et al., CVPR 2020, algorithm 1), for a whole batch at once.

Shape legend:
    N: images; L: anchors of all levels, level after level; n_l: those of level l
    G: places for objects, some of them empty
    K: candidates of an object, the sum over levels of min(topk, n_l); S = K * G: all places of candidates
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..boxes import boxes_to_distances, center_distances, overlaps
from .anchors import AnchorPyramid
from .ground_truth import GroundTruth

# A centre this close to the box's edge, in pixels, or closer does not count as inside.
_MIN_DEPTH = 0.01
# What a later centre's squared distance is lengthened by, in pixels: above the rounding of double precision.
_TIE = 2.0**-30


class Candidates(NamedTuple):
    """What ATSS chooses from, with the thresholds it chooses by."""

    location: Tensor  # (N, K, G) int64 in [0, L)
    real: Tensor  # (N, K, G) bool: an anchor of the image and an object; False: a place that holds nothing
    iou: Tensor  # (N, K, G) of anchor and object, 0 where nothing is
    threshold: Tensor  # (N, G)


class Assignment(NamedTuple):
    """Which anchor is trained to find which object.

    Each positive anchor stands in exactly one of the S places; the other places are not positive. So what positives
    need is computed on S places, whose number depends on no value: the host need not wait for the device to count.
    """

    location: Tensor  # (N, S) int64 in [0, L)
    object: Tensor  # (N, S) int64 in [0, G)
    positive: Tensor  # (N, S) bool

    def mark(self, num_locations: int) -> Tensor:
        """(N, L) bool: the positive anchors."""
        marked = torch.zeros(len(self.location), num_locations, dtype=torch.int8, device=self.location.device)
        return marked.scatter_reduce_(1, self.location, self.positive.to(torch.int8), "amax").bool()


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
    def __call__(self, anchors: AnchorPyramid, valid: Tensor | None, gt: GroundTruth) -> Assignment:
        """Assign anchors to boxes.

        Args:
            anchors: of the padded batch.
            valid: (N, L) bool, False for the anchors of an image's padding; None: no image is padded.
            gt: the objects.
        """
        found = self._candidates(anchors, valid, gt)
        to_edges = boxes_to_distances(anchors.centers[found.location], gt.boxes[:, None])  # (N, K, G, 4)
        positive = found.real & (found.iou >= found.threshold[:, None]) & (to_edges.amin(dim=-1) > _MIN_DEPTH)
        objects = torch.arange(gt.boxes.shape[1], device=gt.boxes.device).expand_as(positive)
        location, objects, positive, iou = (x.flatten(1) for x in (found.location, objects, positive, found.iou))

        # Of an anchor's claims the largest IoU wins, and of equal ones the first object's.
        claim = torch.where(positive, iou, -1.0)
        best = claim.new_full((len(claim), len(anchors.centers)), -1.0).scatter_reduce_(1, location, claim, "amax")
        wins = positive & (claim == best.gather(1, location))
        none = gt.boxes.shape[1]
        first = objects.new_full(best.shape, none)
        first.scatter_reduce_(1, location, torch.where(wins, objects, none), "amin")
        return Assignment(location, objects, wins & (objects == first.gather(1, location)))

    @torch.no_grad()
    def valuable_region(
        self, anchors: AnchorPyramid, valid: Tensor | None, gt: GroundTruth, ratio: float = 0.25
    ) -> Tensor:
        """The valuable localization region around the positives (Zheng et al., "Localization Distillation", CVPR 2022).

        It is the anchors, of all and not of the candidates alone, whose distance-IoU with a box is at least ``ratio``
        times that box's threshold and below the threshold. Their centre may lie outside of the box.
        The authors' code divides by the anchor's area where DIoU has the union.

        Args:
            anchors, valid, gt: as for :meth:`__call__`.
            ratio: where the region begins, in [0, 1].

        Returns:
            (N, L): the anchor's IoU with its box, the largest if several claim it; 0 outside of the region.
        """
        threshold = self._candidates(anchors, valid, gt).threshold[:, None]  # (N, 1, G)
        pair = anchors.boxes[:, None], gt.boxes[:, None]
        iou = overlaps(*pair)  # (N, L, G)
        diou = iou - center_distances(*pair)
        inside = (diou >= ratio * threshold) & (diou < threshold) & gt.present[:, None]
        region = torch.where(inside, iou, 0.0).amax(dim=2)
        return region if valid is None else torch.where(valid, region, 0.0)

    def _candidates(self, anchors: AnchorPyramid, valid: Tensor | None, gt: GroundTruth) -> Candidates:
        gt_centers = (gt.boxes[..., :2] + gt.boxes[..., 2:]) / 2  # (N, G, 2)
        distances = (anchors.centers[:, None] - gt_centers[:, None]).square().sum(dim=-1).double()  # (N, L, G)
        # Of centres equally near the first ones count, or the choice would depend on how far the batch is padded.
        distances += _TIE * torch.arange(len(anchors.centers), device=distances.device)[:, None]
        if valid is not None:
            distances = torch.where(valid[..., None], distances, torch.inf)
        nearest, first = [], 0
        for level in distances.split(anchors.level_sizes, dim=1):
            nearest.append(level.topk(min(self.topk, level.shape[1]), dim=1, largest=False).indices + first)
            first += level.shape[1]
        location = torch.cat(nearest, dim=1)
        real = gt.present[:, None].expand_as(location)
        if valid is not None:
            # A level of fewer anchors than candidates, the padding's left out, has fewer candidates.
            real = real & valid.gather(1, location.flatten(1)).view_as(location)
        iou = overlaps(anchors.boxes[location], gt.boxes[:, None]) * real
        count = real.sum(dim=1)
        mean = iou.sum(dim=1) / count.clamp(min=1)
        variance = ((iou - mean[:, None]).square() * real).sum(dim=1) / (count - 1).clamp(min=1)
        return Candidates(location, real, iou, mean + variance.sqrt())

"""Which detection is which annotated box: COCO's greedy matching at one IoU, image by image.

The detections of an image are taken by falling score, at most MAX_DETECTIONS of a class; each takes the free annotated
box that it overlaps most, if by IoU >= the threshold. What takes none but lies on a crowd box is left out. Because of
the falling order, the matches above any score threshold are the matches of the detections above it: one matching
serves every curve, every operating point and every resample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pycocotools import mask

from .cases import Case

MAX_DETECTIONS = 100


@dataclass(frozen=True, eq=False, kw_only=True)
class Matches:
    """The detections of a set of images by falling score (equal scores in the order of the images), and their boxes.

    Attributes:
        image: (D,) index of the image.
        score: (D,) falling.
        label: (D,) detected class.
        truth: (D,) index of the annotated box it found, -1 for a false one.
        truth_image: (G,) index of the image of each annotated box; crowd boxes are not among them.
        truth_label: (G,) annotated class.
        truth_level: of each annotated box.
        images: I.
        on_crowd: detections left out because they lie on a crowd box.
        beyond_limit: detections left out because their image has MAX_DETECTIONS better ones.
    """

    image: np.ndarray
    score: np.ndarray
    label: np.ndarray
    truth: np.ndarray
    truth_image: np.ndarray
    truth_label: np.ndarray
    truth_level: tuple[str | None, ...]
    images: int
    on_crowd: int
    beyond_limit: int

    @cached_property
    def hit(self) -> np.ndarray:
        """(D,) bool: found an annotated box."""
        return self.truth >= 0

    @cached_property
    def ends(self) -> np.ndarray:
        """Index of the last detection of each distinct score: what a threshold can separate."""
        return np.flatnonzero(np.diff(self.score, append=-np.inf))

    def positives(self, weights: np.ndarray | None = None) -> float:
        """Annotated boxes, each image counted as often as ``weights`` (I,) says."""
        return float(len(self.truth_image) if weights is None else weights[self.truth_image].sum())

    def totals(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(D,) true and (D,) false detections down to each one, weighted like :meth:`positives`."""
        ones = np.ones(len(self.score)) if weights is None else weights[self.image].astype(np.float64)
        return np.cumsum(ones * self.hit), np.cumsum(ones * ~self.hit)

    def found(self, threshold: float) -> np.ndarray:
        """(G,) bool: annotated boxes found by a detection with a score >= ``threshold``."""
        found = np.zeros(len(self.truth_image), dtype=bool)
        found[self.truth[self.hit & (self.score >= threshold)]] = True
        return found


def match(cases: Sequence[Case], iou: float, labels: Sequence[int] | None = None) -> Matches:
    """Match the detections of some classes with their annotated boxes, whichever of these classes each has.

    Args:
        cases: in the order of their numbers.
        iou: least intersection over union, in (0, 1].
        labels: the classes; None for all.
    """
    columns: dict[str, list] = {"image": [], "score": [], "label": [], "truth": []}
    truth_image: list[int] = []
    truth_label: list[int] = []
    truth_level: list[str | None] = []
    on_crowd = beyond_limit = 0
    for index, case in enumerate(cases):
        ours, theirs = (
            np.ones(len(given), bool) if labels is None else np.isin(given, labels)
            for given in (case.labels, case.found_labels)
        )
        # Crowd boxes last, and those of a class together, as COCO has them: it decides between equal overlaps.
        rows = np.flatnonzero(ours)
        rows = rows[np.lexsort((case.labels[rows], case.crowd[rows]))]
        found = np.flatnonzero(theirs)
        found = found[np.argsort(case.found_labels[found], kind="stable")]
        found = found[np.argsort(-case.found_scores[found], kind="stable")]
        beyond_limit += max(0, len(found) - MAX_DETECTIONS)
        found = found[:MAX_DETECTIONS]
        crowd = case.crowd[rows]
        partner = match_image(case.found_boxes[found], case.boxes[rows], crowd, iou)
        ignored = (partner >= 0) & np.append(crowd, False)[partner]
        on_crowd += int(ignored.sum())
        # Crowd boxes are last, so the others' rows are counted on without gaps.
        truth = np.where(partner >= 0, partner + len(truth_image), -1)[~ignored]
        columns["image"].append(np.full(len(truth), index))
        columns["score"].append(case.found_scores[found][~ignored])
        columns["label"].append(case.found_labels[found][~ignored])
        columns["truth"].append(truth)
        truth_image += [index] * int((~crowd).sum())
        truth_label += case.labels[rows][~crowd].tolist()
        truth_level += [case.levels[row] for row in rows[~crowd]]
    joined = {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in columns.items()}
    order = np.argsort(-joined["score"], kind="stable")
    return Matches(
        image=joined["image"][order].astype(np.int64),
        score=joined["score"][order].astype(np.float64),
        label=joined["label"][order].astype(np.int64),
        truth=joined["truth"][order].astype(np.int64),
        truth_image=np.array(truth_image, dtype=np.int64),
        truth_label=np.array(truth_label, dtype=np.int64),
        truth_level=tuple(truth_level),
        images=len(cases),
        on_crowd=on_crowd,
        beyond_limit=beyond_limit,
    )


def match_image(found: np.ndarray, boxes: np.ndarray, crowd: np.ndarray, iou: float) -> np.ndarray:
    """(D,) index of the box that each detection of one image takes, -1 for none.

    Args:
        found: (D, 4) detections by falling score.
        boxes: (G, 4) annotated, crowd boxes last.
        crowd: (G,) bool.
        iou: as in :func:`match`; for a crowd box the intersection is divided by the detection's own area.
    """
    partner = np.full(len(found), -1, dtype=np.int64)
    if not len(found) or not len(boxes):
        return partner
    overlaps = np.asarray(mask.iou(found.astype(np.float64), boxes.astype(np.float64), crowd.astype(np.uint8)))
    free = np.ones(len(boxes), dtype=bool)
    least = min(iou, 1 - 1e-10)
    for row, overlap in enumerate(overlaps):
        possible = free & (overlap >= least)
        # A crowd box is the second choice, however large the overlap.
        if (possible & ~crowd).any():
            possible &= ~crowd
        if possible.any():
            best = np.flatnonzero(possible)
            # Of equal overlaps the last, as COCO does.
            partner[row] = best[np.flatnonzero(overlap[best] == overlap[best].max())[-1]]
            free[partner[row]] = crowd[partner[row]]
    return partner

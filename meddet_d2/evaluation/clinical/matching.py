"""Which detection is which annotated box: pycocotools' greedy matching at one IoU, image by image.

The detections of an image are taken by falling score, at most MAX_DETECTIONS of a class; each takes the free annotated
box that it overlaps most, if by IoU >= the threshold. What takes none but lies on a crowd box is left out. Because of
the falling order, the matches above any score threshold are the matches of the detections above it: one matching
serves every curve, every operating point and every resample.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pycocotools.cocoeval import COCOeval

from ..detection_evaluator import coco_of
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

    def totals(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, float, float]:
        """(D,) true and (D,) false detections down to each one, all annotated boxes, and all images.

        Args:
            weights: (I,) how often each image is counted; once by default.
        """
        weights = np.ones(self.images) if weights is None else weights.astype(np.float64)
        of_found = weights[self.image]
        true, false = np.cumsum(of_found * self.hit), np.cumsum(of_found * ~self.hit)
        return true, false, weights[self.truth_image].sum(), weights.sum()

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
    # pycocotools wants an area, which no range of areas makes use of.
    truth = [
        {"image_id": index, "category_id": label, "bbox": box, "iscrowd": crowd, "area": 0.0, "level": level}
        for index, case in enumerate(cases)
        for box, label, crowd, level in zip(case.boxes, case.labels, case.crowd, case.levels, strict=True)
        if labels is None or label in labels
    ]
    found = [
        {"image_id": index, "category_id": label, "bbox": box, "score": score, "area": 0.0}
        for index, case in enumerate(cases)
        for box, label, score in zip(case.found_boxes, case.found_labels, case.found_scores, strict=True)
        if labels is None or label in labels
    ]
    categories = [{"id": label} for label in sorted({one["category_id"] for one in [*truth, *found]})]
    content = {"images": [{"id": index} for index in range(len(cases))], "categories": categories}
    both = (coco_of({**content, "annotations": records}) for records in (truth, found))
    evaluation = COCOeval(*both, "bbox")
    evaluation.params.iouThrs, evaluation.params.maxDets = [iou], [MAX_DETECTIONS]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, np.inf]], ["all"]
    evaluation.params.useCats = False
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()

    # By image, and in an image by falling score; the ids count from 1, and a false detection is matched with 0.
    images = [one for one in evaluation.evalImgs if one is not None]
    identity, partner, ignored = (
        np.concatenate([np.zeros(0), *(np.ravel(one[key]) for one in images)])
        for key in ("dtIds", "dtMatches", "dtIgnore")
    )
    score = np.array([one["score"] for one in found], dtype=np.float64)[identity.astype(int) - 1]
    kept = np.argsort(-score, kind="stable")
    kept = kept[ignored[kept] == 0]
    taken = [found[int(number) - 1] for number in identity[kept]]
    crowd = np.array([one["iscrowd"] for one in truth], dtype=bool)
    numbers = np.concatenate([[-1], np.cumsum(~crowd) - 1])
    annotated = [one for one in truth if not one["iscrowd"]]
    return Matches(
        image=np.array([one["image_id"] for one in taken], dtype=np.int64),
        score=score[kept],
        label=np.array([one["category_id"] for one in taken], dtype=np.int64),
        truth=numbers[partner[kept].astype(int)],
        truth_image=np.array([one["image_id"] for one in annotated], dtype=np.int64),
        truth_label=np.array([one["category_id"] for one in annotated], dtype=np.int64),
        truth_level=tuple(one["level"] for one in annotated),
        images=len(cases),
        on_crowd=int(ignored.sum()),
        beyond_limit=len(found) - len(identity),
    )

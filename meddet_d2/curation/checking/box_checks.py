"""Boxes that discs do not have: by their size, their place, and their levels.

A box is compared with the data set's other boxes, by the robust z-score of a logarithm (median and median absolute
deviation). Where the pixel's size is known, it is also compared with what discs measure.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from pycocotools.mask import iou

from ...layout.data_set import CDH_CLASSES
from ...layout.levels import DISCS, level_index
from .annotation_checks import BoxRecord, ImageRecord, Split, numbers
from .findings import Finding

# Robust z-scores beyond this are named: among a thousand boxes of a normal distribution none is.
UNUSUAL = 5.0
# The least spread of a logarithm that counts, so that boxes drawn to one pattern are not held against each other.
LEAST_SPREAD = 0.05
# A distribution of fewer boxes says nothing about one of them.
LEAST_BOXES = 20
# Millimetres. A cervical disc's box is about 12 to 25 wide and 4 to 12 high, a lumbar one's 30 to 50 and 8 to 20. That
# of a tilted L5/S1 is up to 35 high. Half and about a half more of that is tolerated for the reader's margin.
WIDTH_MM, HEIGHT_MM = (6.0, 70.0), (2.0, 50.0)
# Intersection over union of two boxes that are of one disc; neighbouring discs hardly touch.
SAME_DISC = 0.5
# Discs on one slice: C2/3 to T2/3, and T8/9 to L5/S1.
MOST_DISCS, MOST_LUMBAR_DISCS = 8, 10
# Pixels.
BORDER = 0.5


def check_boxes(splits: Sequence[Split]) -> list[Finding]:
    """All findings about boxes; those with iscrowd are counted and not judged."""
    images = [image for split in splits for image in split.images]
    findings = [*_unusual([(image, box) for image in images for box in image.judged])]
    for split in splits:
        # What is known of discs is not held against other things.
        discs = set(split.classes) <= set(CDH_CLASSES)
        for image in split.images:
            findings += [*_overlaps(image), *_levels(image)]
            if discs:
                findings += _unlike_discs(image, split.region)
        findings += _notes(split)
    return findings


def robust_z(values: np.ndarray) -> np.ndarray:
    """(N,), N at least 1: (value - median) / spread, 1.4826 times the median absolute deviation or LEAST_SPREAD."""
    deviation = values - np.median(values)
    return deviation / max(1.4826 * float(np.median(np.abs(deviation))), LEAST_SPREAD)


def _unusual(judged: Sequence[tuple[ImageRecord, BoxRecord]]) -> Iterator[Finding]:
    if len(judged) < LEAST_BOXES:
        return
    sizes = np.array([box.size for _, box in judged])
    # As a share of the image: one data set holds the same field of view in 320 and in 1024 pixels.
    images = np.array([image.size for image, _ in judged])
    shares = np.log(sizes / images).sum(axis=1)
    aspects = np.log(sizes[:, 0] / sizes[:, 1])
    for name, values in (("unusual-size", shares), ("unusual-aspect", aspects)):
        scores, median = robust_z(values), float(np.exp(np.median(values)))
        for index in map(int, np.flatnonzero(np.abs(scores) > UNUSUAL)):
            image, box = judged[index]
            width, height = box.size
            what = (
                f"{100 * np.exp(values[index]):.2g} % of the image; the median is {100 * median:.2g} %"
                if name == "unusual-size"
                else f"width / height {np.exp(values[index]):.2f}; the median is {median:.2f}"
            )
            text = f"{width:.4g} x {height:.4g} pixels, {what} (robust z {scores[index]:+.1f}); is it one disc?"
            yield image.finding(name, text, annotation=box.number)


def _unlike_discs(image: ImageRecord, region: str) -> Iterator[Finding]:
    where, most = ("lumbar", MOST_LUMBAR_DISCS) if region == "lumbar" else ("cervical", MOST_DISCS)
    if (number := len(image.judged)) > most:
        text = f"{number} boxes; a {where} slice shows {most} discs at most. Is each of them one disc?"
        yield image.finding("many-boxes", text)
    for box in image.judged:
        if (size := millimetres(image, box)) is None:
            continue
        width, height = size
        if not WIDTH_MM[0] <= width <= WIDTH_MM[1] or not HEIGHT_MM[0] <= height <= HEIGHT_MM[1]:
            text = (
                f"{width:.1f} x {height:.1f} mm; discs are {WIDTH_MM[0]:.0f} to {WIDTH_MM[1]:.0f} mm wide and "
                f"{HEIGHT_MM[0]:.0f} to {HEIGHT_MM[1]:.0f} mm high. Is the spacing right?"
            )
            yield image.finding("unusual-mm", text, annotation=box.number)


def millimetres(image: ImageRecord, box: BoxRecord) -> tuple[float, float] | None:
    """Width and height of a box; None without the image's spacing, which is (between rows, between columns)."""
    if image.spacing is None:
        return None
    between_rows, between_columns = image.spacing
    return box.size[0] * between_columns, box.size[1] * between_rows


def _overlaps(image: ImageRecord) -> Iterator[Finding]:
    boxes = image.judged
    corners = np.array([(*box.corner, *box.size) for box in boxes])
    for place, one in enumerate(boxes[:-1], start=1):
        (shares,) = iou(corners[place - 1 : place], corners[place:], np.zeros(len(boxes) - place))
        for other, share in zip(boxes[place:], shares, strict=True):
            if share > SAME_DISC:
                text = f"overlaps annotation {one.number} with an IoU of {share:.2f}; keep one box for a disc."
                yield image.finding("overlap", text, annotation=other.number)


def _levels(image: ImageRecord) -> Iterator[Finding]:
    seen: dict[int, BoxRecord] = {}
    for box in image.judged:
        if box.level is None:
            continue
        if (index := level_index(box.level)) is None:
            text = "its level is not of the form C5/6 or C7/T1."
            yield image.finding("level-unknown", text, annotation=box.number)
        elif (first := seen.setdefault(index, box)) is not box:
            text = f"it is {DISCS[index]}, and so is annotation {first.number}."
            yield image.finding("level-twice", text, annotation=box.number)
    downward = sorted(seen.items(), key=lambda item: item[1].corner[1] + item[1].size[1] / 2)
    wrong = [(upper, lower) for upper, lower in pairwise(downward) if upper[0] > lower[0]]
    if wrong:
        (above, _), (below, box) = wrong[0]
        every = len(wrong) == len(downward) - 1 and len(downward) > 2
        hint = "is the image upside down?" if every else "are the levels mixed up?"
        text = f"{DISCS[above]} lies above {DISCS[below]}; {hint}"
        yield image.finding("level-order", text, annotation=box.number)


def _notes(split: Split) -> Iterator[Finding]:
    """One line for what is not wrong in itself."""
    crowds = [box for image in split.images for box in image.boxes if box.crowd]
    cut = [box for image in split.images for box in image.judged if _at_border(image, box)]
    where = "at the border of the image: if the picture cuts the discs off, that is right."
    for name, boxes, text in (("crowd", crowds, "with iscrowd: left out of training."), ("at-border", cut, where)):
        if boxes:
            shown = f"{len(boxes)} box{'es' * (len(boxes) > 1)} ({numbers(boxes, 'annotation')})"
            yield Finding(name, f"{shown} {text}", split.name)


def _at_border(image: ImageRecord, box: BoxRecord) -> bool:
    assert image.size is not None, "its boxes were measured"
    (x0, y0, x1, y1), (width, height) = box.corners, image.size
    return min(x0, y0) <= BORDER or x1 >= width - BORDER or y1 >= height - BORDER

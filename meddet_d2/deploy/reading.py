"""What a detector says of one MR slice, with thresholds, millimetres and a picture. No torch and no Detectron2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageDraw

from ..drawing import BACKGROUND, CAPTION, FAINT, Box, draw_legend, draw_panel, font_of
from ..formats import MRSlice
from .found import Detections

RESEARCH_USE = "Research use only. Not a medical device."
# Boxes of two classes that overlap by so much (intersection over union) lie on one object.
SAME_DISC = 0.5
# Pixels: the least length of a picture's longer side unless it is given, and the space around legend and footer.
SMALLEST_PICTURE, MARGIN = 640, 8


class Detector(Protocol):
    """What `read_slice` needs: `Predictor` (onnxruntime) or `TorchPredictor`."""

    # Names, in the order of the class numbers, or of the landmarks.
    classes: tuple[str, ...]
    # What has less is not given.
    least_score: float

    def __call__(self, image: np.ndarray) -> Any:
        """What is found on an image (H, W, 3) uint8 RGB, in its pixels: `Detections`, or `Landmarks` (found.py).

        Raises:
            ValueError: the image cannot be taken.
            FloatingPointError: the network predicts NaN.
        """


@dataclass(frozen=True)
class Finding:
    """One detected disc.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the slice.
        label: the class's name.
        score: in (0, 1). Not a probability unless the detector was calibrated.
        size_mm: width and height of the box in millimetres, None where the pixels' size is not known.
        level: of the disc ("C5/6"), where a landmark network named it; None where it is not known.
    """

    box: tuple[float, float, float, float]
    label: str
    score: float
    size_mm: tuple[float, float] | None
    level: str | None = None


@dataclass(frozen=True)
class Reading:
    """A slice and what was found on it.

    Attributes:
        slice: as it was read.
        findings: from top to bottom by the boxes' centres.
        classes: every class of the detector, found or not.
        remarks: lines on this reading, as those in the slice's warnings.
    """

    slice: MRSlice
    findings: tuple[Finding, ...]
    classes: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def read_slice(
    mr_slice: MRSlice,
    detector: Detector,
    *,
    threshold: float = 0.3,
    class_thresholds: Mapping[str, float] | None = None,
) -> Reading:
    """Find the discs of a slice.

    Args:
        mr_slice: its pixels go to the detector as they are.
        detector: any.
        threshold: findings have at least this score, in [0, 1].
        class_thresholds: instead of it for some classes, by name.

    Raises:
        ValueError: a threshold is out of range or for a class that the detector has not, or the detector refuses the
            image.
        FloatingPointError: the network predicts NaN; no finding would look like a healthy patient.
    """
    limits = thresholds_of(detector.classes, threshold, class_thresholds)
    return reading_of(mr_slice, detector(mr_slice.pixels), limits)


def reading_of(mr_slice: MRSlice, found: Detections, limits: Mapping[str, float]) -> Reading:
    """What was detected on a slice as a reading; ``limits`` are those of `thresholds_of`."""
    classes, findings = tuple(limits), []
    for box, score, index in zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True):
        label, size = classes[index], None
        if score < limits[label]:
            continue
        if mr_slice.spacing is not None:
            between_rows, between_columns = mr_slice.spacing
            size = (box[2] - box[0]) * between_columns, (box[3] - box[1]) * between_rows
        findings.append(Finding(tuple(box), label, score, size))
    findings.sort(key=lambda finding: (finding.box[1] + finding.box[3], finding.box[0], -finding.score))
    return Reading(mr_slice, tuple(findings), classes)


def thresholds_of(
    classes: Sequence[str], threshold: float, class_thresholds: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The score that a finding of each class must have.

    Raises:
        ValueError: a threshold is not in [0, 1], or is for a class that is not in ``classes``.
    """
    given = dict(class_thresholds or {})
    unknown = sorted(given.keys() - set(classes))
    if unknown:
        raise ValueError(f"A threshold for class {unknown[0]!r}, but the detector's are {', '.join(classes)}.")
    limits = {label: given.get(label, threshold) for label in classes}
    for value in (threshold, *limits.values()):
        if not 0.0 <= value <= 1.0:  # NaN as well
            raise ValueError(f"A threshold is {value}; it must be in 0..1, as scores are.")
    return limits


def disc_numbers(findings: Sequence[Finding]) -> list[int]:
    """The disc of each finding, counted from 1 at the top.

    A detector may give both classes on one disc; boxes that overlap by SAME_DISC get one number.

    Args:
        findings: from top to bottom, as in a `Reading`.
    """
    numbers: list[int] = []
    for index, finding in enumerate(findings):
        shared = [numbers[i] for i in range(index) if _overlap(findings[i].box, finding.box) >= SAME_DISC]
        numbers.append(shared[0] if shared else max(numbers, default=0) + 1)
    return numbers


def overlay(reading: Reading, *, size: int | None = None) -> Image.Image:
    """The slice with boxes and scores, a legend above, and a line below that it is for research.

    Args:
        reading: of a slice.
        size: pixels of the slice's longer side in the picture; its own, and at least SMALLEST_PICTURE, if None.
    """
    pixels = reading.slice.pixels
    if size is None:
        size = max(*pixels.shape[:2], SMALLEST_PICTURE)
    boxes = [
        Box(finding.box, reading.classes.index(finding.label), finding.score, finding.level or "")
        for finding in reading.findings
    ]
    panel = draw_panel(pixels, boxes, size)
    return framed(panel, draw_legend(reading.classes, width=max(panel.width, SMALLEST_PICTURE) - 2 * MARGIN))


def framed(panel: Image.Image, legend: Image.Image) -> Image.Image:
    """A picture with its legend above, and a line below that it is for research."""
    font = font_of(12)
    width = max(panel.width, legend.width + MARGIN, round(font.getlength(RESEARCH_USE)) + 2 * MARGIN)
    picture = Image.new("RGB", (width, legend.height + panel.height + CAPTION), BACKGROUND)
    picture.paste(legend, (MARGIN, 0))
    picture.paste(panel, ((width - panel.width) // 2, legend.height))
    bottom = legend.height + panel.height + CAPTION // 2
    ImageDraw.Draw(picture).text((MARGIN, bottom), RESEARCH_USE, fill=FAINT, font=font, anchor="lm")
    return picture


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (areas - width * height)

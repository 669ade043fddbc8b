"""What a data set consists of, in numbers, and how its splits differ."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ...layout.levels import DISCS, level_index
from .annotation_checks import OTHER, BoxRecord, ImageRecord, Split
from .box_checks import millimetres
from .findings import Finding

# The difference of two splits' shares of a class that is remarked: so many percentage points, and so many standard
# errors, which a small split cannot reach by chance.
POINTS, STANDARD_ERRORS = 10.0, 3.0


def count_split(split: Split) -> dict[str, Any]:
    """The counts of one split, ready for json; a patient's id is not in them.

    Returns:
        Counts: "images", "patients", "healthy_images" (no annotation names them), "boxes", "crowds", "unusable_boxes"
        (found to be wrong, and in no other count), "images_with_spacing"; of a landmark set also "landmarks" (labelled
        ones), "missing_landmarks" and, by name, "missing_by_landmark". Counts by value: "classes", "levels",
        "boxes_per_image", "image_sizes". Quantiles (0, 5, 50, 95, 100 %), None of nothing: "spacing_mm",
        "width_pixels", "height_pixels", "width_mm", "height_mm", "aspect".
    """
    pairs = boxes_of(split)
    per_image = Counter(len(image.judged) for image in split.images)
    # By their place in the body; what is no disc's name comes last.
    places = [level_index(box.level) for _, box in pairs if box.level is not None]
    levels = Counter(len(DISCS) if place is None else place for place in places)
    sizes = Counter(image.size for image in split.images if image.size is not None)
    in_mm = np.array([size for image, box in pairs if (size := millimetres(image, box))]).reshape(-1, 2)
    in_pixels = np.array([box.size for _, box in pairs]).reshape(-1, 2)
    return {
        "images": len(split.images),
        "patients": len({image.patient for image in split.images} - {None}),
        "healthy_images": sum(image.annotated == 0 for image in split.images),
        "boxes": len(pairs),
        "crowds": sum(box.crowd for image in split.images for box in image.boxes),
        "unusable_boxes": sum(image.annotated - len(image.boxes) - bool(image.landmarks) for image in split.images),
        "classes": dict.fromkeys(split.classes, 0) | dict(sorted(Counter(box.name for _, box in pairs).items())),
        "levels": {(*DISCS, OTHER)[place]: number for place, number in sorted(levels.items())},
        "boxes_per_image": {str(number): per_image[number] for number in sorted(per_image)},
        "image_sizes": {f"{width} x {height}": count for (width, height), count in sizes.most_common()},
        "images_with_spacing": sum(image.spacing is not None for image in split.images),
        "spacing_mm": quantiles([value for image in split.images for value in image.spacing or ()]),
        "width_pixels": quantiles(in_pixels[:, 0]),
        "height_pixels": quantiles(in_pixels[:, 1]),
        "width_mm": quantiles(in_mm[:, 0]),
        "height_mm": quantiles(in_mm[:, 1]),
        "aspect": quantiles(in_pixels[:, 0] / in_pixels[:, 1]),
        **_count_landmarks(split),
    }


def _count_landmarks(split: Split) -> dict[str, Any]:
    if split.landmarks is None:
        return {}
    names = split.landmarks.names
    seen = np.array([[v > 0 for _, _, v in image.landmarks] for image in split.images if image.landmarks])
    missing = (~seen.reshape(-1, len(names))).sum(axis=0).tolist()
    by_landmark = {name: count for name, count in zip(names, missing, strict=True) if count}
    return {"landmarks": int(seen.sum()), "missing_landmarks": sum(missing), "missing_by_landmark": by_landmark}


def boxes_of(split: Split) -> list[tuple[ImageRecord, BoxRecord]]:
    """A split's boxes with their images, those with iscrowd left out."""
    return [(image, box) for image in split.images for box in image.judged]


def quantiles(values: Sequence[float] | np.ndarray) -> dict[str, float] | None:
    """The 0th, 5th, 50th, 95th and 100th percentiles; None of nothing."""
    if len(values) == 0:
        return None
    names = ("least", "p5", "median", "p95", "greatest")
    return dict(zip(names, np.percentile(values, (0, 5, 50, 95, 100)).round(4).tolist(), strict=True))


def compare_splits(splits: Sequence[Split]) -> list[Finding]:
    """Classes that a split lacks, and shares of a class that differ much."""
    findings, known = [], []
    for split in splits:
        found = [box.name for _, box in boxes_of(split) if box.label is not None]
        if found:
            known.append((split, found))
            absent = [name for name in split.classes if name not in found]
            findings += [Finding("class-absent", f"it has no box of class {name}.", split.name) for name in absent]
    for (one, here), (other, there) in combinations(known, 2):
        classes = one.classes if one.classes == other.classes else ()
        # Of two classes the first says it all.
        for name in classes[: 1 if len(classes) == 2 else None]:
            share, other_share = here.count(name) / len(here), there.count(name) / len(there)
            pooled = (here.count(name) + there.count(name)) / (len(here) + len(there))
            error = (pooled * (1 - pooled) * (1 / len(here) + 1 / len(there))) ** 0.5
            difference = abs(share - other_share)
            if 100 * difference >= POINTS and difference > STANDARD_ERRORS * error:
                text = (
                    f"{100 * other_share:.0f} % of its boxes are of class {name}, and {100 * share:.0f} % of those of "
                    f"{one.name}; split by patient and stratified by class."
                )
                findings.append(Finding("class-balance", text, other.name))
    return findings

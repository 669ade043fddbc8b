"""Images that are there twice: by their bytes, by their pixels, and by their look.

The look is `facts.signature`. Two signatures' product is the correlation of the detail in two images. Measured on 109
lumbar slices (SPIDER) and 380 of the phantom: at most 0.83 between different patients, at least 0.97 between an image
and its copy as JPEG, at half its size, with noise, with another contrast or gamma. Slices of one patient reach 0.92
(SPIDER) and 0.97 (phantom), so they are not compared.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from .annotation_checks import ImageRecord
from .findings import Finding
from .image_facts import ImageFacts

NEARLY_THE_SAME = 0.95
# Signatures compared at a time: the products of a block against 50,000 images take 100 MB.
BLOCK = 512


def find_duplicates(measured: Sequence[tuple[ImageRecord, ImageFacts]]) -> list[Finding]:
    """Every image that another one before it repeats, once, in its worst sense."""
    findings, identical = [], set()
    groups: dict[str, list[int]] = {}
    for index, (_, facts) in enumerate(measured):
        groups.setdefault(facts.pixels, []).append(index)
    for group in groups.values():
        for place, index in enumerate(group[1:], start=1):
            identical.add(index)
            findings.append(_identical(measured, group[:place], index))
    return findings + list(_near(measured, identical))


def _identical(measured: Sequence[tuple[ImageRecord, ImageFacts]], earlier: Sequence[int], index: int) -> Finding:
    image, facts = measured[index]
    elsewhere = [other for other in earlier if measured[other][0].split != image.split]
    partner, partner_facts = measured[(elsewhere or earlier)[0]]
    same_file = partner_facts.file == facts.file
    what = "the same file as" if same_file else "another file with the same pixels as"
    text = f"{what} image {partner.number} of {partner.split}; keep one."
    name = "same-image" if elsewhere else "same-file" if same_file else "same-pixels"
    return image.finding(name, text)


def _near(measured: Sequence[tuple[ImageRecord, ImageFacts]], identical: set[int]) -> Iterator[Finding]:
    """For each image the earlier one most like it, where it is of another patient."""
    kept = [index for index in range(len(measured)) if index not in identical]
    if not kept:
        return
    signatures = np.stack([measured[index][1].signature for index in kept])
    # A number for each patient; images without one count as patients of their own.
    known: dict[str | int, int] = {}
    patients = [measured[index][0].patient for index in kept]
    patient = np.array([known.setdefault(i if name is None else name, len(known)) for i, name in enumerate(patients)])
    for start in range(0, len(kept), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(kept)))
        likeness = signatures[rows] @ signatures[: rows[-1] + 1].T
        columns = np.arange(rows[-1] + 1)
        likeness[(columns >= rows[:, None]) | (patient[columns] == patient[rows, None])] = 0
        best = likeness.argmax(axis=1)
        for row, other, value in zip(rows, best, likeness.max(axis=1), strict=True):
            if value > NEARLY_THE_SAME:
                image, partner = measured[kept[row]][0], measured[kept[other]][0]
                text = (
                    f"looks like image {partner.number} of {partner.split}, which has another patient_id (correlation "
                    f"{value:.3f}); are they of one patient?"
                )
                yield image.finding("near-duplicate", text)

"""Images that are there twice: by their bytes, by their pixels, and by their look.

The look is `facts.signature`. Two signatures' product is the correlation of the detail in two images. Measured on 109
lumbar slices (SPIDER) and 380 of the phantom: at most 0.83 between different patients, at least 0.97 between an image
and its copy as JPEG, at half its size, with noise, with another contrast or gamma. Slices of one patient reach 0.92
(SPIDER) and 0.97 (phantom), so they are not compared.
"""

from collections import defaultdict
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
    groups: dict[str, list[tuple[ImageRecord, ImageFacts]]] = defaultdict(list)
    for image, facts in measured:
        groups[facts.pixels].append((image, facts))
    repeated = [(group[place], group[:place]) for group in groups.values() for place in range(1, len(group))]
    findings = [_identical(image, facts, earlier) for (image, facts), earlier in repeated]
    return findings + list(_near([group[0] for group in groups.values()]))


def _identical(image: ImageRecord, facts: ImageFacts, earlier: Sequence[tuple[ImageRecord, ImageFacts]]) -> Finding:
    elsewhere = [other for other in earlier if other[0].split != image.split]
    partner, partner_facts = (elsewhere or earlier)[0]
    same_file = partner_facts.file == facts.file
    what = "the same file as" if same_file else "another file with the same pixels as"
    name = "same-image" if elsewhere else "same-file" if same_file else "same-pixels"
    return image.finding(name, f"{what} image {partner.number} of {partner.split}; keep one.")


def _near(measured: Sequence[tuple[ImageRecord, ImageFacts]]) -> Iterator[Finding]:
    """For each image the earlier one most like it, where it is of another patient."""
    signatures = np.array([facts.signature for _, facts in measured])
    # A number for each patient; each image without one counts as another patient.
    known: dict[str | int, int] = {}
    owners = (place if image.patient is None else image.patient for place, (image, _) in enumerate(measured))
    patient = np.array([known.setdefault(owner, len(known)) for owner in owners])
    for start in range(0, len(measured), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(measured)))
        columns = np.arange(rows[-1] + 1)
        likeness = signatures[rows] @ signatures[columns].T
        likeness[(columns >= rows[:, None]) | (patient[columns] == patient[rows, None])] = 0
        for row, other, value in zip(rows.tolist(), likeness.argmax(axis=1), likeness.max(axis=1), strict=True):
            if value > NEARLY_THE_SAME:
                partner = measured[other][0]
                text = (
                    f"looks like image {partner.number} of {partner.split}, which has another patient_id (correlation "
                    f"{value:.3f}); are they of one patient?"
                )
                yield measured[row][0].finding("near-duplicate", text)

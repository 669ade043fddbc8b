"""Images that cannot teach: of another size than their record, saturated, empty, flat, painted on."""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from ...files import walk
from ...formats.windowing import WINDOW_PERCENTILES
from .annotation_checks import ImageRecord, Split, numbers
from .findings import Finding
from .image_facts import ImageFacts

# Shares of the pixels at the highest value. Windows cut off a few percent of 8-bit images; a file of more bits has
# room for all, so that one percent at one value means that it was cut off before.
SATURATED, SATURATED_DEEP, NARROW_WINDOW = 0.10, 0.01, 0.02
# Grey levels of 256: the least range of the middle 98 % of the pixels.
LEAST_CONTRAST = 40
# Shares of the pixels: an image of one value nearly everywhere, and coloured pixels that are no accident.
EMPTY, COLOURED_SHARE = 0.97, 0.0002


def check_image(image: ImageRecord, facts: ImageFacts) -> Iterator[Finding]:
    """What is wrong with one image that could be read."""
    if image.size is not None and facts.size != image.size:
        text = (
            f"it is {facts.size[0]} x {facts.size[1]} pixels, and its record says {image.size[0]} x {image.size[1]}; "
            "correct the record's width and height and its boxes."
        )
        yield image.finding("other-size", text)
    if facts.background >= EMPTY:
        text = f"{100 * facts.background:.3g} % of its pixels have one value; was something else meant?"
        yield image.finding("empty", text)
        return
    if facts.top_share > (SATURATED if facts.window is None else SATURATED_DEEP):
        text = (
            f"{100 * facts.top_share:.1f} % of its pixels are at its highest value, {facts.top:g}; "
            "export it again with a wider window."
        )
        yield image.finding("saturated", text)
    if facts.contrast < LEAST_CONTRAST:
        text = f"98 % of its pixels lie within {facts.contrast:.0f} of 256 grey levels; export it with its own window."
        yield image.finding("low-contrast", text)
    if facts.coloured > COLOURED_SHARE:
        text = f"{100 * facts.coloured:.2g} % of its pixels are coloured; export it without drawings and letters."
        yield image.finding("colour", text)


def check_splits(splits: Sequence[Split], measured: Sequence[tuple[ImageRecord, ImageFacts]]) -> Iterator[Finding]:
    """What is said once for a split instead of once for an image."""
    for split in splits:
        inside = [(image, facts) for image, facts in measured if image.split == split.name]
        shares = [facts.top_share for _, facts in inside if facts.window is None]
        if shares and np.median(shares) > NARROW_WINDOW:
            text = (
                f"in half of its images more than {100 * np.median(shares):.1f} % of the pixels are at the highest "
                "value; if the scanner's files are there, export them again with a wider window."
            )
            yield Finding("narrow-window", text, split.name)
        deep = [(image, facts) for image, facts in inside if facts.window is not None]
        if deep:
            low, high = np.median([facts.window for _, facts in deep], axis=0)
            below, above = WINDOW_PERCENTILES
            text = (
                f"{len(deep)} of more than 8 bits ({numbers([image for image, _ in deep])}), windowed to 8 when read. "
                f"The medians of their {below}th and {above}th percentiles are {low:.5g} and {high:.5g}."
            )
            yield Finding("more-bits", text, split.name)
        with_spacing = sum(image.spacing is not None for image in split.images)
        if 0 < with_spacing < len(split.images):
            text = f"{len(split.images) - with_spacing} of {len(split.images)} images have no spacing."
            yield Finding("some-spacing", text, split.name)


def find_unlisted(splits: Sequence[Split]) -> Iterator[Finding]:
    """Files that no split lists, by their number alone: there may be thousands."""
    for root in dict.fromkeys(split.image_root for split in splits):
        here = [split for split in splits if split.image_root == root]
        listed = {os.path.normpath(image.file) for split in here for image in split.images}
        unlisted = sum(not reason and os.path.relpath(path, root) not in listed for path, reason in walk(root))
        if unlisted:
            what = f"file{'s' * (unlisted > 1)} in the folder of images {'are' if unlisted > 1 else 'is'}"
            text = f"{unlisted} {what} listed by none of the splits that were checked."
            yield Finding("unlisted", text, here[0].name)

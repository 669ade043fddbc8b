"""All checks of a data set, one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...layout.validate import PATIENT_KEY
from .annotation_checks import ImageRecord, Split, read_splits
from .box_checks import check_boxes
from .data_statistics import compare_splits, count_split
from .duplicates import find_duplicates
from .findings import Finding, count, in_order
from .image_checks import check_image, check_splits, find_unlisted
from .image_facts import measure_all


@dataclass(frozen=True)
class Report:
    """What a check has found.

    Attributes:
        splits: those whose json could be read.
        findings: errors first.
        readable: the images whose file was read.
        counts: by the split's name, as `data_statistics.count_split` gives them.
    """

    splits: list[Split]
    findings: list[Finding]
    readable: list[ImageRecord]
    counts: dict[str, dict[str, Any]]

    @property
    def classes(self) -> list[str]:
        """The classes that are counted in any split."""
        return list(dict.fromkeys(name for counts in self.counts.values() for name in counts["classes"]))

    def failed(self, *, strict: bool) -> bool:
        """Whether there is an error; with ``strict``, an error or a warning."""
        counts = count(self.findings)
        return counts["error"] > 0 or (strict and counts["warning"] > 0)


def check_data(
    sources: Sequence[tuple[Path, Path]], *, patient_key: str = PATIENT_KEY, progress: bool = True
) -> Report:
    """Check splits, which are taken for splits of one data set.

    Args:
        sources: for each its json and the folder of its images.
        patient_key: the key of an image record that names its patient; "" where patients are not known.
        progress: show a bar over the images.

    Returns:
        The report. Nothing in the data raises: it is found.
    """
    splits, findings = read_splits(sources, patient_key)
    measured = []
    for image, facts in measure_all([image for split in splits for image in split.images], progress=progress):
        if isinstance(facts, str):
            findings.append(image.finding("unreadable", facts))
        else:
            findings += check_image(image, facts)
            measured.append((image, facts))
    findings += [*check_splits(splits, measured), *find_unlisted(splits), *find_duplicates(measured)]
    findings += [*check_boxes(splits), *compare_splits(splits)]
    counts = {split.name: count_split(split) for split in splits}
    return Report(splits, in_order(findings), [image for image, _ in measured], counts)

"""What a preparation leaves out or changes: all of it counted, and named on the terminal.

Names may hold patients' data, so they go to the terminal alone; files get the counts.
"""

from collections import defaultdict
from collections.abc import Iterator

# Left out, although nobody asked for it: --strict makes an error of these.
PROBLEMS = {
    "unreadable_annotations": "annotation files that cannot be read",
    "unusable_annotations": "images left out, because their annotation cannot be used",
    "missing_images": "annotations of images that are not there",
    "ambiguous_images": "annotations or rows that fit several images",
    "several_annotations": "images left out, because they have several annotations",
    "unannotated_images": "images left out, because nothing annotates them",
    "unreadable_images": "images that cannot be read",
    "constant_images": "images left out, because all their pixels are the same",
    "other_size": "images left out, because their annotation is of another size",
    "degenerate_boxes": "images left out, because a box lies outside or is narrower than a pixel",
    "unknown_images_in_table": "rows of the table whose image is not there",
    "no_patient": "images left out, because nothing says whose they are",
    "several_patients": "images left out, because they have several patients",
    "joined_patients": "patients joined, because they share a DICOM patient or an image",
    "no_split": "images left out, because their patient has no split, or several",
    "unknown_test_patients": "patients of the list for the test that have no image",
    "outside_landmarks": "landmarks outside their image, which are not labelled then",
    "duplicates": "copies of an image left out",
    "contradicting_duplicates": "copies of an image left out, because their boxes differ",
    "volumes_without_mask": "volumes left out, because they have no mask",
    "unusable_volumes": "volumes left out, because they or their mask cannot be used",
    "ungraded_patients": "patients left out, because the gradings do not name them",
    "ungraded_discs": "discs left out, because they have no grade",
    "unusable_grades": "rows of the gradings that cannot be used",
}
# Changed or worth a look, and no mistake.
NOTES = {
    "remarks": "remarks about images",
    "clipped_boxes": "boxes cut at the border of their image",
    "ignored_labels": "shapes left out by --ignore-label",
    "joined_labels": "classes that several spellings of a label make",
    "unannotated_kept": "images that nothing annotates, kept as healthy",
    "unlabelled_landmarks": "landmarks that their source does not have",
    "other_files": "files and folders that are neither images nor annotations",
    "left_out_grades": "gradings left out, because they are blank, no whole number or two of one disc",
    "cut_discs": "discs left out, because the slice or the border shows too little of them",
    "uncertain_levels": "patients whose discs get no level, because their numbering is unusual",
    "unknown_names": "files whose names are not SPIDER's",
    "classless_splits": "splits without a box of one of the classes",
    "not_split_by_class": "splits that could not be stratified",
}
SHOWN = 20


class Findings:
    """Collects what was found, by one of the kinds of PROBLEMS and NOTES."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, name: str) -> None:
        """Record one finding. ``name`` is for the terminal only."""
        if kind not in PROBLEMS and kind not in NOTES:
            raise KeyError(kind)
        self._names[kind].append(" ".join(name.split()))

    @property
    def problems(self) -> int:
        """How many findings --strict does not accept."""
        return sum(len(names) for kind, names in self._names.items() if kind in PROBLEMS)

    def counts(self) -> dict[str, int]:
        """The number of findings of each kind that occurred, without a name."""
        return {kind: len(self._names[kind]) for kind in (*PROBLEMS, *NOTES) if self._names.get(kind)}

    def lines(self, *, verbose: bool) -> Iterator[str]:
        """Lines for the terminal: each kind with its number and, below it, names (SHOWN of them unless verbose)."""
        for kind, count in self.counts().items():
            yield f"{count} {ALL[kind]}:"
            names = self._names[kind] if verbose else self._names[kind][:SHOWN]
            yield from (f"  {name}" for name in names)
            if len(names) < count:
                yield f"  ... and {count - len(names)} more (--verbose names them)"


ALL = {**PROBLEMS, **NOTES}

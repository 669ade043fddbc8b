"""What a check of a data set can say: every finding has a fixed code. docs/how_to/check_data.md lists its remedy.

E: an error, training refuses it or its figures would be wrong. W: a warning, probably wrong, to be looked at. N: a
note, which is right for some data sets and says what is done with it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

# Characters of a finding's text; what a json holds can be of any length.
LONGEST_TEXT = 400

SEVERITIES = {"E": "error", "W": "warning", "N": "note"}


class Code(NamedTuple):
    """A code (E101), its name in words, and what it means. The names of E1xx are the kinds of layout/validate.py
    and layout/landmark_checks.py."""

    code: str
    name: str
    meaning: str

    @property
    def severity(self) -> str:
        return SEVERITIES[self.code[0]]


# By their names; errors first.
CODES = {
    name: Code(code, name, meaning)
    for code, name, meaning in (
        ("E101", "json-missing", "The json of a split is not there."),
        ("E102", "json-broken", "The file is no json, or lacks one of COCO's three lists."),
        ("E103", "categories", "The categories have no ids or names that can be used, or differ between splits."),
        ("E104", "no-images", "The split lists no image."),
        ("E105", "folder-missing", "The folder of images is not there."),
        ("E111", "image-id", "An image has no id, or one that another image has."),
        ("E112", "file-name", "An image has no file name."),
        ("E113", "file-twice", "A file is listed twice in one split."),
        ("E114", "outside-folder", "A file name leads out of the folder of images. The file is never opened."),
        ("E115", "image-size", "An image's record has no width or no height."),
        ("E116", "no-patient", "An image has no patient_id, so that its split cannot be checked."),
        ("E117", "file-missing", "An image's file is not there."),
        ("E121", "leak", "A patient is in two splits: every test figure would be too good."),
        ("E131", "annotation-id", "An annotation has no id, or one that another annotation has."),
        ("E132", "no-such-image", "An annotation is of an image that is not listed."),
        ("E133", "category-unknown", "An annotation's category is not listed."),
        ("E134", "box-malformed", "A bbox is not four finite numbers."),
        ("E135", "box-empty", "A box has no area, or is in fractions of the image."),
        ("E136", "box-outside", "A box reaches out of its image."),
        ("E137", "annotation-key", "An annotation has no number for area or iscrowd."),
        ("E138", "ignore", "An annotation has 'ignore' set, which the engine does not know."),
        ("E139", "polygon", "A segmentation has no polygon of three points."),
        ("E141", "landmark-names", "The names of a landmark set cannot be used, or differ between splits."),
        ("E142", "landmarks", "An image's landmarks are not x, y, v for each name, or none of them is labelled."),
        ("E143", "landmark-outside", "A labelled landmark lies outside its image."),
        ("E144", "landmark-count", "An image of a landmark set has no annotation, or several."),
        (
            "E145",
            "landmark-spacing",
            "Some images of a landmark set have a spacing and others none, one is no size, or two differ tenfold.",
        ),
        ("E146", "structures", "The structures of a landmark set are not polygons for each of their names."),
        ("E201", "unreadable", "The file cannot be read as an image."),
        ("E202", "other-size", "The image has another size than its record says: its boxes lie elsewhere."),
        ("E211", "same-image", "The same pixels are in two splits."),
        ("W211", "same-file", "Two images of one split are the same file."),
        ("W212", "same-pixels", "Two images of one split have the same pixels in different files."),
        ("W213", "near-duplicate", "Two images of different patients are nearly the same."),
        ("W221", "saturated", "Much of the image lies at its highest value: what was brighter is lost."),
        ("W222", "narrow-window", "Half of a split's images have lost their brightest parts to a narrow window."),
        ("W223", "empty", "The image has one value nearly everywhere."),
        ("W224", "low-contrast", "The image uses few of its grey levels."),
        ("W225", "colour", "The image has coloured pixels, which no scanner makes: drawings or letters lie on it."),
        ("W301", "unusual-size", "A box is much larger or smaller than this data set's others."),
        ("W302", "unusual-aspect", "A box is much wider or narrower for its height than this data set's others."),
        ("W303", "unusual-mm", "A box has a width or height in millimetres that no disc of the spine has."),
        ("W304", "overlap", "Two boxes cover the same disc."),
        ("W305", "many-boxes", "An image has more boxes than a slice shows discs."),
        ("W306", "level-order", "A level lies above one that is above it in the body."),
        ("W307", "level-twice", "An image has two boxes of one level."),
        ("W308", "level-unknown", "A level is not of the form C5/6."),
        ("W309", "spacing", "A spacing is not two sizes of a pixel in millimetres."),
        ("W401", "class-balance", "The share of a class differs much between two splits."),
        ("W402", "class-absent", "A class has no box in a split, so that no figure can be given for it."),
        ("N501", "more-bits", "Images of more than 8 bits; each is windowed to 8 when it is read."),
        ("N502", "at-border", "Boxes touch the border of their image: discs that the picture cuts off."),
        ("N503", "crowd", "Boxes with iscrowd are left out of training."),
        ("N504", "unlisted", "Files lie in the folder of images that no split lists."),
        ("N505", "some-spacing", "Some images have a spacing and others have none."),
    )
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        name: a key of CODES.
        text: one line. It holds numbers and fixed words only, unless ``quotes``.
        split: the split's name; None where it is of none.
        image: the image's id in the json.
        annotation: the annotation's id in the json.
        file: the image's file name in the json; it stands on the terminal and in findings.json, never on the page.
        quotes: the text repeats what stands in the user's files; it is not put on the page.
    """

    name: str
    text: str
    split: str | None = None
    image: int | None = None
    annotation: int | None = None
    file: str | None = None
    quotes: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", printable(self.text))
        if self.file is not None:
            object.__setattr__(self, "file", printable(self.file))

    @property
    def code(self) -> Code:
        return CODES[self.name]

    def line(self) -> str:
        """As it stands on the terminal."""
        parts = [self.code.code, self.name, *filter(None, [self.split])]
        # A text with names says of what it speaks.
        if not self.quotes:
            parts += [f"image {self.image}"] * (self.image is not None)
            parts += [f"({self.file})"] * (self.file is not None)
            parts += [f"annotation {self.annotation}"] * (self.annotation is not None)
        return f"{' '.join(parts)}: {self.text}"

    def record(self) -> dict[str, Any]:
        """As it stands in findings.json."""
        return {
            "code": self.code.code,
            "name": self.name,
            "severity": self.code.severity,
            "split": self.split,
            "image_id": self.image,
            "annotation_id": self.annotation,
            "file_name": self.file,
            "text": self.text,
        }


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; by their codes, and otherwise as they came."""
    return sorted(findings, key=lambda finding: list(CODES).index(finding.name))


def count(findings: Iterable[Finding]) -> dict[str, int]:
    """How many errors, warnings and notes."""
    counts = Counter(finding.code.severity for finding in findings)
    return {severity: counts[severity] for severity in SEVERITIES.values()}


def printable(text: str) -> str:
    """On one line, of bounded length, and without what would steer a terminal or fail to be encoded."""
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 3] + "..."

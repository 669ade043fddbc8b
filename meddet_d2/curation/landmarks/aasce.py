"""The spine X-rays of AASCE 2019 (SpineWeb data set 16), seen from the front, with the corners of 17 vertebrae.

What is relied on: Wu et al., MICCAI 2017 (BoostNet), and the release, boostnet_labeldata/: data/training and data/test
with pictures, labels/training and labels/test with filenames.csv, a name a line, and landmarks.csv, a row for each of
these in their order: x of 68 points, then y of the 68, as fractions of width and height. A vertebra's four are top
left, top right, bottom left and bottom right of the picture; the first is T1, the last L5. There is no spacing.

The files do not say whose an image is. Each counts as a patient, and the release's split is followed. Names of its
files hold dates, so that images are named by their row.
"""

from pathlib import Path

from ...layout.landmarks import LandmarkNames
from ..preparation.omissions import Findings
from .point_images import PointImage, PointSet, numbers, text_rows

VERTEBRAE = (*(f"T{number}" for number in range(1, 13)), *(f"L{number}" for number in range(1, 6)))
CORNERS = ("top left", "top right", "bottom left", "bottom right")
NAMES = tuple(f"{vertebra} {corner}" for vertebra in VERTEBRAE for corner in CORNERS)
SPINE = LandmarkNames(
    "spine",
    NAMES,
    tuple(
        (f"{vertebra} {CORNERS[one]}", f"{vertebra} {CORNERS[other]}")
        for vertebra in VERTEBRAE
        for one, other in ((0, 1), (1, 3), (3, 2), (2, 0))
    ),
    tuple((f"{vertebra} {end} left", f"{vertebra} {end} right") for vertebra in VERTEBRAE for end in ("top", "bottom")),
)
SPLITS = {"training": "train", "test": "test"}


def read_aasce(folder: Path, findings: Findings) -> PointSet:
    """The X-rays of labels/training and labels/test, as far as they are there.

    Raises:
        FileNotFoundError: no labels/, or no image of them.
        ValueError: the two tables do not fit, or a row has another number of columns. One line.
    """
    found = []
    for part, split in SPLITS.items():
        labels = folder / "labels" / part
        if labels.is_dir():
            found += _read_part(labels, folder / "data" / part, split, findings)
    if not found:
        raise FileNotFoundError(f"{folder}: no labels/training or labels/test, or no image of data/ that they name.")
    return PointSet(SPINE, found, "AASCE 2019 spine X-rays (SpineWeb 16), corners of T1 to L5; each image a patient")


def _read_part(labels: Path, images: Path, split: str, findings: Findings) -> list[PointImage]:
    names = [(number, line.strip().strip('"')) for number, line in text_rows(labels / "filenames.csv")]
    table = labels / "landmarks.csv"
    rows = text_rows(table)
    if len(names) != len(rows):
        raise ValueError(f"{table}: {len(rows)} rows, but filenames.csv beside it names {len(names)} images.")
    found, seen = list[PointImage](), dict[str, int]()
    for (number, name), (row, line) in zip(names, rows, strict=True):
        if (before := seen.setdefault(name, number)) != number:
            raise ValueError(f"{labels / 'filenames.csv'}, row {number}: {name} is there already, in row {before}.")
        cells = line.split(",")
        if len(cells) != 2 * len(NAMES):
            text = f"{len(cells)} columns; x and y of {len(NAMES)} points need {2 * len(NAMES)}."
            raise ValueError(f"{table}, row {row}: {text}")
        values = numbers(cells, f"{table}, row {row}").reshape(2, -1).T
        path = images / Path(name).name
        if not path.is_file():
            findings.add("missing_images", f"{table}, row {row}: {path}")
            continue
        points = [(float(x), float(y)) for x, y in values]
        found.append(PointImage(path, f"aasce_{labels.name}_{number:04d}", points, fractions=True, split=split))
    return found

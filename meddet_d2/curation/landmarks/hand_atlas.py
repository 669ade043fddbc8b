"""The Digital Hand Atlas with 37 landmarks, by Payer's table.

What is relied on: the radiographs (Digital Hand Atlas, USC) as pictures whose names are their ids, and the table of
Payer et al., Medical Image Analysis 54 (2019), doi 10.1016/j.media.2019.03.007: all.csv, without a heading, an id and
x, y of 37 points in whole pixels of the radiographs. A subject has one radiograph.

The set has no spacing. Its authors define the wrist as 50 mm wide, between the landmarks 1 and 5 counted from 0. Others
take 0 and 4, which makes errors in millimetres about 8 % smaller.
"""

from pathlib import Path

import numpy as np

from ...layout.landmarks import LandmarkNames
from ..preparation.omissions import Findings
from .point_images import MIDDLE, PointImage, PointSet, images_by_stem, joined, point_rows

POINTS, WRIST_MM = 37, 50.0
WRISTS = {"1-5": (1, 5), "0-4": (0, 4)}
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
# Counted from 0, as in the literature. A mirrored hand is the other hand; its landmarks keep their names.
HAND = LandmarkNames("hand", tuple(f"hand {number:02d}" for number in range(POINTS)), flip_pairs=())


def read_hand_atlas(folder: Path, findings: Findings, *, table: Path | None = None, wrist: str = "1-5") -> PointSet:
    """The radiographs below a folder that the table has points of.

    Args:
        table: Payer's; all.csv in the folder if None.
        wrist: one of WRISTS.

    Raises:
        FileNotFoundError, ValueError: as of any table and any folder; a wrist without width. One line.
    """
    table = table or folder / "all.csv"
    rows, images = point_rows(table, POINTS), images_by_stem(folder, SUFFIXES, findings)
    one, other = WRISTS[wrist]
    found = []
    for identity in joined(rows, images, table, findings):
        points = rows[identity] + MIDDLE
        width = float(np.linalg.norm(points[one] - points[other]))
        if width == 0:
            raise ValueError(f"{table}, id {identity}: landmarks {one} and {other} are one point, so no mm are known.")
        spacing = WRIST_MM / width
        points_of = [(float(x), float(y)) for x, y in points]
        found.append(PointImage(images[identity], f"hand_{identity}", points_of, spacing=(spacing, spacing)))
    made = f"Digital Hand Atlas, 37 landmarks of Payer et al. 2019; mm by a wrist of {WRIST_MM:g} mm from {wrist}"
    return PointSet(HAND, found, made)

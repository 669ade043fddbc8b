"""The 400 cephalograms of the ISBI 2015 challenge with 19 landmarks by two doctors.

What is relied on: Wang et al., Medical Image Analysis 31 (2016), doi 10.1016/j.media.2016.02.004, and Lindner et al.,
Scientific Reports 6 (2016), doi 10.1038/srep33581. RawImage/ has TrainingData, Test1Data and Test2Data with 001.bmp and
so on, a patient each, of 0.1 mm a pixel. Points are in one of two forms:

- AnnotationsByMD/400_junior/001.txt and 400_senior/: 19 lines "x,y" in whole pixels, then classes, which are left out;
- all_junior.csv and all_senior.csv, without a heading: an id and x, y of 19 points in millimetres (Payer's).

The challenge's own points are the senior doctor's but for landmark 16 of Test2, which was annotated by another rule.
"""

from pathlib import Path

import numpy as np

from ...layout.landmarks import LandmarkNames
from ..preparation.image_index import files_below
from ..preparation.omissions import Findings
from .point_images import MIDDLE, PointImage, PointSet, images_by_stem, joined, numbers, point_rows, text_rows

SPACING_MM = 0.1
DOCTORS = ("mean", "junior", "senior")
NAMES = (
    "sella",
    "nasion",
    "orbitale",
    "porion",
    "subspinale",
    "supramentale",
    "pogonion",
    "menton",
    "gnathion",
    "gonion",
    "lower incisor",
    "upper incisor",
    "upper lip",
    "lower lip",
    "subnasale",
    "soft tissue pogonion",
    "posterior nasal spine",
    "anterior nasal spine",
    "articulare",
)
# All lie in or are projected on the middle plane: a mirrored head faces the other way and keeps its names.
SKULL = LandmarkNames("skull", NAMES, flip_pairs=())
SPLITS = {"TrainingData": "train", "Test1Data": "test", "Test2Data": "test"}


def read_cephalograms(folder: Path, findings: Findings, *, doctor: str = "mean") -> PointSet:
    """The cephalograms below a folder that the chosen doctor, or both, have annotated.

    Args:
        doctor: one of DOCTORS; "mean" is the middle of both doctors' points.

    Raises:
        FileNotFoundError, ValueError: no points, as of any table and any folder; an image that one doctor has and the
            other has not. One line.
    """
    images = images_by_stem(folder, (".bmp", ".png", ".jpg", ".jpeg", ".tif"), findings)
    sources = [_read_doctor(folder, one, findings) for one in (DOCTORS[1:] if doctor == "mean" else (doctor,))]
    (place, rows), *others = sources
    for other_place, other in others:
        for identity in sorted(rows.keys() ^ other.keys()):
            has, lacks = (place, other_place) if identity in rows else (other_place, place)
            raise ValueError(f"{lacks}: has no points of {identity}, but {has} has; take --doctor junior or senior.")
    found = []
    for identity in joined(rows, images, place, findings):
        points = np.mean([of[identity] for _, of in sources], axis=0) + MIDDLE
        parts = images[identity].relative_to(folder).parts
        split = next((SPLITS[part] for part in parts if part in SPLITS), "")
        points_of = [(float(x), float(y)) for x, y in points]
        name = f"ceph_{identity}"
        found.append(PointImage(images[identity], name, points_of, spacing=(SPACING_MM, SPACING_MM), split=split))
    return PointSet(SKULL, found, f"ISBI 2015 cephalograms, 19 landmarks ({doctor})")


def _read_doctor(folder: Path, doctor: str, findings: Findings) -> tuple[Path, dict[str, np.ndarray]]:
    """Where a doctor's points stand, and the points (19, 2) in pixels by the images' ids."""
    paths = files_below(folder, findings)
    tables = [path for path in paths if path.name == f"all_{doctor}.csv"]
    if tables:
        rows = point_rows(tables[0], len(NAMES))
        return tables[0], {identity: points / SPACING_MM for identity, points in rows.items()}
    texts = [path for path in paths if path.parent.name == f"400_{doctor}" and path.suffix == ".txt"]
    if not texts:
        raise FileNotFoundError(f"{folder}: neither all_{doctor}.csv nor 400_{doctor}/ with texts in it or below.")
    return texts[0].parent, {path.stem: _read_text(path) for path in texts}


def _read_text(path: Path) -> np.ndarray:
    rows = text_rows(path)[: len(NAMES)]
    cells = [line.split(",") for _, line in rows]
    if len(rows) < len(NAMES) or any(len(row) != 2 for row in cells):
        raise ValueError(f"{path}: its first {len(NAMES)} lines are not x,y of a landmark each.")
    return numbers([cell for row in cells for cell in row], str(path)).reshape(-1, 2)

"""The cervical spine X-ray atlas CSXA: lateral X-rays with 23 points of C2 to C7.

What is relied on: Ran et al., Scientific Data 11 (2024), doi 10.1038/s41597-024-03383-0, and the authors' program. Each
image is a picture and a LabelMe json of the same name. A shape has a "label", one of 23 names, and one point. Left is
the front of a body, right its back (layout/csxa_names.py).

The pixel's size differs from image to image and stands in a table of the release. It is given as one, with the columns
image and mm, or as one number for all.
"""

from pathlib import Path
from typing import Any

from ...files import read_json_object
from ...layout.csxa_names import CSXA_NAMES, CSXA_SKELETON
from ...layout.landmarks import LandmarkNames
from ..preparation.annotation import image_size, number, table_of
from ..preparation.omissions import Findings
from ..preparation.table import read_rows
from .point_images import PointImage, PointSet, images_by_stem

# A mirrored neck faces the other way; the front stays the front.
NECK = LandmarkNames("spine", CSXA_NAMES, CSXA_SKELETON, ())


def read_csxa(folder: Path, findings: Findings, *, pixel_size: str | None = None) -> PointSet:
    """The X-rays below a folder with their jsons, which may lie in another folder below it.

    Args:
        pixel_size: millimetres, or a csv with the columns image and mm; None: not known, so figures are in pixels.

    Raises:
        FileNotFoundError, ValueError: as of any folder and table; a json that is of another image, has a label that
            is none or one twice; an image that the table of pixel sizes lacks. One line.
    """
    images = images_by_stem(folder, (".png", ".jpg", ".jpeg", ".bmp"), findings)
    jsons = images_by_stem(folder, (".json",), findings)
    sizes = _pixel_sizes(pixel_size)
    for stem in sorted(jsons.keys() - images.keys()):
        findings.add("missing_images", str(jsons[stem]))
    for stem in sorted(images.keys() - jsons.keys()):
        findings.add("unannotated_images", str(images[stem]))
    found = []
    for index, stem in enumerate(sorted(jsons.keys() & images.keys()), start=1):
        points, size = _read_points(jsons[stem], images[stem])
        mm = sizes.get(stem) if isinstance(sizes, dict) else sizes
        if isinstance(sizes, dict) and mm is None:
            raise ValueError(f"{pixel_size}: has no pixel size of {images[stem]}; add its row.")
        # Names of files may say more than a number.
        name = f"csxa_{stem}" if stem.isascii() and stem.isdecimal() else f"csxa_image_{index:04d}"
        spacing = None if mm is None else (mm, mm)
        found.append(PointImage(images[stem], name, points, spacing=spacing, size=size))
    if not found:
        raise FileNotFoundError(f"{folder}: no picture that has a json of the same name.")
    return PointSet(NECK, found, "CSXA, cervical spine X-ray atlas (Ran et al. 2024), 23 points; each image a patient")


def _read_points(path: Path, image: Path) -> tuple[list[tuple[float, float] | None], tuple[int, int] | None]:
    """The points by CSXA_NAMES, and the size that the json says."""
    try:
        content = read_json_object(path)
        shapes = content.get("shapes")
        if not isinstance(shapes, list):
            raise ValueError("has no list 'shapes'")
        said = content.get("imagePath")
        if isinstance(said, str) and said and Path(said.replace("\\", "/")).stem != image.stem:
            raise ValueError(f"is of another image ({Path(said.replace(chr(92), '/')).name})")
        found: dict[str, tuple[float, float]] = {}
        for shape in map(table_of, shapes):
            label = str(shape.get("label")).strip()
            if label not in CSXA_NAMES:
                raise ValueError(f"has a point {label!r}, which is none of CSXA's 23")
            if label in found:
                raise ValueError(f"has the point {label!r} twice")
            found[label] = _point(label, shape.get("points"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}.") from error
    return [found.get(name) for name in CSXA_NAMES], image_size(content.get("imageWidth"), content.get("imageHeight"))


def _point(label: str, points: Any) -> tuple[float, float]:
    if not isinstance(points, list) or len(points) != 1 or not isinstance(points[0], list) or len(points[0]) != 2:
        raise ValueError(f"has no single point [x, y] for {label!r}")
    return number(points[0][0]), number(points[0][1])


def _pixel_sizes(said: str | None) -> dict[str, float] | float | None:
    """By the images' names without suffix, or one for all."""
    if said is None:
        return None
    try:
        constant = float(said)
    except ValueError:
        found: dict[str, float] = {}
        for row, cells in enumerate(read_rows(Path(said), ("image", "mm")), start=2):
            where, stem = f"{said}, row {row}", Path(cells["image"]).stem
            if stem in found:
                raise ValueError(f"{where}: {stem} is there twice.") from None
            found[stem] = _positive(cells["mm"], where)
        return found
    return _positive(constant, "--pixel-size")


def _positive(value: Any, where: str) -> float:
    try:
        found = number(value)
    except ValueError:
        found = 0.0
    if found <= 0:
        raise ValueError(f"{where}: {value!r} is no size of a pixel in millimetres.")
    return found

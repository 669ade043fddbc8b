"""Disc centres out of boxes around discs, of a data set in this project's layout such as spider_lumbar.

A landmark is the middle of the box whose level it has. A disc without a box is not labelled. Where boxes have no level
they can be counted from below: then every image must show the lowest disc, and no disc above it may lack its box.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ...layout.data_set import DataSet
from ...layout.landmarks import LandmarkNames
from ...layout.levels import find_level
from ...layout.validate import PATIENT_KEY, SPLIT_FILES
from ..preparation.omissions import Findings
from .point_images import PointImage, PointSet

# What a lumbar image shows as a rule.
LUMBAR = ("T12/L1", "L1/2", "L2/3", "L3/4", "L4/5", "L5/S1")


def read_disc_centres(
    folder: Path, findings: Findings, *, levels: Sequence[str] = LUMBAR, from_below: bool = False
) -> PointSet:
    """The images of a folder's train.json, val.json and test.json, in the same splits and by the same patients.

    Args:
        levels: of the discs, from above; boxes of other levels are left out. An image of whose boxes one has no level,
            or two have one, is a finding and left out.
        from_below: take no level from a box: the lowest of an image is the last of ``levels``, and so on upward.

    Raises:
        FileNotFoundError, ValueError: the data set cannot be loaded; something is no level or is named twice. One line.
    """
    named: list[str] = []
    for level in levels:
        name = find_level(level, whole=True)
        if name is None or name in named:
            raise ValueError(f"--levels: {level!r} is no disc's name, or there twice; write L4/5.")
        named.append(name)
    files = [folder / name for name in SPLIT_FILES if (folder / name).is_file()]
    if not files:
        raise FileNotFoundError(f"{folder}: no {', '.join(SPLIT_FILES)} in it; name a folder of boxes around discs.")
    found = []
    for path in files:
        content = DataSet(json_file=path, images=folder / "images").read()
        boxes: dict[int, list[dict]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            boxes[annotation["image_id"]].append(annotation)
        for image in content["images"]:
            these = boxes[image["id"]]
            centres = _counted(these, named) if from_below else _centres(these)
            where = folder / "images" / image["file_name"]
            if centres is None or not centres.keys() & set(named):
                text = f"{where}: a box without a level, or two of one" if centres is None else f"{where}: no such disc"
                findings.add("unusable_annotations", text)
                continue
            spacing = tuple(image["spacing"]) if image.get("spacing") else None
            points = [centres.get(name) for name in named]
            name, size = Path(image["file_name"]).stem, (image["width"], image["height"])
            found.append(PointImage(where, name, points, str(image[PATIENT_KEY]), spacing, size=size, split=path.stem))
    names = tuple(f"{name} disc" for name in named)
    skeleton = tuple(pairwise(names))
    return PointSet(LandmarkNames("spine", names, skeleton, ()), found, f"disc centres of the boxes of {folder.name}")


def _centres(boxes: Sequence[dict]) -> dict[str, tuple[float, float]] | None:
    """The middles of boxes by their levels; None where a box has none, or two have one."""
    found: dict[str, tuple[float, float]] = {}
    for box in boxes:
        level = find_level(str(box.get("level", "")), whole=True)
        if level is None or level in found:
            return None
        found[level] = _middle(box)
    return found


def _counted(boxes: Sequence[dict], levels: Sequence[str]) -> dict[str, tuple[float, float]]:
    """The middles of boxes by levels, from the lowest box and the last level upward."""
    from_below = sorted(map(_middle, boxes), key=lambda middle: -middle[1])
    return dict(zip(reversed(levels), from_below, strict=False))


def _middle(box: dict) -> tuple[float, float]:
    x, y, width, height = box["bbox"]
    return x + width / 2, y + height / 2

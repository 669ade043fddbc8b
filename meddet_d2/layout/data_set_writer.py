"""Writes a data set's folder: in full or not at all."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .landmarks import LandmarkNames, Point, hull


@dataclass(frozen=True)
class Box:
    """A labelled object.

    Attributes:
        category: its class's id, from 1.
        box: (x, y, width, height) in pixels, inside the image.
        level: "C5/6", or None.
        original: what the source says of it besides its class.
        landmarks: the points of an image of landmarks, whose hull the box is (see `landmark_box`); else empty.
        structures: with landmarks, the polygons of each structure; None where they are not known.
    """

    category: int
    box: tuple[float, float, float, float]
    level: str | None
    original: Mapping[str, Any] = field(default_factory=dict, hash=False)
    landmarks: tuple[Point, ...] = ()
    structures: list[list[list[float]]] | None = field(default=None, hash=False)


def landmark_box(points: Sequence[Point], structures: list[list[list[float]]] | None = None) -> Box:
    """The one object of an image of landmarks, of which at least one is labelled."""
    return Box(1, hull(points), None, landmarks=tuple(points), structures=structures)


@dataclass(frozen=True)
class Record:
    """An image of the data set.

    Attributes:
        file_name: in images/.
        size: (width, height).
        patient: pseudonym.
        spacing: millimetres of a pixel, row and column; None if not known.
        boxes: none for a healthy patient.
        digest: of the pixels; the same for copies.
        source: where it comes from. For the terminal and the key only.
        source_patient: how the source names the patient. For the key only.
    """

    file_name: str
    size: tuple[int, int]
    patient: str
    spacing: tuple[float, float] | None
    boxes: tuple[Box, ...]
    digest: str = ""
    source: str = ""
    source_patient: str = ""


def coco_content(
    records: Iterable[Record], classes: Sequence[str] | LandmarkNames, info: Mapping[str, Any], *, digits: int = 4
) -> dict[str, Any]:
    """The json of one split; ids count from 1.

    Args:
        records: its images, in this order.
        classes: the categories' names, in the order of their ids; or a landmark set's landmarks.
        info: what describes the data set.
        digits: decimals of areas.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in records:
        width, height = record.size
        image = {"id": len(images) + 1, "file_name": record.file_name, "width": width, "height": height}
        image["patient_id"] = record.patient
        if record.spacing is not None:
            image["spacing"] = [round(float(value), 6) for value in record.spacing]
        images.append(image)
        for box in record.boxes:
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image["id"],
                "category_id": box.category,
                "bbox": list(box.box),
                "area": round(box.box[2] * box.box[3], digits),
                "iscrowd": 0,
            }
            annotation |= {} if box.level is None else {"level": box.level}
            annotation |= {"landmarks": [value for point in box.landmarks for value in point]} if box.landmarks else {}
            annotation |= {} if box.structures is None else {"structures": box.structures}
            annotations.append(annotation | ({"original": dict(box.original)} if box.original else {}))
    if isinstance(classes, LandmarkNames):
        categories = [classes.category()]
    else:
        categories = [{"id": number, "name": name} for number, name in enumerate(classes, start=1)]
    contents = {"images": images, "annotations": annotations, "categories": categories}
    return {"info": dict(info), "licenses": [], **contents}


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W) uint8 as PNG with nothing but the pixels in it."""
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, "PNG")


@contextmanager
def new_folder(output: Path, *, replace: bool) -> Iterator[Path]:
    """A hidden folder with images/ beside ``output``, to be filled in the block; it becomes ``output`` at the end.

    After an error in the block nothing has changed.

    Args:
        output: the data set's folder.
        replace: it may be there and is replaced; otherwise, if another process has been faster, its folder stays.

    Raises:
        OSError: the place cannot be written.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        (working / "images").mkdir()
        yield working
        # mkdtemp made it for this user alone; others may read a data set.
        working.chmod(0o755)
        try:
            working.rename(output)
        except OSError:
            if not output.is_dir():
                raise
            if replace:
                _exchange(output, working)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _exchange(output: Path, working: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-old-", dir=output.parent) as old:
        output.rename(Path(old, "data"))
        try:
            working.rename(output)
        except OSError:
            Path(old, "data").rename(output)
            raise

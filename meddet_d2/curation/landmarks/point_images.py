"""What each public set of landmarks is read into, and how that becomes the images of a data set."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ...formats import read_image
from ...layout.data_set_writer import Record, landmark_box, write_image
from ...layout.landmarks import DIGITS, NOT_LABELLED, LandmarkNames, Point, is_inside
from ..preparation.image_index import files_below
from ..preparation.omissions import Findings

# Coordinates of whole pixels mean their middles; in a json the middle of the first pixel is (0.5, 0.5).
MIDDLE = 0.5


@dataclass(frozen=True)
class PointImage:
    """One image and its landmarks.

    Attributes:
        path: its file.
        name: of its file in the data set, without suffix; it says nothing of the patient.
        points: (x, y) of each landmark in pixels, continuous; None where it is not labelled.
        patient: pseudonym; ``name`` if empty.
        spacing: millimetres of a pixel, row and column; None where nobody knows.
        fractions: the points are fractions of width and height instead of pixels.
        size: (width, height) that the annotation says; None where it says nothing.
        split: where the release puts it, "train", "val" or "test"; "" where it does not.
    """

    path: Path
    name: str
    points: Sequence[tuple[float, float] | None]
    patient: str = ""
    spacing: tuple[float, float] | None = None
    fractions: bool = False
    size: tuple[int, int] | None = None
    split: str = ""


@dataclass(frozen=True)
class PointSet:
    """A public set: its landmarks, its images, and who made it."""

    landmarks: LandmarkNames
    images: list[PointImage]
    description: str


def write_images(
    images: Iterable[PointImage], folder: Path, landmarks: LandmarkNames, findings: Findings
) -> list[Record]:
    """Write the images as grey PNG into images/ of a new data set.

    A landmark outside its image becomes one that is not labelled, and a finding. An image without any is left out.

    Raises:
        ValueError: an image has another size than its annotation says, or two have one name. One line.
    """
    records: dict[str, Record] = {}
    for image in tqdm(list(images), desc="reading images", unit="image", disable=None):
        try:
            pixels = read_image(image.path)
        except (ValueError, OSError) as error:
            findings.add("unreadable_images", str(error))
            continue
        height, width = pixels.shape[:2]
        if image.size not in (None, (width, height)):
            said = "{} x {}".format(*image.size)
            raise ValueError(f"{image.path}: {width} x {height} pixels, but its points are of an image of {said}.")
        points = tuple(_points(image, (width, height), landmarks.names, findings))
        if not any(v for _, _, v in points):
            findings.add("unusable_annotations", f"{image.path}: no landmark lies in it")
            continue
        name = f"{image.name}.png"
        if name in records:
            raise ValueError(f"{image.path} and {records[name].source}: both would be {name}; keep one of them.")
        write_image(folder / "images" / name, cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
        box, patient = landmark_box(points), image.patient or image.name
        records[name] = Record(name, (width, height), patient, image.spacing, (box,), source=str(image.path))
    return list(records.values())


def _points(image: PointImage, size: tuple[int, int], names: Sequence[str], findings: Findings) -> Iterable[Point]:
    factors = size if image.fractions else (1, 1)
    for name, point in zip(names, image.points, strict=True):
        if point is None:
            findings.add("unlabelled_landmarks", f"{image.path}: {name}")
            yield NOT_LABELLED
            continue
        x, y = (round(float(value * factor), DIGITS) for value, factor in zip(point, factors, strict=True))
        if is_inside(x, y, *size):
            yield x, y, 2
        else:
            findings.add("outside_landmarks", f"{image.path}: {name} at ({x:g}, {y:g}) of {size[0]} x {size[1]}")
            yield NOT_LABELLED


def point_rows(path: Path, count: int) -> dict[str, np.ndarray]:
    """A csv without a heading: an id, then x and y of each of ``count`` points.

    Returns:
        The points (count, 2), as they stand there, by id.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a row has another number of columns or something that is no number, or an id is there twice; or
            there is no row. One line.
    """
    found: dict[str, np.ndarray] = {}
    for number, line in text_rows(path):
        where = f"{path}, row {number}"
        identity, *cells = (cell.strip() for cell in line.split(","))
        if len(cells) != 2 * count:
            text = f"{len(cells) + 1} columns; an id and x, y of {count} points need {2 * count + 1}."
            raise ValueError(f"{where}: {text}")
        if not identity or identity in found:
            text = f"the id {identity!r} is there twice" if identity else "no id"
            raise ValueError(f"{where}: {text}; give each image one row.")
        found[identity] = numbers(cells, where).reshape(count, 2)
    return found


def text_rows(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, numbered from 1.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is empty or no text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text; is it the right file?") from error
    found = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise ValueError(f"{path}: holds no row.")
    return found


def numbers(cells: Sequence[str], where: str) -> np.ndarray:
    """Finite numbers (N,) from texts; ``where`` names the file and row.

    Raises:
        ValueError: one of them is none. One line.
    """
    try:
        values = np.array([float(cell) for cell in cells])
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: something that is no finite number; correct it.")
    return values


def images_by_stem(folder: Path, suffixes: Sequence[str], findings: Findings) -> dict[str, Path]:
    """The images below a folder by their names without suffix.

    Raises:
        FileNotFoundError: there is no folder, or no image in it.
        ValueError: two have one name. One line.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder.")
    found: dict[str, Path] = {}
    for path in files_below(folder, findings):
        if path.suffix.lower() in suffixes and (other := found.setdefault(path.stem, path)) != path:
            raise ValueError(f"{path} and {other}: two images of one name; keep one of them.")
    if not found:
        raise FileNotFoundError(f"{folder}: no image ({', '.join(suffixes)}) in it.")
    return found


def joined(rows: dict[str, np.ndarray], images: dict[str, Path], table: Path, findings: Findings) -> list[str]:
    """The ids that have points and an image; the others are findings.

    Raises:
        ValueError: there is none.
    """
    for identity in sorted(rows.keys() - images.keys()):
        findings.add("missing_images", f"{table}: {identity}")
    for identity in sorted(images.keys() - rows.keys()):
        findings.add("unannotated_images", str(images[identity]))
    both = sorted(rows.keys() & images.keys())
    if not both:
        raise ValueError(f"{table}: none of its {len(rows)} ids is the name of an image; is it of these images?")
    return both

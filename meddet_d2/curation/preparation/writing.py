"""Writes a data set in the layout of CDH-1848: in full or not at all, and never over another."""

import csv
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...files import replacing, write_json
from ...layout.data_set import CDH_CLASSES, DataSet

PREPARATION = "preparation.json"


@dataclass(frozen=True)
class Box:
    """A labelled disc.

    Attributes:
        category: 1 or 2, an index into CDH_CLASSES from 1.
        box: (x, y, width, height) in pixels, inside the image.
        level: "C5/6", or None.
    """

    category: int
    box: tuple[float, float, float, float]
    level: str | None


@dataclass(frozen=True)
class Record:
    """An image of the data set, already written.

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
    digest: str
    source: str
    source_patient: str


def check_output(output: Path, sources: Iterable[Path], *, force: bool) -> None:
    """Refuse, before any work, an output that must not be written.

    Raises:
        ValueError: it holds something and ``force`` is not set, or holds something else than an earlier preparation;
            it lies in a source or a source in it.
    """
    target = output.resolve()
    for source in sources:
        if target == source.resolve() or target in source.resolve().parents or source.resolve() in target.parents:
            raise ValueError(f"{output} and {source}: one lies in the other; write the data set somewhere else.")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / PREPARATION).is_file():
        raise ValueError(
            f"{output}: holds something that these tools did not make; move it or choose another --output."
        )
    if not force:
        raise ValueError(f"{output}: holds a prepared data set; add --force to replace it.")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A hidden folder beside ``output``, to be filled in the block; it replaces ``output`` at the end.

    After an error in the block nothing has changed.

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
        _replace(output, working)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _replace(output: Path, working: Path) -> None:
    if not output.exists():
        working.rename(output)
        return
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-old-", dir=output.parent) as old:
        output.rename(Path(old, "data"))
        try:
            working.rename(output)
        except OSError:
            Path(old, "data").rename(output)
            raise


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W) uint8 as PNG with nothing but the pixels in it."""
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, "PNG")


def write_splits(folder: Path, records: Iterable[Record], splits: Mapping[str, str], description: str) -> dict:
    """Write train.json and the others, and check them as they will be checked when they are loaded.

    Args:
        folder: the new folder, with images/.
        records: of all splits.
        splits: the split of each patient; patients in none are left out.
        description: for ``info``.

    Returns:
        For each split its numbers of patients, images, healthy images and boxes of each class.
    """
    by_split: dict[str, list[Record]] = {name: [] for name in ("train", "val", "test") if name in splits.values()}
    # By name, so that the order in which files were read leaves no trace.
    for record in sorted(records, key=lambda record: (record.patient, record.file_name)):
        if record.patient in splits:
            by_split[splits[record.patient]].append(record)
    for name, members in by_split.items():
        write_json(folder / f"{name}.json", _coco(members, f"{description}, {name} split"))
    for name in by_split:
        DataSet(json_file=folder / f"{name}.json", images=folder / "images").read()
    return {name: _numbers(members) for name, members in by_split.items()}


def _coco(records: list[Record], description: str) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for record in records:
        width, height = record.size
        image = {
            "id": len(images) + 1,
            "file_name": record.file_name,
            "width": width,
            "height": height,
            "patient_id": record.patient,
        }
        if record.spacing is not None:
            image["spacing"] = [round(float(value), 6) for value in record.spacing]
        images.append(image)
        for box in record.boxes:
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image["id"],
                "category_id": box.category,
                "bbox": list(box.box),
                "area": round(box.box[2] * box.box[3], 4),
                "iscrowd": 0,
            }
            if box.level is not None:
                annotation["level"] = box.level
            annotations.append(annotation)
    return {
        "info": {"description": description},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": index, "name": name} for index, name in enumerate(CDH_CLASSES, start=1)],
    }


def _numbers(records: list[Record]) -> dict[str, int]:
    categories = [box.category for record in records for box in record.boxes]
    return {
        "patients": len({record.patient for record in records}),
        "images": len(records),
        "healthy images": sum(not record.boxes for record in records),
        **{name: categories.count(index) for index, name in enumerate(CDH_CLASSES, start=1)},
    }


@contextmanager
def new_key(path: Path | None) -> Iterator[Path | None]:
    """A file for the secret table, readable by its owner alone, that gets its name at the end of the block."""
    if path is None:
        yield None
        return
    with replacing(path) as temporary:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield temporary


def check_key(path: Path, output: Path, *, force: bool) -> None:
    """Refuse, before any work, a key that would lie in the data set or replace a file.

    Raises:
        ValueError: it would.
    """
    if output.resolve() in (path.resolve(), *path.resolve().parents):
        raise ValueError(f"--key {path}: lies in the data set, which others will get; put it somewhere else.")
    if path.exists() and not force:
        raise ValueError(f"--key {path}: is there already; add --force to replace it.")


def write_key(path: Path, records: Iterable[Record]) -> None:
    """Which image and patient each pseudonym is, as csv."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["image", "patient", "source", "source patient"])
    for record in sorted(records, key=lambda record: (record.patient, record.file_name)):
        table.writerow([record.file_name, record.patient, record.source, record.source_patient])
    # In the file that is there, for its permissions.
    path.write_text(text.getvalue(), encoding="utf-8")

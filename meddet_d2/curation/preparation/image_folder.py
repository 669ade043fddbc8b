"""From a folder of images and the annotations of a labelling tool to the images of a data set."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ...formats import MRSlice, Pseudonyms, read_slices
from ...layout.data_set_writer import Record, write_image
from .annotation import ImageAnnotation
from .annotation_files import match, read_annotations
from .classes import ClassMap
from .image_index import ImageIndex, is_image, walk
from .omissions import Findings
from .ownership import Owners, SamePatients
from .shape_boxes import make_boxes, without_ignored
from .table import read_table


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """What to prepare.

    Attributes:
        images: the folder of images.
        annotations: the file or folder of annotations.
        kind: their format, one of annotation_files.FORMATS.
        classes: labels to classes.
        names_file: YOLO's names of classes, None to look for them.
        table: csv with the patients, None if something else says them.
        columns: the table's headings of patient, image and, or None, split.
        folder_level: which folder below ``images`` is the patient, from 1.
        pattern: what finds the patient in the path below ``images``.
        healthy_without_annotation: images that nothing annotates are healthy; otherwise they are left out.
    """

    images: Path
    annotations: Path
    kind: str
    classes: ClassMap
    names_file: Path | None = None
    table: Path | None = None
    columns: tuple[str, str, str | None] = ("patient", "image", None)
    folder_level: int | None = None
    pattern: re.Pattern | None = None
    healthy_without_annotation: bool = False


def prepare_images(
    settings: ImageSettings, folder: Path, pseudonyms: Pseudonyms, findings: Findings
) -> tuple[list[Record], Owners]:
    """Read everything, settle the classes and write the images.

    Args:
        settings: what to prepare.
        folder: the new data set; its images/ gets the images that can be used.
        pseudonyms: for patients and images.
        findings: gets everything that is left out or changed.

    Returns:
        The images that are in, and who is who.

    Raises:
        FileNotFoundError: the images, annotations or the table are not there.
        ValueError: a label has no class; the table lacks a column; there is no image or no annotation at all.
    """
    paths = _find_images(settings.images, findings)
    index = ImageIndex(settings.images, paths)
    annotations = read_annotations(settings.annotations, settings.kind, findings, names_file=settings.names_file)
    annotations = [without_ignored(annotation, settings.classes, findings) for annotation in annotations]
    labels = [shape.label for annotation in annotations for shape in annotation.shapes if shape.label]
    settings.classes.settle(labels, findings)
    matched, named = match(annotations, index, findings, others_are_healthy=settings.healthy_without_annotation)
    table = None
    if settings.table is not None:
        table = read_table(settings.table, index, findings, *settings.columns)
    for path in paths:
        if path not in named:
            kept = settings.healthy_without_annotation
            findings.add("unannotated_kept" if kept else "unannotated_images", str(path))
    chosen = [path for path in paths if path in matched or (settings.healthy_without_annotation and path not in named)]

    owners = Owners(settings.images, pseudonyms, table, settings.folder_level, settings.pattern)
    records: list[Record] = []
    # Each remark of the readers once: most are of all images alike.
    remarks: dict[str, list[Path]] = {}
    for path in tqdm(chosen, desc="reading images", unit="image", disable=None):
        read = _read(path, pseudonyms, findings)
        if read is not None:
            for text in read.warnings:
                remarks.setdefault(text, []).append(read.source)
            record = _prepare(read, matched.get(path), settings.classes, folder, owners, findings)
            records += [] if record is None else [record]
    for text, sources in remarks.items():
        findings.add("remarks", f"{text} ({len(sources)} images, for example {sources[0]})")
    owners.join(findings)
    return _name(_without_copies(records, owners.same, findings), folder), owners


def _find_images(root: Path, findings: Findings) -> list[Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder of images.")
    files = walk(root, partial(findings.add, "other_files"))
    for path in files:
        if not is_image(path):
            findings.add("other_files", str(path))
    paths = [path for path in files if is_image(path)]
    if not paths:
        raise ValueError(f"{root}: no image in it.")
    return paths


def _read(path: Path, pseudonyms: Pseudonyms, findings: Findings) -> MRSlice | None:
    try:
        # Of several frames the middle one: no labelling tool writes which one it showed.
        slices = read_slices(path, pseudonyms=pseudonyms, slices="middle")
    except (ValueError, OSError) as error:
        findings.add("unreadable_images", str(error))
        return None
    if len(slices) > 1:
        findings.add("unreadable_images", f"{path}: holds slices in {len(slices)} directions; export the sagittal ones")
        return None
    return slices[0]


def _prepare(
    read: MRSlice,
    annotation: ImageAnnotation | None,
    classes: ClassMap,
    folder: Path,
    owners: Owners,
    findings: Findings,
) -> Record | None:
    """Write one image under its pseudonym and a digest; None if it is left out."""
    path = read.source
    pixels = _grey(read)
    size = pixels.shape[1], pixels.shape[0]
    if pixels.min() == pixels.max():
        findings.add("constant_images", str(path))
        return None
    if annotation is not None and annotation.size not in (None, size):
        said, real = ("{} x {}".format(*pair) for pair in (annotation.size, size))
        findings.add("other_size", f"{path}: {real}, but {said} in {annotation.where}")
        return None
    owner = owners.find(path, read, findings)
    if owner is None:
        return None
    boxes = () if annotation is None else make_boxes(annotation, size, classes, findings, str(path))
    if boxes is None:
        return None
    digest = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    # The digest, for there are data sets whose images share an identifier.
    file_name = f"{read.image_id}-{digest[:16]}.png"
    write_image(folder / "images" / file_name, pixels)
    patient, text = owner
    return Record(file_name, size, patient, read.spacing, boxes, digest, str(path), text)


def _grey(read: MRSlice) -> np.ndarray:
    """(H, W) uint8."""
    red, green, blue = np.moveaxis(read.pixels, 2, 0)
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return red
    return np.asarray(Image.fromarray(read.pixels).convert("L"))


def _without_copies(records: list[Record], same: SamePatients, findings: Findings) -> list[Record]:
    """One of each set of equal images, none of a set whose boxes differ; patients who share an image are joined."""
    copies: dict[str, list[Record]] = {}
    for record in records:
        copies.setdefault(record.digest, []).append(record)
    kept = []
    for found in copies.values():
        sources = " = ".join(record.source for record in found)
        for record in found[1:]:
            if same.join(found[0].patient, record.patient):
                findings.add("joined_patients", f"one image: {sources}")
        if len({frozenset(record.boxes) for record in found}) > 1:
            for record in found:
                findings.add("contradicting_duplicates", record.source)
            continue
        kept.append(found[0])
        for record in found[1:]:
            findings.add("duplicates", f"{record.source} = {found[0].source}")
    return [replace(record, patient=same.name(record.patient)) for record in kept]


def _name(records: list[Record], folder: Path) -> list[Record]:
    """Give the images their names, the pseudonym alone where it is one image's, and remove those that are left out."""
    images = folder / "images"
    written = {record.file_name for record in records}
    for path in images.iterdir():
        if path.name not in written:
            path.unlink()
    counts = Counter(record.file_name.partition("-")[0] for record in records)
    named = []
    for record in records:
        name = record.file_name.partition("-")[0]
        final = f"{name}.png" if counts[name] == 1 else record.file_name
        (images / record.file_name).rename(images / final)
        named.append(replace(record, file_name=final))
    return named

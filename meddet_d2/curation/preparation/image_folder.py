"""From a folder of images and the annotations of a labelling tool to the images of a data set."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ...formats import MRSlice, Pseudonyms, read_slices
from ...layout.data_set_writer import Box, Record, write_image
from .annotation import ImageAnnotation
from .annotation_files import match
from .classes import ClassMap
from .image_index import ImageIndex
from .omissions import Findings
from .ownership import Owners, SamePatients
from .shape_boxes import make_boxes, make_landmarks, with_landmarks_alone, without_ignored
from .slicer import on_slice


def prepare_images(
    index: ImageIndex,
    annotations: list[ImageAnnotation],
    classes: ClassMap,
    owners: Owners,
    folder: Path,
    findings: Findings,
    *,
    healthy: bool,
    landmarks: bool = False,
) -> list[Record]:
    """Settle the classes, and write the images.

    Args:
        folder: the new data set; its images/ gets the images that can be used.
        findings: gets everything that is left out or changed.
        healthy: images that nothing annotates are healthy; otherwise they are left out.
        landmarks: points become landmarks, of which ``classes`` holds the names; otherwise shapes become boxes.

    Returns:
        The images that are in.

    Raises:
        ValueError: a label has no class; a file of annotations cannot be read, and what it leaves out would be healthy.
    """
    if landmarks:
        annotations = [with_landmarks_alone(annotation, classes, findings) for annotation in annotations]
        labels = [point.label for one in annotations for shape in one.shapes for point in shape.points]
    else:
        annotations = [without_ignored(annotation, classes, findings) for annotation in annotations]
        labels = [shape.label for one in annotations for shape in one.shapes if shape.label]
    classes.settle(labels, findings)
    make = make_landmarks if landmarks else make_boxes
    matched, named = match(annotations, index, findings, others_are_healthy=healthy)
    for path in index.paths:
        if path not in named:
            findings.add("unannotated_kept" if healthy else "unannotated_images", str(path))
    chosen = [path for path in index.paths if path in matched or (healthy and path not in named)]
    records: list[Record] = []
    # Each remark of the readers once: most are of all images alike.
    remarks: dict[str, list[Path]] = {}
    for path in tqdm(chosen, desc="reading images", unit="image", disable=None):
        read = _read(path, owners.pseudonyms, findings)
        if read is not None:
            for text in read.warnings:
                remarks.setdefault(text, []).append(read.source)
            record = _prepare(read, matched.get(path), classes, folder, owners, findings, make)
            records += [] if record is None else [record]
    for text, sources in remarks.items():
        findings.add("remarks", f"{text} ({len(sources)} images, for example {sources[0]})")
    owners.join(findings)
    return _name(_without_copies(records, owners.same, findings), folder)


def _read(path: Path, pseudonyms: Pseudonyms, findings: Findings) -> MRSlice | None:
    try:
        # Of several frames the middle one: no labelling tool writes which one it showed.
        slices = read_slices(path, pseudonyms=pseudonyms, slices="middle")
        if len(slices) > 1:
            raise ValueError(f"{path}: holds slices in {len(slices)} directions; export the sagittal ones")
    except (ValueError, OSError) as error:
        findings.add("unreadable_images", str(error))
        return None
    return slices[0]


def _prepare(
    read: MRSlice,
    annotation: ImageAnnotation | None,
    classes: ClassMap,
    folder: Path,
    owners: Owners,
    findings: Findings,
    make: Callable[..., tuple[Box, ...] | None],
) -> Record | None:
    """Write one image under its pseudonym and a digest; None if it is left out."""
    path = read.source
    # (H, W) uint8; of three equal channels it is one of them.
    pixels = np.asarray(Image.fromarray(read.pixels).convert("L"))
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
    try:
        annotation = annotation and on_slice(annotation, path)
    except (ValueError, OSError) as error:
        findings.add("unusable_annotations", f"{path} ({annotation.where if annotation else ''}): {error}")
        return None
    boxes = () if annotation is None else make(annotation, size, classes, findings, str(path))
    if boxes is None:
        return None
    digest = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    # The digest, for there are data sets whose images share an identifier.
    file_name = f"{read.image_id}-{digest[:16]}.png"
    write_image(folder / "images" / file_name, pixels)
    patient, text = owner
    return Record(file_name, size, patient, read.spacing, boxes, digest, str(path), text)


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

"""From the images that are in to a finished data set: its json files, the account of it all, and the secret key."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from ... import __version__
from ...files import write_json
from ...layout.data_set import DataSet
from ...layout.data_set_writer import Record, coco_content
from ...layout.landmarks import LandmarkNames, labelled
from .omissions import Findings

PREPARATION = "preparation.json"


def check_output(output: Path, sources: Iterable[Path], *, force: bool) -> None:
    """Refuse, before any work, an output that must not be written.

    Raises:
        ValueError: it holds something and ``force`` is not set, or holds something else than an earlier preparation;
            it lies in a source or a source in it.
    """
    target = output.resolve()
    for source in sources:
        if target.is_relative_to(source.resolve()) or source.resolve().is_relative_to(target):
            raise ValueError(f"{output} and {source}: one lies in the other; write the data set somewhere else.")
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / PREPARATION).is_file():
        raise ValueError(
            f"{output}: holds something that these tools did not make; move it or choose another --output."
        )
    if not force:
        raise ValueError(f"{output}: holds a prepared data set; add --force to replace it.")


def assemble(
    folder: Path,
    records: list[Record],
    splits: Mapping[str, str],
    classes: Sequence[str] | LandmarkNames,
    *,
    description: str,
    made_by: str,
    settings: Mapping[str, Any],
    findings: Findings,
    strict: bool,
) -> dict[str, dict[str, int]]:
    """Write the json files, check them as they will be checked when they are loaded, and write PREPARATION.

    Args:
        folder: the new folder; its images are there. Those of patients without a split are removed.
        records: all images.
        splits: of each patient.
        classes: names, in the order of their ids; or a landmark set's landmarks.
        description: for ``info``.
        settings: what shaped the data set and says nothing of patients.
        strict: problems are an error.

    Returns:
        For each split its numbers of patients, images, healthy images and boxes of each class; or of patients, images
        and labelled landmarks.

    Raises:
        ValueError: nothing is left, a split would be empty, or there are problems and ``strict`` is set.
    """
    by_split: dict[str, list[Record]] = {name: [] for name in ("train", "val", "test") if name in splits.values()}
    if not by_split:
        raise ValueError("no image can be used; what was left out is named above.")
    # By name, so that the order in which files were read leaves no trace.
    for record in sorted(records, key=lambda record: (record.patient, record.file_name)):
        if record.patient in splits:
            by_split[splits[record.patient]].append(record)
        else:
            (folder / "images" / record.file_name).unlink()
    numbers = {}
    for split, members in by_split.items():
        info = {"description": f"{description}, {split} split"}
        write_json(folder / f"{split}.json", coco_content(members, classes, info))
        numbers[split] = {"patients": len({record.patient for record in members}), "images": len(members)}
        boxes = [box for record in members for box in record.boxes]
        if isinstance(classes, LandmarkNames):
            numbers[split]["landmarks"] = sum(len(labelled(box.landmarks)) for box in boxes)
            continue
        numbers[split]["healthy images"] = sum(not record.boxes for record in members)
        for index, name in enumerate(classes, start=1):
            numbers[split][name] = sum(box.category == index for box in boxes)
            if not numbers[split][name]:
                findings.add("classless_splits", f"{split}: no {name}")
    meant: dict[str, Any] = {"landmarks": classes}
    if not isinstance(classes, LandmarkNames):
        meant = {"classes": tuple(classes)}
    for split in by_split:
        DataSet(json_file=folder / f"{split}.json", images=folder / "images", **meant).read()
    if strict and findings.problems:
        raise ValueError(f"{findings.problems} problems, named above, and --strict: nothing was written.")
    account = {"made_by": made_by, "version": __version__, "settings": dict(settings)}
    write_json(folder / PREPARATION, {**account, "splits": numbers, "findings": findings.counts()})
    return numbers


def write_key(file: TextIO, records: Iterable[Record]) -> None:
    """Write, as csv, which image and patient each pseudonym is. It is a secret."""
    table = csv.writer(file)
    table.writerow(["image", "patient", "source", "source patient"])
    for record in sorted(records, key=lambda record: (record.patient, record.file_name)):
        table.writerow([record.file_name, record.patient, record.source, record.source_patient])

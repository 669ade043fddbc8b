"""From COCO's files to cases: a data set's ground truth, and a list of detections."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from meddet_d2.layout.data_set import DataSet, choose_findings
from meddet_d2.layout.validate import is_finite, patient_of

from .cases import Case, Subject

SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Where an image lies, and its size in pixels as the ground truth says."""

    path: Path
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Study:
    """A test set and what was detected on it.

    Attributes:
        cases: one for each image, by rising image id.
        subject: its classes and findings.
        pictures: of the same images; their paths are for reading and are written nowhere.
        phantom: whether the ground truth says of itself that it is this project's phantom.
    """

    cases: list[Case]
    subject: Subject
    pictures: list[Picture]
    phantom: bool


def read_study(data_set: DataSet, detections: Path, findings: Sequence[str] = ()) -> Study:
    """Read and check both files.

    Args:
        data_set: one split; those beside it are checked for common patients.
        detections: a list of COCO's result records; or a COCO json with the images' names, boxes and scores, as a
            prediction writes it. Its images must be these by id and by name.
        findings: classes that make a patient positive; the data set's own, or all, if empty.

    Raises:
        FileNotFoundError: a file, the folder or an image is missing.
        ValueError: one line, naming file and record: a mistake in the ground truth; a detection of an unknown image or
            class, or with a score that is not in [0, 1] or a box that is none; a finding that is no class.
    """
    content = data_set.read()
    classes = tuple(category["name"] for category in content["categories"])
    subject = Subject(
        classes=classes,
        findings=choose_findings(classes, findings, data_set.findings),
        declared=bool(findings or data_set.findings),
        thing=data_set.thing,
        unit="patient" if data_set.patient_key else "image",
    )
    names = {category["id"]: category["name"] for category in content["categories"]}
    labels = {identity: label for label, identity in enumerate(names)}
    records = sorted(content["images"], key=lambda image: image["id"])
    found = _read_detections(detections, {image["id"]: image for image in records}, names, data_set.json_file)
    annotated = defaultdict(list)
    for annotation in content["annotations"]:
        annotated[annotation["image_id"]].append(annotation)
    patients: dict[str, int] = {}
    cases = []
    for number, image in enumerate(records, start=1):
        patient = patients.setdefault(patient_of(image) or f"image {number}", len(patients) + 1)
        truth, boxes = annotated[image["id"]], found[image["id"]]
        levels = (annotation.get("level") for annotation in truth)
        cases.append(
            Case(
                number=number,
                patient=patient,
                boxes=_boxes(truth),
                labels=_labels(truth, labels),
                crowd=np.array([bool(annotation["iscrowd"]) for annotation in truth], dtype=bool),
                levels=tuple(None if level is None else str(level) for level in levels),
                found_boxes=_boxes(boxes),
                found_labels=_labels(boxes, labels),
                found_scores=np.array([record["score"] for record in boxes], dtype=np.float64),
            )
        )
    return Study(
        cases=cases,
        subject=subject,
        pictures=[
            Picture(path=data_set.images / image["file_name"], width=image["width"], height=image["height"])
            for image in records
        ],
        phantom=isinstance(info := content.get("info"), dict) and info.get("phantom") is True,
    )


def _boxes(records: Sequence[dict]) -> np.ndarray:
    return np.array([record["bbox"] for record in records], dtype=np.float64).reshape(-1, 4)


def _labels(records: Sequence[dict], labels: dict[Any, int]) -> np.ndarray:
    return np.array([labels[record["category_id"]] for record in records], dtype=np.int64)


def _read_detections(
    path: Path, images: dict[int, dict], categories: dict[int, str], ground_truth: Path
) -> dict[int, list[dict]]:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; meddet train writes coco_instances_results.json into"
            " <OUTPUT_DIR>/inference/<data set>."
        )
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    # RecursionError: brackets nested by the thousand.
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a json file ({error}); make the detections again.") from error
    if isinstance(records, dict) and {"images", "annotations"} <= records.keys():
        check_names(records["images"], images, path, ground_truth)
        records = records["annotations"]
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{path}: not a list of detections; give COCO's results: image_id, category_id, bbox, score.")
    for number, record in enumerate(records):
        _check_record(record, f"{path}: detection {number}")
    others = f"images that {ground_truth.name} does not list"
    classes = ", ".join(f"{identity} = {name}" for identity, name in categories.items())
    for key, known, what, then in (
        ("image_id", images, others, "give the detections of these very images, with their ids."),
        ("category_id", categories, "unknown classes", f"{ground_truth.name} has {classes}."),
    ):
        unknown = Counter(repr(record[key]) for record in records if record[key] not in known)
        if unknown:
            raise ValueError(f"{path}: {unknown.total()} detections are of {what} ({key} {_some(unknown)}); {then}")
    found = defaultdict(list)
    for record in records:
        found[record["image_id"]].append(record)
    return found


def check_names(listed: Any, images: dict[int, dict], path: Path, ground_truth: Path) -> None:
    """Refuse a json that numbers other images with the same ids: its boxes would be those of other patients."""
    if not isinstance(listed, list):
        raise ValueError(f"{path}: 'images' is not a list of records; give a prediction as it was written.")
    here = {identity: Path(image["file_name"]).stem for identity, image in images.items()}
    records = [one for one in listed if isinstance(one, dict) and isinstance(one.get("id"), int | str)]
    there = [(one["id"], Path(str(one.get("file_name"))).stem) for one in records]
    unknown = Counter(repr(identity) for identity, name in there if here.get(identity) != name)
    wrong = sum(unknown.values()) + len(listed) - len(there)
    if wrong:
        raise ValueError(
            f"{path}: {wrong} of its images have another name in {ground_truth.name}, or none"
            f" (id {_some(unknown)}); ids and names must be those of the ground truth. Predictions under pseudonyms are"
            " not: evaluate the network with --config-file instead."
        )


def _check_record(record: dict, where: str) -> None:
    for key in ("image_id", "category_id"):
        if not isinstance(record.get(key), int | str):
            raise ValueError(f"{where} has {key} {record.get(key)!r}; give COCO's results as a detector writes them.")
    where = f"{where}, of image {record['image_id']}, has"
    score: Any = record.get("score")
    box = record.get("bbox")
    if not is_finite(score) or not 0 <= score <= 1:
        raise ValueError(f"{where} score {score!r}; it must be a number from 0 to 1.")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_finite, box)) or min(box[2:]) < 0:
        raise ValueError(f"{where} bbox {box!r}; give [x, y, width, height], finite, in pixels.")


def _some(counts: Counter) -> str:
    return ", ".join(list(counts)[:SHOWN]) + (", ..." if len(counts) > SHOWN else "")

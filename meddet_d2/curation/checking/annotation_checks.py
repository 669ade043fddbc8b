"""The json files of a data set: which belong together, what they hold, and every mistake in them.

Nothing is trusted: what cannot be used is a finding, and what can be used is kept for the other checks.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from pathlib import Path
from typing import Any

from ...layout.landmark_checks import has_landmarks, landmark_mistakes, names_in
from ...layout.landmarks import LandmarkNames
from ...layout.validate import (
    PATIENT_KEY,
    SPLIT_FILES,
    box_mistake,
    find_mistakes,
    is_finite,
    is_integer,
    is_size,
    leaves_folder,
    name_mistake,
    patient_of,
    read_json,
)
from .findings import Finding, printable

# What boxes of a category are called that the json lacks.
OTHER = "other"
# Image numbers named in one line.
SHOWN = 10
# Millimetres of a pixel: MR images from coils for mice to low-field whole bodies.
SPACING = (0.02, 10.0)


@dataclass(frozen=True)
class BoxRecord:
    """A box that can be measured.

    Attributes:
        number: the annotation's id; None where it has none.
        label: the class's place among the json's, by their ids; None for a category that the json lacks.
        name: the class's, or OTHER.
        corner: left, top; pixels.
        size: width, height; pixels.
        level: as the json names it.
        crowd: iscrowd is set.
    """

    number: int | None
    label: int | None
    name: str
    corner: tuple[float, float]
    size: tuple[float, float]
    level: str | None
    crowd: bool

    @property
    def corners(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1."""
        (x, y), (width, height) = self.corner, self.size
        return x, y, x + width, y + height


@dataclass(frozen=True)
class ImageRecord:
    """An image as the json describes it.

    Attributes:
        split: the split's name.
        number: its id; None where it has none.
        file: its file name; "" where it has none.
        path: None where no file may be opened for it.
        patient: None where the json names none.
        size: width, height; None where the json does not say.
        spacing: millimetres of a pixel, between rows (y) and between columns (x).
        annotated: how many annotations name it; 0 for a healthy image.
        boxes: those that can be measured.
        landmarks: x, y, v of each, of an image of landmarks; empty where they cannot be used.
    """

    split: str
    number: int | None
    file: str
    path: Path | None
    patient: str | None
    size: tuple[int, int] | None
    spacing: tuple[float, float] | None
    annotated: int
    boxes: list[BoxRecord] = field(default_factory=list)
    landmarks: list[tuple[float, float, int]] = field(default_factory=list)

    @property
    def judged(self) -> list[BoxRecord]:
        """The boxes without iscrowd."""
        return [box for box in self.boxes if not box.crowd]

    def finding(self, name: str, text: str, *, annotation: int | None = None) -> Finding:
        """Something found in this image."""
        return Finding(name, text, self.split, self.number, annotation, self.file or None)


@dataclass(frozen=True)
class Split:
    """One json.

    ``region`` is "phantom", "lumbar" or ""; ``classes`` are the json's, by rising id; ``landmarks`` are those of a
    landmark set, if they can be used.
    """

    name: str
    json_file: Path
    image_root: Path
    images: list[ImageRecord]
    region: str
    classes: tuple[str, ...]
    landmarks: LandmarkNames | None = None


def find_json_files(inputs: Iterable[Path]) -> list[Path]:
    """The json files to check, each once.

    Args:
        inputs: a folder stands for its train.json, val.json and test.json; one of these stands for those beside it,
            too. What does not exist is returned as it is, to be reported.
    """
    found: dict[Path, Path] = {}
    for given in inputs:
        files = [given]
        if given.is_dir():
            files = [given / name for name in SPLIT_FILES if (given / name).exists()] or [given / SPLIT_FILES[0]]
        elif given.name in SPLIT_FILES:
            beside = [given.with_name(name) for name in SPLIT_FILES]
            files = [file for file in beside if file == given or file.exists()]
        for file in files:
            found.setdefault(Path(os.path.abspath(file)), file)
    return list(found.values())


def read_splits(
    sources: Sequence[tuple[Path, Path]], patient_key: str = PATIENT_KEY
) -> tuple[list[Split], list[Finding]]:
    """Read and check json files.

    Args:
        sources: for each split its json and the folder of its images.
        patient_key: the key of an image record that names its patient; "" where patients are not known.

    Returns:
        The splits that could be read, and the findings of all.
    """
    splits, findings = [], []
    for name, (json_file, image_root) in zip(split_names([json for json, _ in sources]), sources, strict=True):
        try:
            content = read_json(json_file)
        except FileNotFoundError:
            text = f"there is no {json_file.name}; put it there (datasets/README.md describes the layout)."
            findings.append(Finding("json-missing", text, name, quotes=True))
            continue
        except (ValueError, OSError) as error:
            text = str(error).removeprefix(f"{json_file}: ").replace(str(json_file), json_file.name)
            findings.append(Finding("json-broken", text, name, quotes=True))
            continue
        mistakes = chain(find_mistakes(content, image_root, patient_key=patient_key), landmark_mistakes(content))
        for mistake in mistakes:
            image, annotation = mistake.image or {}, mistake.annotation or {}
            file = image.get("file_name")
            where = _integer(image.get("id")), _integer(annotation.get("id")), file if isinstance(file, str) else None
            findings.append(Finding(mistake.kind, mistake.text, name, *where, quotes=True))
        classes = _classes(content["categories"])
        images, more = _records(content, name, image_root, classes, patient_key)
        findings += more
        landmarks = names_in(content["categories"]) if has_landmarks(content) else None
        if landmarks is not None:
            _add_landmarks(content["annotations"], images, landmarks)
        splits.append(Split(name, json_file, image_root, images, _region(content), tuple(classes.values()), landmarks))
        first = splits[0].landmarks
        if landmarks is not None and first is not None and (difference := landmarks.difference(first)):
            text = f"{difference}, in {splits[0].name}; give all splits the same keypoints, in one order."
            findings.append(Finding("landmark-names", text, name, quotes=True))
        sound = not any(finding.name == "categories" for finding in findings)
        if sound and splits[-1].classes != splits[0].classes:
            here, there = (list(split.classes) for split in (splits[-1], splits[0]))
            text = f"its classes are {here}, those of {splits[0].name} are {there}; give both the same."
            findings.append(Finding("categories", text, name, quotes=True))
    return splits, findings + find_leaks(splits)


def split_names(json_files: Sequence[Path]) -> list[str]:
    """A name for each split: the file's, with its folder's and then with a number where others have it."""
    names = [printable(file.stem) for file in json_files]
    if len(set(names)) < len(names):
        names = [printable(f"{Path(os.path.abspath(file)).parent.name}/{file.stem}") for file in json_files]
    return [f"{name} ({index + 1})" if names.count(name) > 1 else name for index, name in enumerate(names)]


def find_leaks(splits: Sequence[Split]) -> list[Finding]:
    """Patients of two splits, each by the numbers of its images: an id may be more than a pseudonym."""
    by_patient: dict[str, dict[str, list[ImageRecord]]] = defaultdict(lambda: defaultdict(list))
    for image in (image for split in splits for image in split.images):
        if image.patient is not None:
            by_patient[image.split][image.patient].append(image)
    return [
        there[patient][0].finding(
            "leak",
            f"the patient of {numbers(here[patient])} of {one} is also that of {numbers(there[patient])} of {other}; "
            "move all images of a patient to one side.",
        )
        for (one, here), (other, there) in combinations(by_patient.items(), 2)
        for patient in here
        if patient in there
    ]


def numbers(records: Sequence[ImageRecord] | Sequence[BoxRecord], what: str = "image") -> str:
    """Images or annotations by their ids, at most ten."""
    shown = ", ".join(str(record.number) for record in records[:SHOWN]) + (", ..." if len(records) > SHOWN else "")
    return f"{what}{'s' * (len(records) > 1)} {shown}"


def _classes(categories: Sequence[dict]) -> dict[int, str]:
    """The names that can be used, by their ids, which rise."""
    usable = [one for one in categories if is_integer(one.get("id")) and not name_mistake(one.get("name"))]
    return {category["id"]: category["name"] for category in sorted(usable, key=lambda category: category["id"])}


def _records(
    content: dict[str, Any], name: str, image_root: Path, classes: dict[int, str], patient_key: str
) -> tuple[list[ImageRecord], list[Finding]]:
    images: list[ImageRecord] = []
    findings: list[Finding] = []
    by_number: dict[int, tuple[dict, ImageRecord]] = {}
    owners = (annotation.get("image_id") for annotation in content["annotations"])
    annotated = Counter(owner for owner in owners if isinstance(owner, Hashable))
    for raw in content["images"]:
        image = _image(raw, name, image_root, annotated, patient_key)
        images.append(image)
        if raw.get("spacing") is not None and image.spacing is None:
            text = (
                "its spacing is not used; give [between rows, between columns] as two numbers from "
                f"{SPACING[0]} to {SPACING[1]} millimetres, or leave it out."
            )
            findings.append(image.finding("spacing", text))
        if image.number is not None:
            by_number.setdefault(image.number, (raw, image))
    labels = {number: label for label, number in enumerate(classes)}
    for annotation in content["annotations"]:
        found = _look_up(by_number, annotation.get("image_id"))
        box = annotation.get("bbox")
        if found is None or found[1].size is None or "landmarks" in annotation:
            continue
        if box_mistake(box, found[0]) is None:
            level = annotation.get("level")
            found[1].boxes.append(
                BoxRecord(
                    number=_integer(annotation.get("id")),
                    label=_look_up(labels, annotation.get("category_id")),
                    name=_look_up(classes, annotation.get("category_id")) or OTHER,
                    corner=(float(box[0]), float(box[1])),
                    size=(float(box[2]), float(box[3])),
                    level=None if level is None else str(level),
                    crowd=bool(annotation.get("iscrowd", 0)),
                )
            )
    return images, findings


def _add_landmarks(annotations: Sequence[dict], images: Sequence[ImageRecord], names: LandmarkNames) -> None:
    """Give each image the points that can be used."""
    by_number = {image.number: image for image in images if image.number is not None}
    for annotation in annotations:
        image, values = _look_up(by_number, annotation.get("image_id")), annotation.get("landmarks")
        if image is None or not isinstance(values, list) or len(values) != 3 * len(names.names):
            continue
        if all(map(is_finite, values)):
            image.landmarks[:] = zip(values[0::3], values[1::3], values[2::3], strict=True)


def _image(raw: dict, split: str, image_root: Path, annotated: Counter, patient_key: str) -> ImageRecord:
    number = _integer(raw.get("id"))
    size: Any = raw.get("width"), raw.get("height")
    file = name if isinstance(name := raw.get("file_name"), str) else ""
    return ImageRecord(
        split=split,
        number=number,
        file=file,
        path=image_root / file if file and not leaves_folder(file) and os.path.isfile(image_root / file) else None,
        patient=patient_of(raw, patient_key) if patient_key else None,
        size=size if all(map(is_size, size)) else None,
        spacing=_spacing(raw.get("spacing")),
        annotated=0 if number is None else annotated[number],
    )


def _spacing(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) != 2 or {type(side) for side in value} - {int, float}:
        return None
    return (float(value[0]), float(value[1])) if all(SPACING[0] <= side <= SPACING[1] for side in value) else None


def _look_up(table: dict, key: Any) -> Any:
    """As the validation does: 1.0 is 1, and a list or True is nothing."""
    return table.get(key) if isinstance(key, Hashable) and not isinstance(key, bool) else None


def _integer(value: Any) -> int | None:
    return value if is_integer(value) else None


def _region(content: dict[str, Any]) -> str:
    """What the json's "info" says that a reader must know before the figures."""
    info = content.get("info")
    info = info if isinstance(info, dict) else {}
    if info.get("phantom"):
        return "phantom"
    levels = (annotation.get("level") for annotation in content["annotations"])
    named = any(isinstance(level, str) and level.strip().upper().startswith("L") for level in levels)
    return "lumbar" if named or "lumbar" in str(info.get("description", "")).lower() else ""

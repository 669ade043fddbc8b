"""What a data set is besides its files: its classes or landmarks, its patients, and which classes are findings."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from .landmark_checks import landmark_mistakes, names_in
from .landmarks import LandmarkNames
from .validate import (
    PATIENT_KEY,
    SPLIT_FILES,
    category_mistakes,
    find_mistakes,
    name_mistake,
    no_patient,
    patient_of,
    read_json,
)

# CDH-1848's own, in the order of their category ids, which is the order of a network's classes.
CDH_CLASSES = ("protrusion", "non-protrusion")
SHOWN, SHOWN_PATIENTS = 3, 10


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One split on disk.

    Attributes:
        json_file: the COCO json.
        images: the folder its file names are relative to.
        classes: names that its categories must have, in the order of their ids; any if empty.
        findings: those of the classes that a patient is looked at for; none declared if empty.
        patient_key: the key of an image record that names its patient; "" where patients are not known.
        class_from: where an annotation holds what decides its class in place of "category_id": a key, and keys below
            it after dots ("original.Disc bulging"). "" for the categories.
        class_names: with it, the value there, as text, and the class's name; classes in this order.
        thing: what a box is around, in one word.
        landmarks: those that its category must have as "keypoints"; the json's, if it has any, if None.
    """

    json_file: Path
    images: Path
    classes: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    patient_key: str = PATIENT_KEY
    class_from: str = ""
    class_names: tuple[tuple[str, str], ...] = ()
    thing: str = "object"
    landmarks: LandmarkNames | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a rule that makes no classes; one line."""
        if bool(self.class_from) != bool(self.class_names):
            raise ValueError("class_from and class_names belong together; give both or neither.")
        for name in dict.fromkeys(name for _, name in self.class_names):
            if wrong := name_mistake(name):
                raise ValueError(f"class_names: {name!r} {wrong}; give it another.")
        values = [value for value, _ in self.class_names]
        if len(set(values)) < len(values):
            raise ValueError(f"class_names: the values {values} are not all different; give each once.")

    def names(self) -> tuple[str, ...] | None:
        """The names of its classes; None where they stand in the json and that is not there.

        Raises:
            ValueError: the json's categories cannot be used.
        """
        if self.class_names:
            return tuple(dict.fromkeys(name for _, name in self.class_names))
        if self.classes:
            return self.classes
        categories = self._categories()
        return None if categories is None else tuple(category["name"] for category in categories)

    def landmark_names(self) -> LandmarkNames | None:
        """Its landmarks; None for a data set of boxes, and where they stand in the json and that is not there.

        Raises:
            ValueError: the json's categories cannot be used.
        """
        if self.landmarks is not None or self.classes or self.class_names:
            return self.landmarks
        return names_in(self._categories() or ())

    def _categories(self) -> tuple[dict, ...] | None:
        if not self.json_file.is_file():
            return None
        stat = self.json_file.stat()
        return _categories_in(self.json_file, stat.st_mtime_ns, stat.st_size)

    def read(self, apart_from: Iterable["DataSet"] = ()) -> dict[str, Any]:
        """The json, checked, with its images, and with the splits in its folder.

        Args:
            apart_from: more data sets with which it may share no patient; one whose json is not there is left out.

        Returns:
            Its content with the categories by rising id, and classes by ``class_from`` where that is given. The patient
            of each image is its "patient_id"; without ``patient_key`` no image has one.

        Raises:
            FileNotFoundError, ValueError: as in layout/validate.py, one line each; or annotations without a class.
        """
        content = read_json(self.json_file)
        mistakes = find_mistakes(content, self.images, classes=self.classes, patient_key=self.patient_key)
        for mistake in chain(mistakes, landmark_mistakes(content, self.landmarks)):
            raise mistake.error(self.json_file)
        beside = [self.json_file.with_name(name) for name in SPLIT_FILES if self.json_file.name in SPLIT_FILES]
        others = {path: replace(self, json_file=path) for path in beside} | {one.json_file: one for one in apart_from}
        for path, other in others.items():
            if path != self.json_file and path.is_file():
                there = read_json(path)
                self._check_names(content, other, there)
                self._check_apart(content["images"], other, there["images"])
        for image in content["images"]:
            patient = image.get(self.patient_key)
            image.pop(PATIENT_KEY, None)
            if self.patient_key:
                image[PATIENT_KEY] = patient
        content["categories"] = sorted(content["categories"], key=lambda category: category["id"])
        if self.class_from:
            self._reclassify(content)
        return content

    def _check_names(self, content: dict[str, Any], other: "DataSet", there: dict[str, Any]) -> None:
        """Refuse landmarks of other names: a network that was trained on one would be judged on others.

        Raises:
            ValueError: the first difference is named.
        """
        here, others = names_in(content["categories"]), names_in(there["categories"])
        if here is not None and others is not None and (difference := here.difference(others)):
            text = f"{difference} ({other.json_file}); give all splits the same keypoints, in one order."
            raise ValueError(f"{self.json_file}: {text}")

    def _check_apart(self, images: list[dict], other: "DataSet", others: list[dict]) -> None:
        """Refuse what is in both: slices of one patient look alike, and make every test figure too good.

        Where one of the two names no patients, no image file may be in both; more cannot be checked.

        Raises:
            ValueError: up to ten ids are listed. A patient missing in the other.
        """
        by_patient = bool(self.patient_key and other.patient_key)
        key, other_key = (one.patient_key if by_patient else "file_name" for one in (self, other))

        def owner(image: dict, of: DataSet) -> str | None:
            if by_patient:
                return patient_of(image, of.patient_key)
            return os.path.abspath(of.images / image["file_name"]) if image.get("file_name") else None

        here = {owner(image, self): str(image[key]) for image in images}
        there = set()
        for image in others:
            if (identity := owner(image, other)) is None:
                raise no_patient(image, other_key).error(other.json_file)
            there.add(identity)
        both = sorted(here[identity] for identity in here.keys() & there)
        if not both:
            return
        shown = ", ".join(both[:SHOWN_PATIENTS]) + (", ..." if len(both) > SHOWN_PATIENTS else "")
        sibling = other.json_file.parent == self.json_file.parent
        what, advice = "images", "leave each image on one side"
        if by_patient:
            what, advice = "patients", "split by patient: move all images of a patient to one side"
            advice += "" if sibling else ", or give different people different ids"
        where = other.json_file.name if sibling else other.json_file
        raise ValueError(f"{self.json_file}: {len(both)} {what} are also in {where} ({shown}); {advice}.")

    def _reclassify(self, content: dict[str, Any]) -> None:
        """Give every annotation the class that its attribute names."""
        names = list(dict.fromkeys(name for _, name in self.class_names))
        numbers = {value: names.index(name) + 1 for value, name in self.class_names}
        files = {image["id"]: image["file_name"] for image in content["images"]}
        without: list[str] = []
        unknown: Counter[str] = Counter()
        for annotation in content["annotations"]:
            value = self._value(annotation)
            if value is None:
                without.append(f"annotation {annotation['id']} of {files[annotation['image_id']]}")
            elif value not in numbers:
                unknown[value] += 1
            else:
                annotation["category_id"] = numbers[value]
        content["categories"] = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
        if without:
            shown = ", ".join(without[:SHOWN]) + (", ..." if len(without) > SHOWN else "")
            raise ValueError(
                f"{self.json_file}: {len(without)} annotations have no {self.class_from} ({shown}); without a class "
                "they would count as background: grade them, or leave their images out of the json."
            )
        if unknown:
            listed = ", ".join(f"{value} ({count})" for value, count in unknown.most_common(SHOWN))
            known = ", ".join(f"{value} = {name}" for value, name in self.class_names)
            raise ValueError(
                f"{self.json_file}: {unknown.total()} annotations have a {self.class_from} without a class: {listed}; "
                f"known are {known}."
            )

    def _value(self, annotation: Mapping[str, Any]) -> str | None:
        value: Any = annotation
        for key in self.class_from.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return None if value is None or value == "" else value_text(value)


def value_text(value: Any) -> str:
    """A value of a json or yaml as text: 2 and 2.0 are "2", True is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def choose_findings(classes: Sequence[str], chosen: Sequence[str], declared: Sequence[str]) -> tuple[str, ...]:
    """The classes that make an image or a patient positive, in the order of the classes.

    Args:
        classes: all names.
        chosen: by the user (TEST.FINDINGS); the data set's if empty.
        declared: by the data set; every class if empty.

    Raises:
        ValueError: a chosen one does not exist.
    """
    for name in chosen:
        if name not in classes:
            raise ValueError(f"TEST.FINDINGS: {name!r} is no class of the test set, whose are {', '.join(classes)}.")
    wanted = chosen or declared or classes
    return tuple(name for name in classes if name in wanted)


@lru_cache(maxsize=64)
def _categories_in(json_file: Path, changed: int, size: int) -> tuple[dict, ...]:
    """A json's categories by rising id; read again when the file has changed."""
    categories = read_json(json_file)["categories"]
    for mistake in category_mistakes(categories):
        raise mistake.error(json_file)
    return tuple(sorted(categories, key=lambda category: category["id"]))

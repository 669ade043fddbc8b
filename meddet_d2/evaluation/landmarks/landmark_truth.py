"""The true landmarks of a test set as arrays, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from meddet_d2.layout.landmark_checks import names_in
from meddet_d2.layout.validate import is_finite, name_mistake, patient_of

SHOWN = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class LandmarkTruth:
    """A test set.

    Attributes:
        names: of the K landmarks.
        image_ids: of the I images, rising.
        files: each image's file, for reading alone: it is written nowhere. "" where its record does not say.
        sizes: (height, width) of each image in pixels; None where its record does not say.
        patient: (I,) int64, 0..P-1 in the order of the patients' first images.
        patients_known: whether each image names its patient; otherwise every image counts as one.
        points: (I, K, 2) float64, NaN where a landmark is not labelled (v = 0).
        spacing: (I, 2) in mm, or None where no image has one.
    """

    names: tuple[str, ...]
    image_ids: tuple[int, ...]
    files: tuple[str, ...]
    sizes: tuple[tuple[int, int] | None, ...]
    patient: np.ndarray
    patients_known: bool
    points: np.ndarray
    spacing: np.ndarray | None

    @property
    def unit(self) -> str:
        """Of the radial errors: "mm" or "px"."""
        return "px" if self.spacing is None else "mm"


def truth_of_records(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> LandmarkTruth:
    """A test set from Detectron2's dicts.

    Args:
        records: with "image_id" and at most one annotation with "landmarks" ``[x, y, v] * K``. "spacing", "patient_id",
            "file_name", "height" and "width" are taken where they are there.
        names: of the landmarks.

    Raises:
        ValueError: one line: a name twice or one that tables cannot show, an image twice, two annotations of an image,
            landmarks that are not K times x, y and v, a spacing that is not two numbers above 0, or a spacing of some
            of the images alone.
    """
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Landmark names are {list(names)}; give each landmark a name that no other has.")
    for name in names:
        if (wrong := name_mistake(name)) is not None:
            raise ValueError(f"Landmark name {name!r} {wrong}; give it another.")
    ordered = sorted(records, key=lambda record: record["image_id"])
    image_ids = tuple(record["image_id"] for record in ordered)
    if len(set(image_ids)) < len(image_ids):
        raise ValueError("Two images of the test set have one image_id; give each image its own.")
    known = all(patient_of(dict(record)) is not None for record in ordered)
    numbers: dict[Any, int] = {}
    owners = [patient_of(dict(record)) if known else record["image_id"] for record in ordered]
    return LandmarkTruth(
        names=tuple(names),
        image_ids=image_ids,
        files=tuple(str(one.get("file_name", "")) for one in ordered),
        sizes=tuple((one["height"], one["width"]) if {"height", "width"} <= one.keys() else None for one in ordered),
        patient=np.array([numbers.setdefault(owner, len(numbers)) for owner in owners], dtype=np.int64),
        patients_known=known,
        points=np.array([_points(record, len(names)) for record in ordered]).reshape(-1, len(names), 2),
        spacing=_spacings(ordered),
    )


def truth_of_json(content: Mapping[str, Any]) -> LandmarkTruth:
    """A test set from the content of a landmark json, as ``DataSet.read`` gives it.

    Raises:
        ValueError: as :func:`truth_of_records`; or its one category has no names of landmarks that can be used.
    """
    landmarks = names_in(content["categories"])
    if landmarks is None:
        raise ValueError("The json has no landmark names; give its one category the key 'keypoints', a list of names.")
    return truth_of_records(records_of_json(content), landmarks.names)


def records_of_json(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The json's images as Detectron2's dicts, with all that stands in them."""
    records = {image["id"]: {**image, "image_id": image["id"], "annotations": []} for image in content["images"]}
    for annotation in content["annotations"]:
        records[annotation["image_id"]]["annotations"].append(annotation)
    return list(records.values())


def _points(record: Mapping[str, Any], count: int) -> np.ndarray:
    """(K, 2)."""
    where = f"Image {record['image_id']}"
    annotations = [one for one in record.get("annotations", ()) if "landmarks" in one]
    if len(annotations) > 1:
        raise ValueError(f"{where} has {len(annotations)} annotations with landmarks; give it one.")
    if not annotations:
        return np.full((count, 2), np.nan)
    values = list(annotations[0]["landmarks"])
    if len(values) != 3 * count:
        raise ValueError(f"{where} has {len(values)} numbers of landmarks; {count} of them need x, y and v each.")
    # An unlabelled one may hold anything.
    labelled = [value for at in range(0, len(values), 3) if values[at + 2] != 0 for value in values[at : at + 3]]
    if not all(map(is_finite, labelled)) or not {0, 1, 2} >= set(values[2::3]):
        raise ValueError(f"{where} has landmarks that are no finite x and y with v 0, 1 or 2; correct them.")
    rows = [values[at : at + 2] if values[at + 2] else [np.nan, np.nan] for at in range(0, len(values), 3)]
    return np.array(rows, dtype=np.float64)


def _spacings(records: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    without = [record["image_id"] for record in records if record.get("spacing") is None]
    if len(without) == len(records):
        return None
    if without:
        shown = ", ".join(map(str, without[:SHOWN])) + (", ..." if len(without) > SHOWN else "")
        raise ValueError(
            f"{len(without)} of {len(records)} images have no spacing ({shown}); errors in mm and in pixels are not"
            " mixed: give every image its spacing, or none."
        )
    for record in records:
        spacing = list(record["spacing"])
        if len(spacing) != 2 or not all(map(is_finite, spacing)) or min(spacing) <= 0:
            raise ValueError(f"Image {record['image_id']} has spacing {spacing}; give [row, column] in mm, above 0.")
    return np.array([record["spacing"] for record in records], dtype=np.float64)

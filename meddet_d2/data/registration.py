"""Data sets by name, in Detectron2's catalogs, and the agreement of their classes and landmarks with each other."""

import logging
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from ..config.class_names import check_count
from ..drawing import color_of
from ..layout.data_set import CDH_CLASSES, DataSet, choose_findings, value_text
from ..layout.landmarks import LandmarkNames
from ..places import expanded

# What an entry of DATASETS.REGISTER may hold.
_KEYS = ("name", "json", "images", "patient_key", "findings", "class_from", "class_names", "thing")
# What a registered data set's metadata says of its json, as far as that is known.
_FROM_JSON = ("thing_classes", "thing_colors", "keypoint_names", "keypoint_connection_rules", "keypoint_flip_map")
# By the name of a data set, those that a config has on another side of it: TRAIN, VALIDATION.DATASETS and TEST.
_OTHER_SIDES: dict[str, list[str]] = {}
# What results on a data set must never be taken for, by a part of its name.
_SPIDER = ("spider_lumbar", "spider_bulging", "spider_pfirrmann")
NOTES = {
    "phantom": "synthetic phantom, not patients",
    **dict.fromkeys(_SPIDER, "lumbar spines of SPIDER, not cervical and not CDH-1848"),
}
NO_PATIENTS = "split by image, since its patients are not known: images of one patient may be on both sides"

logger = logging.getLogger(__name__)


def register_data_set(name: str, data_set: DataSet, *, prepare: Callable[[], object] | None = None) -> None:
    """Register a data set; of its files nothing but the categories is read before it is asked for.

    Registering a name again does nothing if all is the same, and replaces it otherwise. So tools and every process of a
    distributed run may call this.

    Args:
        name: the name for DATASETS.TRAIN and DATASETS.TEST.
        data_set: its files and classes. A json that is not there is no error yet.
        prepare: called before each load, to make a data set that is made on first use.

    Raises:
        ValueError: the json's categories cannot be used, or the name is that of a data set of others.
    """
    names = data_set.names()
    known = {"thing_classes": list(names), "thing_colors": _colors(len(names))} if names else {}
    known |= landmark_metadata(data_set.landmark_names())
    if name in DatasetCatalog:
        metadata = MetadataCatalog.get(name)
        if metadata.get("data_set") is None:
            raise ValueError(
                f"DATASETS.REGISTER: {name} is a data set of Detectron2's or of a program's; rename yours."
            )
        described = {key: value for key in _FROM_JSON if (value := metadata.get(key)) is not None}
        if metadata.data_set == data_set and described == known:
            return
        DatasetCatalog.remove(name)

    def load() -> list[dict]:
        if prepare is not None:
            prepare()
        return load_data_set(name, data_set)

    DatasetCatalog.register(name, load)
    _describe(name, data_set, known)


def load_data_set(name: str, data_set: DataSet) -> list[dict]:
    """Load and check one split.

    Args:
        name: the registered name; its classes, category ids and landmarks are set in its metadata.
        data_set: its files and classes.

    Returns:
        Detectron2's dicts by rising image id, healthy images (without annotations) included, each with `patient_id`
        and `spacing` where they are known; annotations keep `level`, `landmarks` and
        `structures`.

    Raises:
        FileNotFoundError, ValueError: as `DataSet.read`; a patient is on another side, too (see `keep_apart`).
    """
    others = [MetadataCatalog.get(other).get("data_set") for other in _OTHER_SIDES.get(name, ())]
    content = data_set.read(other for other in others if other is not None)
    numbers = {category["id"]: number for number, category in enumerate(content["categories"])}
    names = [category["name"] for category in content["categories"]]
    records: dict[int, dict[str, Any]] = {}
    for image in sorted(content["images"], key=lambda image: image["id"]):
        record = {"file_name": str(data_set.images / image["file_name"]), "image_id": image["id"], "annotations": []}
        record |= {key: image[key] for key in ("height", "width", "patient_id", "spacing") if key in image}
        records[image["id"]] = record
    for annotation in content["annotations"]:
        box = {
            # Boxes of whole numbers would be cut to whole numbers when their image is resized.
            "bbox": [float(value) for value in annotation["bbox"]],
            "bbox_mode": BoxMode.XYWH_ABS,
            "category_id": numbers[annotation["category_id"]],
            "iscrowd": annotation["iscrowd"],
        }
        box |= {key: annotation[key] for key in ("level", "landmarks", "structures") if key in annotation}
        records[annotation["image_id"]]["annotations"].append(box)
    known = {"thing_classes": names, "thing_colors": _colors(len(names)), "thing_dataset_id_to_contiguous_id": numbers}
    known |= landmark_metadata(data_set.landmark_names())
    metadata = MetadataCatalog.get(name)
    if any(metadata.get(key) != value for key, value in known.items()):
        _describe(name, data_set, known)
    return list(records.values())


def landmark_metadata(landmarks: LandmarkNames | None) -> dict[str, Any]:
    """Landmarks under Detectron2's keys of key points; {} of None.

    Returns:
        "keypoint_names", a tuple; "keypoint_connection_rules", a list of (name, name, colour), which is RGB from 0 to
        255; and, unless nobody has said what a mirror exchanges, "keypoint_flip_map", a list of pairs of names.
    """
    if landmarks is None:
        return {}
    colors = _colors(len(landmarks.skeleton))
    rules = [(*pair, color) for pair, color in zip(landmarks.skeleton, colors, strict=True)]
    known: dict[str, Any] = {"keypoint_names": landmarks.names, "keypoint_connection_rules": rules}
    return known if landmarks.flip_pairs is None else {**known, "keypoint_flip_map": list(landmarks.flip_pairs)}


def _describe(name: str, data_set: DataSet, known: Mapping[str, Any]) -> None:
    # Metadata refuses to change, so it is made anew.
    MetadataCatalog.pop(name, None)
    MetadataCatalog.get(name).set(
        json_file=str(data_set.json_file),
        image_root=str(data_set.images),
        evaluator_type="coco",
        data_set=data_set,
        **known,
    )


def _colors(count: int) -> list[tuple[int, ...]]:
    return [tuple(bytes.fromhex(color_of(label)[1:])) for label in range(count)]


def register_cdh_layout(
    name: str, json_file: str | Path, image_root: str | Path, *, prepare: Callable[[], object] | None = None
) -> None:
    """:func:`register_data_set` for CDH-1848's two classes."""
    register_data_set(name, cdh_layout(Path(json_file), Path(image_root)), prepare=prepare)


def load_cdh_layout(json_file: str | Path, image_root: str | Path, name: str) -> list[dict]:
    """:func:`load_data_set` for CDH-1848's two classes."""
    return load_data_set(name, cdh_layout(Path(json_file), Path(image_root)))


def cdh_layout(json_file: Path, images: Path) -> DataSet:
    """A split in CDH-1848's layout."""
    return DataSet(json_file=json_file, images=images, classes=CDH_CLASSES, findings=CDH_CLASSES[:1], thing="disc")


def parse_entry(entry: Any, patient_key: str) -> tuple[str, DataSet]:
    """One of DATASETS.REGISTER.

    Args:
        entry: a table with "name", "json" and, where they are needed, others of _KEYS; or a text "name=json" or
            "name=json,images". The images are in "images" beside the json by default.
        patient_key: DATASETS.PATIENT_KEY, for an entry that names none.

    Raises:
        ValueError: it is neither, or lacks something. One line.
    """
    if isinstance(entry, str):
        name, _, files = entry.partition("=")
        json_file, _, images = files.partition(",")
        entry = {"name": name.strip(), "json": json_file.strip(), **({"images": images.strip()} if images else {})}
    if not isinstance(entry, Mapping):
        raise ValueError(f"DATASETS.REGISTER: {entry!r} is no data set; give name=json,images, or a table of both.")
    unknown = [key for key in entry if key not in _KEYS]
    if unknown:
        raise ValueError(f"DATASETS.REGISTER: {unknown[0]!r} is no key of a data set; known are {', '.join(_KEYS)}.")
    for key in ("name", "json"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise ValueError(f"DATASETS.REGISTER: {dict(entry)!r} has no {key}; write name=json,images.")
    class_names = entry.get("class_names") or {}
    findings = entry.get("findings") or ()
    if not isinstance(class_names, Mapping) or not isinstance(findings, list | tuple):
        raise ValueError(f"DATASETS.REGISTER, {entry['name']}: class_names is a table and findings a list.")
    json_path = Path(expanded(entry["json"]))
    try:
        data_set = DataSet(
            json_file=json_path,
            images=Path(expanded(entry["images"])) if entry.get("images") else json_path.parent / "images",
            patient_key=str(entry.get("patient_key", patient_key)),
            findings=tuple(map(str, findings)),
            class_from=str(entry.get("class_from") or ""),
            class_names=tuple((value_text(value), str(name)) for value, name in class_names.items()),
            thing=str(entry.get("thing") or DataSet.thing),
        )
    except ValueError as error:
        raise ValueError(f"DATASETS.REGISTER, {entry['name']}: {error}") from error
    return entry["name"], data_set


def keep_apart(cfg: CfgNode) -> None:
    """From now on a data set is loaded only if no patient of it is on another side of the config."""
    sides = [[name for name in names if name in DatasetCatalog] for names in _named(cfg)]
    _OTHER_SIDES.clear()
    for name in chain(*sides):
        _OTHER_SIDES[name] = [*chain(*(side for side in sides if name not in side))]
    trained_on = {MetadataCatalog.get(name).get("json_file") for name in sides[0]} - {None}
    for name in sides[-1]:
        if MetadataCatalog.get(name).get("json_file") in trained_on:
            logger.warning("%s of DATASETS.TEST is what DATASETS.TRAIN trains on: its figures mean little.", name)


def _named(cfg: CfgNode) -> tuple[tuple[str, ...], ...]:
    """The data sets of a config by their sides: to train on, to choose the best by, to test on."""
    return cfg.DATASETS.TRAIN, cfg.VALIDATION.DATASETS, cfg.DATASETS.TEST


def check_classes(cfg: CfgNode) -> None:
    """Check that the data sets that a config names, as far as they are known, and the network agree on the classes.

    Raises:
        ValueError: two differ, or TEST.FINDINGS names no class; one line with both lists.
    """
    named = [name for name in chain(*_named(cfg)) if name in DatasetCatalog]
    known = {name: MetadataCatalog.get(name).get("thing_classes") for name in named}
    known = {name: names for name, names in known.items() if names is not None}
    for first, names in list(known.items())[:1]:
        for other, others in known.items():
            if others != names:
                raise ValueError(
                    f"The classes of {other} are {list(others)}, but those of {first} are {list(names)}, in the order "
                    "of their ids; give both jsons the same categories, or name other data sets."
                )
        check_count(cfg, names, f"{first} has")
        choose_findings(names, cfg.TEST.FINDINGS, ())


def check_landmarks(cfg: CfgNode) -> None:
    """Check that the data sets that a config names, as far as they are known, have the same landmarks.

    Raises:
        ValueError: two differ; one line with the first difference.
    """
    named = [name for name in chain(*_named(cfg)) if name in DatasetCatalog]
    known = [(name, of) for name in named if (of := landmarks_of(name)) is not None]
    for name, landmarks in known[1:]:
        if difference := known[0][1].difference(landmarks):
            raise ValueError(
                f"The landmarks of {known[0][0]} and {name} differ: {difference}; give both jsons the same keypoints, "
                "in one order, or name other data sets."
            )


def landmarks_of(name: str) -> LandmarkNames | None:
    """The landmarks of a registered data set; None where it has none, or its json is not here."""
    data_set = MetadataCatalog.get(name).get("data_set")
    return None if data_set is None else data_set.landmark_names()


def data_note(dataset_name: str, data_set: DataSet | None = None) -> str:
    """What every table on a data set must say about it; empty where there is nothing to say.

    Args:
        dataset_name: by which data with a note are known.
        data_set: the one registered by that name, if not given.
    """
    notes = [note for part, note in NOTES.items() if part in dataset_name][:1]
    if data_set is None and dataset_name in DatasetCatalog:
        data_set = MetadataCatalog.get(dataset_name).get("data_set")
    if data_set is not None and not data_set.patient_key:
        notes.append(NO_PATIENTS)
    return "; ".join(notes)

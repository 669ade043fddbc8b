"""Data sets in the layout of CDH-1848: COCO json with a `patient_id` in each image record, images beside it."""

from collections.abc import Callable
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json

from ..layout.validate import CLASSES, SPLIT_FILES, check_layout, check_patient_split, read_json

# Protrusion red, non-protrusion green.
COLORS = [(220, 40, 40), (40, 190, 80)]


def load_cdh_layout(json_file: str | Path, image_root: str | Path, name: str) -> list[dict]:
    """Load and check one split.

    Args:
        json_file: the split, for example train.json; the splits beside it are checked for common patients.
        image_root: the folder its file names are relative to.
        name: the registered name; `thing_classes` are set in its metadata.

    Returns:
        Detectron2's dicts, healthy images (without annotations) included, each with `patient_id` and, where the
        json has it, `spacing`; annotations keep `level`.

    Raises:
        FileNotFoundError, ValueError: as in layout/validate.py, one line each.
    """
    json_file, image_root = Path(json_file), Path(image_root)
    content = read_json(json_file)
    check_layout(content, json_file, image_root)
    siblings = [json_file.with_name(other) for other in SPLIT_FILES if other != json_file.name]
    check_patient_split(content, json_file, siblings if json_file.name in SPLIT_FILES else [])
    records = load_coco_json(str(json_file), str(image_root), name, extra_annotation_keys=["level"])
    images = {image["id"]: image for image in content["images"]}
    for record in records:
        image = images[record["image_id"]]
        record.update({key: image[key] for key in ("patient_id", "spacing") if key in image})
        for annotation in record["annotations"]:
            # Boxes of whole numbers would be cut to whole numbers when their image is resized.
            annotation["bbox"] = [float(value) for value in annotation["bbox"]]
    return records


def register_cdh_layout(
    name: str, json_file: str | Path, image_root: str | Path, *, prepare: Callable[[], object] | None = None
) -> None:
    """Register a data set in this layout; nothing is read before it is asked for.

    Registering a name again does nothing if the files are the same and replaces it otherwise, so that tools and
    every process of a distributed run may call this.

    Args:
        name: the name for DATASETS.TRAIN and DATASETS.TEST.
        json_file: the COCO json.
        image_root: the folder of its images.
        prepare: called before each load, to make a data set that is made on first use.
    """
    json_file, image_root = str(json_file), str(image_root)
    if name in DatasetCatalog:
        metadata = MetadataCatalog.get(name)
        if (metadata.get("json_file"), metadata.get("image_root")) == (json_file, image_root):
            return
        DatasetCatalog.remove(name)
        # Metadata refuses to change, so it is made anew.
        MetadataCatalog.remove(name)

    def load() -> list[dict]:
        if prepare is not None:
            prepare()
        return load_cdh_layout(json_file, image_root, name)

    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        json_file=json_file,
        image_root=image_root,
        evaluator_type="coco",
        thing_classes=list(CLASSES),
        thing_colors=list(COLORS),
    )

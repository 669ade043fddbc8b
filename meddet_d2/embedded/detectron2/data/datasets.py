"""COCO json files of boxes."""

import contextlib
import io
import logging
import os
from collections.abc import Sequence

from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

from .catalog import DatasetCatalog, MetadataCatalog


def load_coco_json(
    json_file: str, image_root: str, dataset_name: str | None = None, extra_annotation_keys: Sequence[str] | None = None
) -> list[dict]:
    """Load the images of a COCO json file, those without a box included, in the order of their ids.

    With a ``dataset_name``, category ids become 0, 1, ... in the order of the ids in the file, and the names and the
    mapping go into that data set's metadata. ``extra_annotation_keys`` are kept besides bbox, category_id and iscrowd.
    An annotation of a category that the file lacks is a KeyError; a repeated id, an empty bbox or a mark "ignore" is
    a ValueError.
    """
    from pycocotools.coco import COCO  # slow to import

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(PathManager.get_local_path(json_file))
    categories = sorted(coco.cats.values(), key=lambda category: category["id"])
    contiguous = {category["id"]: index for index, category in enumerate(categories)}
    if dataset_name is not None:
        names = [category["name"] for category in categories]
        MetadataCatalog.get(dataset_name).set(thing_classes=names, thing_dataset_id_to_contiguous_id=contiguous)

    keys = {"iscrowd", "bbox", "category_id", *(extra_annotation_keys or ())}
    dataset_dicts, seen = [], set()
    for image_id, image in sorted(coco.imgs.items()):
        annotations = []
        for source in coco.imgToAnns[image_id]:
            place = f"{json_file}: annotation {source['id']} of image {image_id}"
            if source["id"] in seen or source.get("ignore", 0) or not source.get("bbox", True):
                raise ValueError(f"{place} repeats an id, has an empty bbox or is marked 'ignore'; correct the file")
            if source["category_id"] not in contiguous:
                raise KeyError(f"{place} has category {source['category_id']}, which the file does not define")
            seen.add(source["id"])
            annotation = {key: value for key, value in source.items() if key in keys}
            if dataset_name is not None:
                annotation["category_id"] = contiguous[source["category_id"]]
            annotations.append({**annotation, "bbox_mode": BoxMode.XYWH_ABS})
        record = {"file_name": os.path.join(image_root, image["file_name"]), "image_id": image_id}
        record |= {"height": image["height"], "width": image["width"], "annotations": annotations}
        dataset_dicts.append(record)
    logger = logging.getLogger(__name__)
    if len(seen) < len(coco.anns):
        logger.warning("%s: %d annotations belong to no image", json_file, len(coco.anns) - len(seen))
    logger.info("Loaded %d images from %s", len(dataset_dicts), json_file)
    return dataset_dicts


def register_coco_instances(name: str, metadata: dict, json_file: str, image_root: str) -> None:
    """Register a COCO json file, which is read when the data set is first used."""
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, lambda: load_coco_json(json_file, image_root, name))
    MetadataCatalog.get(name).set(json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata)

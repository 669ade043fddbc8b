"""Pieces to make a mapper of."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageOps

from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils.file_io import PathManager

from . import transforms as T


class SizeMismatchError(ValueError):
    """An image is not of the size its data set says."""


def read_image(file_name: str, format: str | None = None) -> np.ndarray:
    """(H, W, C), upright by the file's EXIF data, in a Pillow mode or "BGR" ("L" has C = 1); None: as the file is."""
    with PathManager.open(file_name, "rb") as file:
        image = ImageOps.exif_transpose(Image.open(file))
        array = np.asarray(image.convert("RGB" if format == "BGR" else format) if format else image)
    if format == "BGR":
        return array[:, :, ::-1]
    return array[:, :, None] if format == "L" else array


def check_image_size(dataset_dict: dict, image: np.ndarray) -> None:
    """Raise a SizeMismatchError if the dict gives another size than the image has; fill it in if it gives none."""
    height, width = image.shape[:2]
    expected = dataset_dict.setdefault("width", width), dataset_dict.setdefault("height", height)
    if expected != (width, height):
        name, said = dataset_dict.get("file_name", "an image"), " x ".join(map(str, expected))
        raise SizeMismatchError(f"{name} is {width} x {height} pixels, but its json says {said}; correct the json")


def transform_instance_annotations(annotation: dict, transforms, image_size: tuple[int, int]) -> dict:
    """Transform an annotation's box, in place, to XYXY_ABS inside the transformed image of (height, width)."""
    transforms = T.TransformList(list(transforms)) if isinstance(transforms, list | tuple) else transforms
    box = BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
    box = transforms.apply_box(np.array([box], dtype=float))[0].clip(0, [*image_size[::-1]] * 2)
    annotation.update(bbox=box, bbox_mode=BoxMode.XYXY_ABS)
    return annotation


def annotations_to_instances(annos: list[dict], image_size: tuple[int, int]) -> Instances:
    """``gt_boxes`` and ``gt_classes`` (int64) of an image of (height, width)."""
    boxes = [BoxMode.convert(anno["bbox"], anno["bbox_mode"], BoxMode.XYXY_ABS) for anno in annos]
    classes = torch.tensor([int(anno["category_id"]) for anno in annos], dtype=torch.int64)
    return Instances(image_size, gt_boxes=Boxes(np.array(boxes, dtype=np.float32)), gt_classes=classes)


def filter_empty_instances(instances: Instances, by_box: bool = True, box_threshold: float = 1e-5) -> Instances:
    """Drop instances whose box has a side no longer than the threshold (in pixels)."""
    return instances[instances.gt_boxes.nonempty(threshold=box_threshold)] if by_box else instances


def build_augmentation(cfg, is_train: bool) -> Sequence[T.Augmentation]:
    """Resizing and, in training, flipping as ``cfg.INPUT`` says."""
    if not is_train:
        return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")]
    style, direction = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING, cfg.INPUT.RANDOM_FLIP
    augmentations = [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, style)]
    if direction != "none":
        augmentations.append(T.RandomFlip(horizontal=direction == "horizontal", vertical=direction == "vertical"))
    return augmentations

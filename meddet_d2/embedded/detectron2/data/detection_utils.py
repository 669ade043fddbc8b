"""Pieces to make a mapper of."""

from collections.abc import Sequence

import numpy as np
import torch

from detectron2.structures import Boxes, BoxMode, Instances

from . import transforms as T


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


def filter_empty_instances(instances: Instances) -> Instances:
    """Drop instances whose box has a side of no more than 1e-5 pixels."""
    return instances[instances.gt_boxes.nonempty(threshold=1e-5)]


def build_augmentation(cfg, is_train: bool) -> Sequence[T.Augmentation]:
    """Resizing and, in training, flipping as ``cfg.INPUT`` says."""
    if not is_train:
        return [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")]
    style, direction = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING, cfg.INPUT.RANDOM_FLIP
    augmentations = [T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, style)]
    if direction != "none":
        augmentations.append(T.RandomFlip(horizontal=direction == "horizontal", vertical=direction == "vertical"))
    return augmentations

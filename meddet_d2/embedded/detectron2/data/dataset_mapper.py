"""From a data set's dict to a model's input."""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch

from detectron2.config import configurable

from . import detection_utils as utils
from . import transforms as T


class DatasetMapper:
    """Reads and augments an image; adds "image" (C, H, W) and, in training, "instances" in place of "annotations"."""

    @configurable
    def __init__(self, is_train: bool, *, augmentations: Sequence[T.Augmentation | T.Transform], image_format: str):
        self.is_train, self.image_format = is_train, image_format
        self.augmentations = T.AugmentationList(augmentations)

    @classmethod
    def from_config(cls, cfg, is_train: bool = True) -> dict:
        if cfg.MODEL.MASK_ON or cfg.MODEL.KEYPOINT_ON or cfg.MODEL.LOAD_PROPOSALS or cfg.INPUT.CROP.ENABLED:
            raise ValueError("Masks, key points, proposals and INPUT.CROP need an installed Detectron2; set them False")
        augmentations = utils.build_augmentation(cfg, is_train)
        return {"is_train": is_train, "augmentations": augmentations, "image_format": cfg.INPUT.FORMAT}

    def __call__(self, dataset_dict: dict) -> dict:
        dataset_dict = deepcopy(dataset_dict)
        image = utils.read_image(dataset_dict["file_name"], format=self.image_format)
        utils.check_image_size(dataset_dict, image)
        inputs = T.AugInput(image)
        transforms = self.augmentations(inputs)
        dataset_dict["image"] = torch.as_tensor(np.ascontiguousarray(inputs.image.transpose(2, 0, 1)))
        annotations, size = dataset_dict.pop("annotations", None), inputs.image.shape[:2]
        if self.is_train and annotations is not None:
            single = [annotation for annotation in annotations if not annotation.get("iscrowd", 0)]
            single = [utils.transform_instance_annotations(annotation, transforms, size) for annotation in single]
            dataset_dict["instances"] = utils.filter_empty_instances(utils.annotations_to_instances(single, size))
        return dataset_dict

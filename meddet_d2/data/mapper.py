"""From a data set's record to what a detector takes."""

import copy
from collections.abc import Callable

import cv2
import numpy as np
import torch

from detectron2.config import CfgNode, configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from detectron2.structures import Instances

from ..formats import read_image
from .by_table import ByTable
from .mri_noise import RandomMRINoise


class MedDetDatasetMapper:
    """Reads an image with formats (DICOM and NIfTI too), augments it, and makes tensors.

    It differs from Detectron2's DatasetMapper in its reader (16-bit, CMYK, ... without saturation), in its errors,
    which name the file, and in what it leaves out (masks, keypoints, proposals). Images without boxes are kept. All
    randomness comes from Python's, numpy's and torch's global generators, which the loader seeds for each image.
    """

    # The `Task.result` of the networks that it serves in training; without `instances` it serves all.
    RESULT = "boxes"

    @configurable
    def __init__(self, *, is_train: bool, augmentations: list[T.Augmentation | T.Transform], image_format: str) -> None:
        """
        Args:
            is_train: give `instances`; otherwise the image only.
            augmentations: applied in this order, to image and boxes.
            image_format: "RGB" or "BGR", the order of the image's channels.
        """
        if image_format not in ("RGB", "BGR"):
            raise ValueError(f"INPUT.FORMAT is {image_format!r}; give 'RGB' or 'BGR'.")
        self.is_train = is_train
        self.augmentations = T.AugmentationList(augmentations)
        self.image_format = image_format
        # Gives an image's pixels by its file's name; a loader may put a cache in its place.
        self.read: Callable[[str], np.ndarray] = read_image

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        if cfg.INPUT.CROP.ENABLED:
            raise ValueError("INPUT.CROP.ENABLED is True, but this mapper does not crop; set it to False.")
        jitter = cfg.INPUT.INTENSITY_JITTER
        if not 0.0 <= jitter < 1.0:
            raise ValueError(f"INPUT.INTENSITY_JITTER is {jitter}; give a value in [0, 1).")
        augmentations = utils.build_augmentation(cfg, is_train)
        if is_train and cfg.INPUT.MRI_NOISE.PROB != 0:
            # First, on the pixels that the scanner gave: resized, noise would have another grain.
            noise = cfg.INPUT.MRI_NOISE
            augmentations.insert(0, RandomMRINoise(noise.PROB, noise.KINDS, noise.SEVERITY))
        if is_train and jitter > 0:
            factors = 1.0 - jitter, 1.0 + jitter
            augmentations += [ByTable(T.RandomBrightness(*factors)), ByTable(T.RandomContrast(*factors))]
        return {"is_train": is_train, "augmentations": augmentations, "image_format": cfg.INPUT.FORMAT}

    def __call__(self, dataset_dict: dict) -> dict:
        """
        Args:
            dataset_dict: a record in Detectron2's format; it is not changed.

        Returns:
            The record with `image` ((3, H, W) uint8 tensor, after augmentation; not to be changed in place) and, in
            training, `instances` (gt_boxes in XYXY pixels of that image, gt_classes), possibly of length 0. `height`
            and `width` stay those of the file. Crowds and boxes that an augmentation has moved out of the image are
            not in `instances`.

        Raises:
            FileNotFoundError, ValueError: the file cannot be read, or is not of the size its record says. One line.
        """
        return self.map_image(dataset_dict, self.read(dataset_dict["file_name"]))

    def map_image(self, dataset_dict: dict, image: np.ndarray) -> dict:
        """As a call, with an image that was read, and perhaps changed, already.

        Args:
            dataset_dict: as for a call.
            image: uint8, (H, W, 3), RGB, or grey (H, W), of the size that the record says.
        """
        dataset_dict = copy.deepcopy(dataset_dict)
        _check_size(dataset_dict, image)
        image = one_if_equal(image)  # a third of the work
        if image.ndim == 3 and self.image_format == "BGR":
            image = image[:, :, ::-1]
        # Own, writable memory: some transforms refuse views with negative strides.
        inputs = T.AugInput(np.ascontiguousarray(image))
        transforms = self.augmentations(inputs)
        image = inputs.image
        planes = np.require(image if image.ndim == 2 else image.transpose(2, 0, 1), requirements=("C", "W"))
        # Of a grey image the three channels are one in memory, until a batch is made of it.
        dataset_dict["image"] = torch.from_numpy(planes).expand(3, *image.shape[:2])
        if self.is_train:
            dataset_dict["instances"] = self.to_instances(dataset_dict, transforms, image.shape[:2])
        dataset_dict.pop("annotations", None)
        return dataset_dict

    def to_instances(self, record: dict, transforms: T.TransformList, image_shape: tuple[int, int]) -> Instances:
        """What is annotated in an image, after ``transforms``, which made it (H, W); ``record`` may be changed."""
        boxes = [
            # A mask would be transformed as well, and its failure reported; nothing here uses it.
            {key: value for key, value in annotation.items() if key not in ("segmentation", "keypoints")}
            for annotation in record.get("annotations", [])
            if annotation.get("iscrowd", 0) == 0
        ]
        boxes = [utils.transform_instance_annotations(box, transforms, image_shape) for box in boxes]
        return utils.filter_empty_instances(utils.annotations_to_instances(boxes, image_shape))


def one_if_equal(image: np.ndarray) -> np.ndarray:
    """(H, W) of (H, W, 3) uint8 whose channels are equal; as it is otherwise."""
    if image.ndim == 2:
        return image
    first = image[:1, :, :1]
    if (image[:1] != first).any():  # most colour images show it in their first row
        return image
    red, green, blue = cv2.split(image)
    return red if np.array_equal(red, green) and np.array_equal(red, blue) else image


def _check_size(dataset_dict: dict, image: np.ndarray) -> None:
    """Refuse a file of another size than its record's: its boxes would be drawn on something else."""
    height, width = image.shape[:2]
    expected = dataset_dict.setdefault("width", width), dataset_dict.setdefault("height", height)
    if expected != (width, height):
        raise ValueError(
            f"{dataset_dict['file_name']}: the file is {width} x {height} pixels, its record says "
            f"{expected[0]} x {expected[1]}; correct the json's width and height and its boxes."
        )

"""From a landmark set's record to what a network of landmarks takes.

Shape legend
    K, S: landmarks and structures of the data set
    H, W: height and width of the image that the network gets
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from fvcore.transforms.transform import HFlipTransform, VFlipTransform

from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.structures import Instances

from ..layout.landmarks import is_inside
from .affine import RandomAffine
from .mapper import MedDetDatasetMapper

# A pixel's value where nobody has said whether it belongs to a structure; modeling/heatmap knows it, too.
UNKNOWN = 255
# Binary places of a polygon's corners.
SHIFT = 5


class LandmarkMapper(MedDetDatasetMapper):
    """As :class:`MedDetDatasetMapper`, with points in place of boxes.

    The long side is fitted by MIN_SIZE_TRAIN = MAX_SIZE_TRAIN (and the same of TEST) under INPUT; the network pads.
    Then, in training, the image is turned, scaled and shifted (INPUT.LANDMARK).
    """

    RESULT = "landmarks"

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        augmentations: list[T.Augmentation | T.Transform],
        image_format: str,
        flip: Sequence[int] | None = None,
        structures: int = 0,
    ) -> None:
        """
        Args:
            is_train, augmentations, image_format: as of the base class.
            structures: S; with more than 0 the masks of structures are given, too.
            flip: (K,), the number of the landmark that each becomes in a mirrored image; None: none may be mirrored.
        """
        super().__init__(is_train=is_train, augmentations=augmentations, image_format=image_format)
        self.structures = structures
        self.flip = None if flip is None else np.asarray(flip)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict:
        found = super().from_config(cfg, is_train)
        found["structures"] = cfg.MODEL.LANDMARK.NUM_STRUCTURES
        found["flip"] = flip_order(cfg.DATASETS.TRAIN) if is_train else None
        if is_train and cfg.INPUT.RANDOM_FLIP != "none" and found["flip"] is None:
            raise ValueError(
                f"INPUT.RANDOM_FLIP is {cfg.INPUT.RANDOM_FLIP}, but DATASETS.TRAIN {cfg.DATASETS.TRAIN} does not say "
                "which landmarks a mirror exchanges; set it to none, or give the json's category flip_pairs ([]: none)."
            )
        keys = cfg.INPUT.LANDMARK
        if is_train and any((keys.ROTATION, keys.SCALE, keys.SHIFT)):
            # What the network's padding is, too: 0 after normalisation.
            fill = round(float(np.mean(cfg.MODEL.PIXEL_MEAN)))
            found["augmentations"].append(RandomAffine(keys.ROTATION, keys.SCALE, keys.SHIFT, fill))
        return found

    def to_instances(self, record: dict, transforms: T.TransformList, image_shape: tuple[int, int]) -> Instances:
        """``gt_landmarks`` (1, K, 3): x, y in pixels of the image, and v; all 0 where a landmark is not in it.

        With structures also ``gt_structures`` (1, S, H, W) uint8: 1 inside, 0 outside, 255 where nobody has said it.

        Raises:
            ValueError: not one annotation with landmarks, another number of structures, or a mirrored image without
                ``flip``. One line.
        """
        annotations = record.get("annotations", [])
        if len(annotations) != 1 or "landmarks" not in annotations[0]:
            raise ValueError(
                f"{record['file_name']}: its record has no landmarks, or more than one set; name a landmark set in "
                "DATASETS.TRAIN."
            )
        points = np.array(annotations[0]["landmarks"], float).reshape(-1, 3)
        points[:, :2] = transforms.apply_coords(points[:, :2].copy())
        if sum(isinstance(one, HFlipTransform | VFlipTransform) for one in transforms.transforms) % 2:
            if self.flip is None:
                raise ValueError(f"{record['file_name']}: mirrored, but nothing says which landmarks that exchanges.")
            points = points[self.flip]
        height, width = image_shape
        seen = [v > 0 and is_inside(x, y, width, height) for x, y, v in points]
        points[~np.array(seen)] = 0.0
        instances = Instances(image_shape)
        instances.gt_landmarks = torch.from_numpy(points.astype(np.float32))[None]
        if self.structures:
            polygons = annotations[0].get("structures")
            if polygons is not None and len(polygons) != self.structures:
                raise ValueError(
                    f"{record['file_name']}: its record has {len(polygons)} structures, MODEL.LANDMARK.NUM_STRUCTURES "
                    f"is {self.structures}; give both the same number."
                )
            masks = _masks(polygons, self.structures, transforms, image_shape)
            instances.gt_structures = torch.from_numpy(masks)[None]
        return instances


def _masks(
    structures: Sequence[Sequence[Sequence[float]]] | None,
    count: int,
    transforms: T.TransformList,
    image_shape: tuple[int, int],
) -> np.ndarray:
    """(S, H, W) uint8 of the polygons of each structure; UNKNOWN everywhere if there are none."""
    masks = np.full((count, *image_shape), UNKNOWN if structures is None else 0, np.uint8)
    for mask, polygons in zip(masks, structures or (), strict=False):
        outlines = [transforms.apply_coords(np.array(one, float).reshape(-1, 2)) for one in polygons]
        # OpenCV's integer coordinates are pixel middles, here with SHIFT binary places.
        corners = [np.rint((one - 0.5) * 2**SHIFT).astype(np.int32) for one in outlines]
        for one in corners:
            cv2.fillPoly(mask, [one], 1, shift=SHIFT)
    return masks


def flip_order(names: Sequence[str]) -> tuple[int, ...] | None:
    """The number of the landmark that each becomes in a mirrored image, for data sets that are trained on.

    Returns:
        None unless all that are known say it, and say the same.
    """
    known = [MetadataCatalog.get(name) for name in names if name in DatasetCatalog]
    orders = {_order(one.get("keypoint_names"), one.get("keypoint_flip_map")) for one in known}
    return orders.pop() if len(orders) == 1 else None


def _order(names: Sequence[str] | None, pairs: Sequence[tuple[str, str]] | None) -> tuple[int, ...] | None:
    if names is None or pairs is None:
        return None
    partners = {one: other for pair in pairs for one, other in (pair, pair[::-1])}
    return tuple(names.index(partners.get(name, name)) for name in names)

"""Deterministic transforms, and augmentations: policies that look at an image and draw a transform.

Random numbers come from numpy's global generator, in upstream's order.
"""
# ruff: noqa: F403, F405

import inspect
import sys
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.transforms.transform import *  # as upstream: Transform, TransformList, HFlipTransform, ...
from PIL import Image


class ResizeTransform(ScaleTransform):
    """Resize from (h, w) to (new_h, new_w): with Pillow for uint8; for other types bilinearly, with torch."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """``img``: (h, w) or (h, w, C)."""
        assert img.shape[:2] == (self.h, self.w), f"Expected an image of {(self.h, self.w)}, not {img.shape[:2]}"
        if img.dtype == np.uint8:
            squeezed = img[..., 0] if img.shape[2:] == (1,) else img
            interp = Image.BILINEAR if self.interp is None else self.interp
            resized = np.asarray(Image.fromarray(squeezed).resize((self.new_w, self.new_h), interp))
        else:
            maps = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(img))).permute(2, 0, 1)[None]
            maps = F.interpolate(maps, (self.new_h, self.new_w), mode="bilinear", align_corners=False)
            resized = maps[0].permute(1, 2, 0).numpy()
        return resized.reshape(self.new_h, self.new_w, *img.shape[2:])


class AugInput:
    """What is augmented together: ``image`` (H, W) or (H, W, C), uint8 or float, and ``boxes`` (N, 4) XYXY."""

    def __init__(self, image: np.ndarray, *, boxes: np.ndarray | None = None):
        assert isinstance(image, np.ndarray) and image.ndim in (2, 3), "An image is an array of 2 or 3 dimensions"
        self.image, self.boxes = image, boxes

    def transform(self, tfm: Transform) -> None:
        """Apply ``tfm`` to everything, in place."""
        self.image = tfm.apply_image(self.image)
        self.boxes = None if self.boxes is None else tfm.apply_box(self.boxes)


class Augmentation:
    """Base class. ``get_transform`` draws a transform; its parameters name what it needs; a single one is the image."""

    def get_transform(self, *args) -> Transform:
        raise NotImplementedError

    def __call__(self, aug_input: AugInput) -> Transform:
        """Augment ``aug_input`` in place, and return the transform that did it."""
        names = tuple(inspect.signature(self.get_transform).parameters)
        tfm = self.get_transform(*(getattr(aug_input, n) for n in (names if len(names) > 1 else ("image",))))
        aug_input.transform(tfm)
        return tfm

    def _init(self, params: dict) -> None:
        """Keep a constructor's ``locals()`` as attributes."""
        self.__dict__.update({k: v for k, v in params.items() if k != "self" and not k.startswith("_")})


class AugmentationList(Augmentation):
    """Augmentations and transforms one after the other; each sees what the ones before it made."""

    def __init__(self, augs: Sequence[Augmentation | Transform]):
        self.augs = list(augs)

    def __call__(self, aug_input: AugInput) -> TransformList:
        applied = []
        for aug in self.augs:
            if isinstance(aug, Transform):
                aug_input.transform(aug)
            applied.append(aug if isinstance(aug, Transform) else aug(aug_input))
        return TransformList(applied)


class RandomFlip(Augmentation):
    """Flip with probability ``prob``, in one direction."""

    def __init__(self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False):
        if horizontal == vertical:
            raise ValueError("RandomFlip flips either horizontally or vertically; use two for both")
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        if np.random.uniform() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(image.shape[1]) if self.horizontal else VFlipTransform(image.shape[0])


class ResizeShortestEdge(Augmentation):
    """Bring the shorter side to a drawn length, keeping the proportions, unless the longer one would pass ``max_size``.

    ``short_edge_length``: one length, [least, greatest] for the style "range", or lengths to pick from for "choice".
    """

    def __init__(self, short_edge_length, max_size=sys.maxsize, sample_style="range", interp=Image.BILINEAR):
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        if sample_style not in ("range", "choice") or (sample_style == "range" and len(short_edge_length) != 2):
            raise ValueError(f"Lengths {short_edge_length} cannot be sampled as '{sample_style}'")
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        if self.sample_style == "range":
            size = np.random.randint(self.short_edge_length[0], self.short_edge_length[1] + 1)
        else:
            size = np.random.choice(self.short_edge_length)
        if size == 0:
            return NoOpTransform()
        old_size = image.shape[:2]
        return ResizeTransform(*old_size, *self.get_output_shape(*old_size, int(size), self.max_size), self.interp)

    @staticmethod
    def get_output_shape(oldh: int, oldw: int, short_edge_length: int, max_size: int) -> tuple[int, int]:
        """(height, width) after resizing; its roundings are upstream's, one for each of the two limits."""
        scale = float(short_edge_length) / min(oldh, oldw)
        shorter, longer = float(short_edge_length), scale * max(oldh, oldw)
        if longer > max_size:
            scale = max_size / longer
            shorter, longer = shorter * scale, longer * scale
        height, width = (shorter, longer) if oldh < oldw else (longer, shorter)
        return int(height + 0.5), int(width + 0.5)


class RandomContrast(Augmentation):
    """Scale the distance to the image's mean by a factor in [intensity_min, intensity_max]."""

    def __init__(self, intensity_min: float, intensity_max: float):
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> Transform:
        factor = np.random.uniform(self.intensity_min, self.intensity_max)
        return BlendTransform(src_image=self._anchor(image), src_weight=1 - factor, dst_weight=factor)

    def _anchor(self, image: np.ndarray) -> float:
        return image.mean()


class RandomBrightness(RandomContrast):
    """Scale the image by a factor in [intensity_min, intensity_max]."""

    def _anchor(self, image: np.ndarray) -> float:
        return 0.0

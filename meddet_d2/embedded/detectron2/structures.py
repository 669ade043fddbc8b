"""Boxes, the instances of an image, and batches of images. N, M: numbers of boxes; coordinates are pixels."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image


class BoxMode(IntEnum):
    """What the four numbers of a box are. The values are upstream's; data sets store them."""

    XYXY_ABS, XYWH_ABS, XYXY_REL, XYWH_REL, XYWHA_ABS = range(5)

    @staticmethod
    def convert(box, from_mode: "BoxMode", to_mode: "BoxMode"):
        """Convert one box (a list or tuple of 4) or many (an array or tensor of (..., 4)); the type is kept.

        A list with fractions goes through float32, as upstream: other bits would train another network.
        """
        if from_mode == to_mode:
            return box
        if {from_mode, to_mode} != {BoxMode.XYXY_ABS, BoxMode.XYWH_ABS}:
            raise NotImplementedError(f"No conversion from {from_mode!r} to {to_mode!r}")
        is_single = isinstance(box, list | tuple)
        moved = torch.tensor(box) if is_single else box.clone() if isinstance(box, Tensor) else np.array(box)
        moved[..., 2:] += (1 if to_mode == BoxMode.XYXY_ABS else -1) * moved[..., :2]
        return type(box)(moved.tolist()) if is_single else moved


class Boxes:
    """N boxes as a float32 tensor of shape (N, 4): x1, y1, x2, y2."""

    def __init__(self, tensor: Tensor | np.ndarray | Sequence):
        tensor = torch.as_tensor(tensor, dtype=torch.float32)
        self.tensor = tensor.reshape(-1, 4) if tensor.numel() == 0 else tensor
        assert self.tensor.dim() == 2 and self.tensor.shape[1] == 4, f"Boxes of shape {tuple(tensor.shape)}"

    def clone(self) -> "Boxes":
        return Boxes(self.tensor.clone())

    def to(self, device: torch.device | str) -> "Boxes":
        return Boxes(self.tensor.to(device=device))

    @property
    def device(self) -> torch.device:
        return self.tensor.device

    def clip(self, box_size: tuple[int, int]) -> None:
        """Limit the boxes to an image of ``box_size`` (height, width), in place."""
        assert torch.isfinite(self.tensor).all(), "A box to be clipped is infinite or NaN"
        self.tensor = clip_boxes_to_image(self.tensor, box_size)

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """(N,) bool: both sides are longer than ``threshold``."""
        return ((self.tensor[:, 2:] - self.tensor[:, :2]) > threshold).all(dim=1)

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiply the coordinates, in place."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    def __getitem__(self, item) -> "Boxes":
        """The boxes selected by an int (one box), a slice, a bool mask or indices."""
        return Boxes(self.tensor[item].reshape(-1, 4) if isinstance(item, int) else self.tensor[item])

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __repr__(self) -> str:
        return f"Boxes({self.tensor})"


class Instances:
    """Fields (``gt_boxes``, ``scores``, ...) of equal length for the instances of an image of (height, width).

    A field is set and read as an attribute; names that start with ``_`` are not fields. Indexing with a slice, a mask
    or indices selects in every field.
    """

    def __init__(self, image_size: tuple[int, int], **fields: Any):
        self._image_size = image_size
        self._fields: dict[str, Any] = {}
        for name, value in fields.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        return self._image_size

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        # `_fields` itself is missing while pickle or copy rebuild the object.
        if name == "_fields" or name not in self._fields:
            raise AttributeError(f"These Instances have no field '{name}'")
        return self._fields[name]

    def set(self, name: str, value: Any) -> None:
        assert not self._fields or len(self) == len(value), f"{len(value)} x '{name}' for {len(self)} instances"
        self._fields[name] = value

    def has(self, name: str) -> bool:
        return name in self._fields

    def get(self, name: str) -> Any:
        return self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> "Instances":
        """A copy with every field moved that can be."""
        moved = {k: v.to(*args, **kwargs) if hasattr(v, "to") else v for k, v in self._fields.items()}
        return Instances(self._image_size, **moved)

    def __getitem__(self, item) -> "Instances":
        if type(item) is int:
            if not -len(self) <= item < len(self):
                raise IndexError(f"Instance {item} of {len(self)}")
            item = slice(item, None, len(self))
        return Instances(self._image_size, **{name: value[item] for name, value in self._fields.items()})

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Instances without a field have no length")

    def __repr__(self) -> str:
        return f"Instances(image_size={self._image_size}, fields={self._fields})"


class ImageList:
    """N images in one ``tensor`` (N, C, H, W), padded on the right and at the bottom; ``image_sizes``: N x (h, w)."""

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]):
        self.tensor, self.image_sizes = tensor, image_sizes

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, index: int) -> Tensor:
        """Image ``index`` (C, h, w) without its padding."""
        height, width = self.image_sizes[index]
        return self.tensor[index, ..., :height, :width]

    @staticmethod
    def from_tensors(tensors: Sequence[Tensor], size_divisibility: int = 0, pad_value: float = 0.0) -> "ImageList":
        """Batch images (C, h, w) to the least H and W that hold all and are multiples of ``size_divisibility``."""
        sizes, divisor = [tuple(image.shape[-2:]) for image in tensors], max(size_divisibility, 1)
        padded = [-(-max(sides) // divisor) * divisor for sides in zip(*sizes, strict=True)]
        batch = tensors[0].new_full((len(tensors), *tensors[0].shape[:-2], *padded), pad_value)
        for image, place in zip(tensors, batch, strict=True):
            place[..., : image.shape[-2], : image.shape[-1]].copy_(image)
        return ImageList(batch, sizes)

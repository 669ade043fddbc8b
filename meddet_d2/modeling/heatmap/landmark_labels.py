"""The annotated landmarks of a batch as tensors of one shape, checked where they come from.

Shape legend:
    N: images; K: landmarks; S: structures; H, W: height and width of the padded batch
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..image_batch import check_annotated, name_of
from .auxiliary_tasks import UNKNOWN

# How far outside of its image, in pixels, an annotated landmark may lie by rounding.
_SLACK = 0.5


@dataclass(frozen=True)
class LandmarkTruth:
    """Landmarks of N images.

    Attributes:
        points: (N, K, 2) float32 as x, y in pixels of the network's input; 0 where there is none.
        present: (N, K) bool, which of them are annotated, visible or not.
        image_sizes: of each image, (H, W) in pixels without padding.
        structures: (N, S, H, W) uint8 masks, see :func:`structure_errors`, or None.
    """

    points: Tensor
    present: Tensor
    image_sizes: tuple[tuple[int, int], ...]
    structures: Tensor | None = None

    @classmethod
    def of(
        cls, batched_inputs: list[dict[str, Any]], num_keypoints: int, num_structures: int, device: torch.device | str
    ) -> "LandmarkTruth":
        """Put together what is annotated, where it is, and copy it to ``device`` without waiting for it.

        Args:
            batched_inputs: of each of N >= 1 images "image" and "instances", with ``gt_landmarks`` (1, K, 3), or
                (0, K, 3) if nothing is annotated: x, y in pixels and v, 0 where there is no landmark. With structures
                also ``gt_structures`` (1, S, height, width) uint8.
            num_keypoints: K.
            num_structures: S; 0: none are read.
            device: where the tensors are wanted.

        Raises:
            ValueError: no annotation, several in one image, another number of landmarks or structures, or a landmark
                that lies outside of its image or nowhere.
        """
        check_annotated(batched_inputs)
        for inputs in batched_inputs:
            _check_shape(inputs, num_keypoints)
        annotated = [inputs["instances"].gt_landmarks for inputs in batched_inputs]
        empty = annotated[0].new_zeros(1, num_keypoints, 3)
        landmarks = torch.cat([one if len(one) else empty for one in annotated]).float()
        sizes = tuple((inputs["image"].shape[-2], inputs["image"].shape[-1]) for inputs in batched_inputs)
        points, present = landmarks[..., :2], landmarks[..., 2] > 0
        limits = torch.tensor([[width, height] for height, width in sizes], device=points.device)[:, None] + _SLACK
        good = ((points >= -_SLACK) & (points <= limits)).all(dim=2) | ~present
        if not good.all():
            _refuse(batched_inputs, good.tolist())
        points = torch.where(present[..., None], points, 0.0)
        masks = _structures(batched_inputs, num_structures) if num_structures else None
        moved = [x.to(device, non_blocking=True) for x in (points, present)]
        return cls(moved[0], moved[1], sizes, None if masks is None else masks.to(device, non_blocking=True))

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, images: slice) -> "LandmarkTruth":
        """The landmarks of some of the images."""
        structures = None if self.structures is None else self.structures[images]
        return LandmarkTruth(self.points[images], self.present[images], self.image_sizes[images], structures)


def _check_shape(inputs: dict[str, Any], num_keypoints: int) -> None:
    instances = inputs["instances"]
    if not instances.has("gt_landmarks"):
        raise ValueError(
            f"{name_of(inputs)}: its annotation has no landmarks; name a data set of landmarks in DATASETS.TRAIN"
        )
    shape = tuple(instances.gt_landmarks.shape)
    if len(shape) != 3 or shape[0] > 1 or shape[2] != 3:
        raise ValueError(f"{name_of(inputs)}: landmarks of shape {shape}; an image has one set of landmarks, (1, K, 3)")
    if shape[1] != num_keypoints:
        raise ValueError(
            f"{name_of(inputs)}: {shape[1]} landmarks, but the network has {num_keypoints}; set "
            "MODEL.LANDMARK.NUM_KEYPOINTS to the data set's number, or leave it 0"
        )


def _refuse(batched_inputs: list[dict[str, Any]], good: Sequence[Sequence[bool]]) -> None:
    inputs, index = next((x, row.index(False)) for x, row in zip(batched_inputs, good, strict=True) if not all(row))
    x, y = (round(value, 1) for value in inputs["instances"].gt_landmarks[0, index, :2].tolist())
    height, width = inputs["image"].shape[-2:]
    raise ValueError(
        f"{name_of(inputs)}: landmark {index + 1} is at ({x}, {y}), outside of the image of {width} x {height} pixels; "
        "correct it in the json, or mark it as not there (v = 0)"
    )


def _structures(batched_inputs: list[dict[str, Any]], number: int) -> Tensor:
    """(N, S, H, W) uint8 on the padded images, not known in the padding."""
    for inputs in batched_inputs:
        size = (1, number, *inputs["image"].shape[-2:])
        has = inputs["instances"].has("gt_structures")
        found = tuple(inputs["instances"].gt_structures.shape) if has else None
        if found != size:
            said = "no masks" if found is None else f"masks of shape {found}"
            raise ValueError(
                f"{name_of(inputs)}: {said} where MODEL.LANDMARK.TASKS has structure; give gt_structures of shape "
                f"{size}, {UNKNOWN} where they are not known, or take structure out"
            )
    masks = [inputs["instances"].gt_structures[0] for inputs in batched_inputs]
    height, width = (max(sides) for sides in zip(*(mask.shape[-2:] for mask in masks), strict=True))
    for index, mask in enumerate(masks):
        if mask.shape[-2:] != (height, width):
            margins = (0, width - mask.shape[-1], 0, height - mask.shape[-2])
            masks[index] = torch.nn.functional.pad(mask, margins, value=UNKNOWN)
    return torch.stack(masks)

"""The annotated objects of a batch as tensors of one shape, so that nothing later loops over images.

Shape legend:
    N: images; G: the most objects of one image, at least 1
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detectron2.structures import Instances


@dataclass(frozen=True)
class GroundTruth:
    """Objects of N images; images with fewer than G have places that hold none.

    Attributes:
        boxes: (N, G, 4) float32, x0, y0, x1, y1 in pixels; 0 where there is no object.
        classes: (N, G) int64; 0 where there is no object.
        present: (N, G) bool, where there is one.
        image_sizes: of each image, (H, W) in pixels without padding.
    """

    boxes: Tensor
    classes: Tensor
    present: Tensor
    image_sizes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, instances: Sequence[Instances], device: torch.device | str) -> "GroundTruth":
        """Put together what is annotated, where it is, and copy it to ``device`` without waiting for it.

        Args:
            instances: of each of N >= 1 images, ``gt_boxes`` and ``gt_classes``, of any number.
            device: where the tensors are wanted.
        """
        counts = [len(one) for one in instances]
        most = max([1, *counts])
        # One row more than there are objects, which all empty places show.
        place, first = [], 0
        for count in counts:
            place.append([*range(first, first + count), *[sum(counts)] * (most - count)])
            first += count
        boxes = [one.gt_boxes.tensor for one in instances]
        rows = torch.tensor(place, device=boxes[0].device)
        flat = torch.cat([*boxes, boxes[0].new_zeros(1, 4)]).float()[rows]
        classes = torch.cat([*(one.gt_classes for one in instances), rows.new_zeros(1)])[rows]
        on_device = [x.to(device, non_blocking=True) for x in (flat, classes, rows < sum(counts))]
        sizes = tuple((one.image_size[0], one.image_size[1]) for one in instances)
        return cls(on_device[0], on_device[1], on_device[2], sizes)

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, images: slice) -> "GroundTruth":
        """The objects of some of the images."""
        return GroundTruth(self.boxes[images], self.classes[images], self.present[images], self.image_sizes[images])

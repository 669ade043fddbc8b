"""What a network found in one image, one class for each `Task.result`: from a graph's outputs and from torch's."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, ClassVar, Protocol

import numpy as np


class Found(Protocol):
    """What is the same for all results."""

    # What it is called in a list of several.
    RESULT: ClassVar[str]

    @classmethod
    def from_graph(cls, outputs: Mapping[str, np.ndarray], index: int, size: np.ndarray, scale: np.ndarray) -> "Found":
        """One image of a batch.

        Args:
            outputs: of an exported graph, by name.
            index: of the image.
            size: (2,) float32, width and height of the image as it was given.
            scale: (2,) float32, pixels of it that are one of the graph's, along x and y.
        """

    @classmethod
    def from_instances(cls, instances: Any) -> "Found":
        """Detectron2's Instances on the CPU, in pixels of the image as it was given."""

    def difference(self, other: Any) -> str:
        """How far another finding of the same image is from this one, as the end of a sentence."""


@dataclass(frozen=True)
class Detections:
    """Boxes, best first.

    Attributes:
        boxes: (D, 4) float32, x0, y0, x1, y1 in pixels of the given image.
        scores: (D,) float32 in (0, 1), falling.
        classes: (D,) int64, indices into the card's classes.
    """

    RESULT: ClassVar[str] = "boxes"
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    @classmethod
    def from_graph(
        cls, outputs: Mapping[str, np.ndarray], index: int, size: np.ndarray, scale: np.ndarray
    ) -> "Detections":
        kept = slice(0, int(outputs["count"][index]))
        boxes = np.clip(outputs["boxes"][index, kept] * np.tile(scale, 2), 0, np.tile(size, 2))
        return cls(boxes, outputs["scores"][index, kept], outputs["classes"][index, kept])

    @classmethod
    def from_instances(cls, instances: Any) -> "Detections":
        return cls(instances.pred_boxes.tensor.numpy(), instances.scores.numpy(), instances.pred_classes.numpy())

    def difference(self, other: Any) -> str:
        pairs = zip_longest(self.scores.tolist(), other.scores.tolist(), fillvalue=0.0)
        return f"scores differ by at most {max((abs(a - b) for a, b in pairs), default=0.0):.1e}"


@dataclass(frozen=True)
class Landmarks:
    """One set of landmarks: every one has a place, however low its score.

    Attributes:
        points: (K, 3) float32, of each landmark x and y in pixels of the given image, in which the middle of the first
            is (0.5, 0.5), and the score: its heat map's value there, near 1 where the network is sure and near 0 where
            it sees nothing.
    """

    RESULT: ClassVar[str] = "landmarks"
    points: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    @property
    def scores(self) -> np.ndarray:
        """(K,) float32."""
        return self.points[:, 2]

    @classmethod
    def from_graph(
        cls, outputs: Mapping[str, np.ndarray], index: int, size: np.ndarray, scale: np.ndarray
    ) -> "Landmarks":
        points = np.clip(outputs["points"][index] * scale, 0, size)
        return cls(np.concatenate([points, outputs["scores"][index, :, None]], axis=1))

    @classmethod
    def from_instances(cls, instances: Any) -> "Landmarks":
        return cls(instances.pred_keypoints[0].numpy())

    def difference(self, other: Any) -> str:
        apart = np.abs(self.points - other.points).max(axis=0)
        return f"landmarks differ by at most {apart[:2].max():.1e} pixels and scores by {apart[2]:.1e}"


# By what the card of an exported network calls its result, and its task.
FOUND: dict[str, type[Found]] = {kind.RESULT: kind for kind in (Detections, Landmarks)}

"""Boxes by GFL: one head with a classification and a localisation tower on the levels of an FPN.

Shapes in this module: N images, L locations of all levels, C classes, R reg_max, G objects of an image.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from meddet_d2.config.class_names import class_names
from meddet_d2.modeling.gfl.anchors import join_levels, sizes_of
from meddet_d2.modeling.gfl.ground_truth import GroundTruth

from .one_picture import OnePicture
from .task import TASK_REGISTRY, LevelShape, Observation, task_of

# What must agree, by its key and by the attribute that holds it.
_AGREED = {
    "MODEL.GFL.NUM_CLASSES": "num_classes",
    "MODEL.GFL.REG_MAX": "reg_max",
    "MODEL.GFL.IN_FEATURES": "in_features",
    "the strides of MODEL.GFL.IN_FEATURES": "strides",
}


@TASK_REGISTRY.register()
class BoxesGFL(OnePicture):
    """The task of the meta-architecture "GFL"; see :class:`Task`. A student and a teacher see the same picture."""

    architectures = ("GFL",)
    result = "boxes"
    parts = {"bottom_up": "backbone.bottom_up", "fpn": "backbone", "head": "head"}
    losses = ("loss_qfl", "loss_dfl", "loss_giou")

    def observe(
        self,
        network: Any,
        inputs: list[dict],
        levels: int | None = None,
        *,
        targets: Sequence[Any] | None = None,
        together: bool = True,
    ) -> Observation:
        features = network.extract_features(network.preprocess_image(inputs))
        if targets is None:
            return Observation(features[:levels])
        outputs: list[Any] = []
        with network.head.register_forward_hook(lambda module, seen, output: outputs.append(output)):
            losses = network.detection_losses(features, targets, together=together)
        return Observation(features[:levels], outputs[-1], losses)

    def head_outputs(self, network: Any, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return network.head(features)

    def head_losses(self, network: Any, features: list[Tensor], targets: Sequence[Any]) -> dict[str, Tensor]:
        return network.detection_losses(features, targets)

    def raw_outputs(self, network: Any, images: Tensor) -> tuple[Tensor, ...]:
        """Of each level the class logits (N, C, H, W), then of each the distance logits (N, 4 * (R + 1), H, W)."""
        features = network.backbone(images)
        cls_logits, box_logits = network.head([features[name] for name in network.in_features])
        return (*cls_logits, *box_logits)

    def shapes(self, network: Any) -> list[LevelShape]:
        shapes = network.backbone.output_shape()
        return [LevelShape(shapes[name].channels, shapes[name].stride) for name in network.in_features]

    def names(self, cfg: Any) -> Sequence[str] | None:
        return class_names(cfg)

    def drop_auxiliary(self, network: Any) -> None:
        pass  # GFL has no such part

    def compatible(self, student: Any, teacher: Any) -> str | None:
        """A student may leave out the teacher's coarsest levels."""
        if type(task_of(teacher)) is not type(self):
            return f"MODEL.META_ARCHITECTURE is {type(teacher).__name__} there and {type(student).__name__}"
        for key, attribute in _AGREED.items():
            theirs, ours = (_plain(getattr(network, attribute)) for network in (teacher, student))
            if (theirs[: len(ours)] if isinstance(ours, tuple) else theirs) != ours:
                return f"{key} is {theirs} there and {ours}"
        return None


class HeadOutputs(NamedTuple):
    """A head's output on all levels, in the order of the anchors, at least in single precision."""

    cls_logits: Tensor  # (N, L, C)
    box_logits: Tensor  # (N, L, 4 * (R + 1)), in the order left, top, right, bottom

    @classmethod
    def join(cls, levels: tuple[list[Tensor], list[Tensor]]) -> "HeadOutputs":
        """From what a ``GFLHead`` returns: maps of class logits and of distance logits, one of each for a level."""
        cls_logits, box_logits = levels
        return cls(join_levels(cls_logits), join_levels(box_logits))


class Regions(NamedTuple):
    """Where an image says something about its objects' places."""

    positive: Tensor  # (N, L) bool, the locations that ATSS trains to find an object
    valuable: Tensor  # (N, L) in [0, 1], the IoU with the object in the region around them, 0 elsewhere


@torch.no_grad()
def localization_regions(detector: Any, features: Sequence[Tensor], targets: GroundTruth, ratio: float) -> Regions:
    """Where the detector's own anchors and assigner put positives, and the valuable region around them; no padding.

    Args:
        detector: a ``GFL``, with the anchors and the assigner.
        features: of each level, (N, channels, H, W); only the sizes count.
        targets: the objects of the N images.
        ratio: where the region begins, see :meth:`ATSSAssigner.valuable_region`.
    """
    anchors = detector.anchors(sizes_of(features))
    valid = anchors.filled_by(targets.image_sizes)
    positive = detector.assigner(anchors, valid, targets).mark(len(anchors.centers))
    return Regions(positive, detector.assigner.valuable_region(anchors, valid, targets, ratio))


def _plain(value: Any) -> Any:
    """Lists and tuples compare equal."""
    return tuple(value) if isinstance(value, list | tuple) else value

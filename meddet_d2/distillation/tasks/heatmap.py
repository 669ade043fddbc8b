"""Landmarks by heat maps: a decoder's map and its pyramid, or the maps of stacked hourglasses.

Shapes in this module: N images, C channels, K landmarks, h, w the size of a heat map.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from meddet_d2.config.class_names import NUM_KEYPOINTS, keypoint_names
from meddet_d2.modeling.heatmap.gaussian_targets import STRIDE
from meddet_d2.modeling.heatmap.hourglass import StackHead, even_stacks

from .one_picture import OnePicture
from .task import TASK_REGISTRY, LevelShape, Observation, task_of

_DATA = "DISTILL.TEACHERS.INHERIT (with DATASETS) or DATASETS.TRAIN"


@TASK_REGISTRY.register()
class Heatmap(OnePicture):
    """The task of the meta-architecture "LandmarkDetector"; see :class:`Task`. All networks see the same picture.

    ``Observation.outputs`` are the heat maps (N, K, h, w), one or several; the last is the prediction.

    Of hourglasses, so many maps as are wanted are those at equal parts of the depth: a student's stack s of 4 stands
    beside its teacher's stack 2 s of 8, and the last beside the last.
    """

    architectures = ("LandmarkDetector",)
    result = "landmarks"
    parts = {"bottom_up": "backbone.bottom_up", "backbone": "backbone", "decoder": "decoder", "head": "head"}
    # What all such networks have in common; a teacher's other tasks have losses of theirs.
    losses = ("loss_heatmap",)

    def observe(
        self,
        network: Any,
        inputs: list[dict],
        levels: int | None = None,
        *,
        targets: Any = None,
        together: bool = True,
    ) -> Observation:
        features = network.extract_features(network.preprocess_image(inputs))
        shown = [features[index] for index in _chosen(network, len(features), levels)]
        if targets is None:
            return Observation(shown)
        heatmaps = network.head(features)
        return Observation(shown, heatmaps, network.losses(features, heatmaps, targets, together=together))

    def head_outputs(self, network: Any, features: list[Tensor]) -> list[Tensor]:
        return network.head(features)

    def head_losses(self, network: Any, features: list[Tensor], targets: Any) -> dict[str, Tensor]:
        return network.losses(features, network.head(features), targets)

    def raw_outputs(self, network: Any, images: Tensor) -> tuple[Tensor, ...]:
        """The heat maps of the prediction alone."""
        return (network.network(images),)

    def shapes(self, network: Any) -> list[LevelShape]:
        shapes = network.backbone.output_shape()
        given = [LevelShape(shapes[name].channels, shapes[name].stride) for name in network.in_features]
        merged = [] if isinstance(network.head, StackHead) else [LevelShape(network.decoder.channels, STRIDE)]
        return merged + given

    def names(self, cfg: Any) -> Sequence[str] | None:
        return keypoint_names(cfg)

    def drop_auxiliary(self, network: Any) -> None:
        network.drop_auxiliary()

    def compatible(self, student: Any, teacher: Any) -> str | None:
        """A student may have fewer of the pyramid's coarsest levels than its teacher, or fewer stacks."""
        if type(task_of(teacher)) is not type(self):
            return f"MODEL.META_ARCHITECTURE is {type(teacher).__name__} there and {type(student).__name__}"
        if teacher.num_keypoints != student.num_keypoints:
            return f"{NUM_KEYPOINTS} is {teacher.num_keypoints} there and {student.num_keypoints}"
        theirs, ours = teacher.keypoint_names, student.keypoint_names
        if theirs and ours and theirs != ours:
            place = next(index for index, (a, b) in enumerate(zip(theirs, ours, strict=True)) if a != b)
            return f"landmark {place + 1} ({_DATA}) is {theirs[place]!r} there and {ours[place]!r}"
        theirs, ours = (tuple(shape.stride for shape in self.shapes(network)) for network in (teacher, student))
        if theirs[: len(ours)] != ours:
            return f"the maps (MODEL.BACKBONE.NAME, MODEL.LANDMARK.IN_FEATURES) have strides {theirs} there and {ours}"
        return None


def _chosen(network: Any, number: int, levels: int | None) -> Sequence[int]:
    """Which of so many maps a network shows when ``levels`` are wanted."""
    if levels is None or levels >= number:
        return range(number)
    return even_stacks(number, levels) if isinstance(network.head, StackHead) else range(levels)

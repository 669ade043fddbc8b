"""The meta-architecture "LandmarkDetector": one set of landmarks in an image, each the peak of a heat map.

Shape legend:
    N: images; K: landmarks; S: structures
    h, w: height and width of a heat map in cells of 4 x 4 pixels
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.structures import Boxes, ImageList, Instances

from ...config.arguments import arguments, require, require_choice
from ...config.class_names import keypoint_count, keypoint_names
from ..image_batch import batch_images, inside, output_sizes
from .gaussian_targets import STRIDE, cells_of, to_pixels
from .heatmap_head import HeatmapHead, PyramidDecoder
from .hourglass import Hourglass, StackHead
from .landmark_criterion import LandmarkCriterion
from .landmark_labels import LandmarkTruth
from .peaks import DECODINGS, decode_maps

# What it can learn; the first is its task proper, the others help a teacher and are left out afterwards.
TASKS = ("heatmap", "offset", "structure")


@META_ARCH_REGISTRY.register()
class LandmarkDetector(nn.Module):
    """Backbone, what merges its maps, a head of heat maps, and the points in them.

    The parts are public, because distillation uses them apart, as GFL's. ``extract_features`` gives, of an FPN, the
    merged map of stride 4 and then the pyramid, and of hourglasses each stack's map.

    An image's padding takes no part in its losses and points. Only its maps do, where they see the padding.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    # The beginnings of the names of weights that training alone needs. A network without them takes a file with them.
    training_only = ("auxiliary.",)

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        in_features: Sequence[str],
        decoder: nn.Module,
        head: HeatmapHead | StackHead,
        criterion: LandmarkCriterion,
        channels: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        keypoint_names: Sequence[str] | None = None,
        tasks: Sequence[str] = ("heatmap",),
        num_structures: int = 0,
        decoding: str = "dark",
    ) -> None:
        """
        Args:
            backbone: makes the maps.
            in_features: the backbone's outputs that are used, the finest first.
            decoder: from these to the network's maps.
            head: from the network's maps to heat maps.
            criterion: makes losses of what they say.
            channels: of the map that the prediction is made of.
            pixel_mean, pixel_std: of each channel, to normalise images with.
            keypoint_names: the K landmarks', where they are known.
            tasks: of ``TASKS``, "heatmap" among them.
            num_structures: S, for the task "structure".
            decoding: in ``DECODINGS``.

        Raises:
            ValueError: for an argument outside its range; the message names the config key.
        """
        super().__init__()
        require_choice("MODEL.LANDMARK.DECODING", decoding, DECODINGS)
        tasks = tuple(tasks)
        known = set(tasks) <= set(TASKS) and "heatmap" in tasks
        require(known, "MODEL.LANDMARK.TASKS", tasks, f"some of {', '.join(TASKS)}, heatmap among them")
        needs = num_structures >= 1 or "structure" not in tasks
        require(needs, "MODEL.LANDMARK.NUM_STRUCTURES", num_structures, "at least 1 for the task structure")
        self.backbone, self.decoder, self.head, self.criterion = backbone, decoder, head, criterion
        self.in_features = tuple(in_features)
        shapes = backbone.output_shape()
        self.strides = tuple(shapes[name].stride for name in self.in_features)
        self.num_keypoints = head.num_keypoints
        self.keypoint_names = None if keypoint_names is None else tuple(keypoint_names)
        self.num_structures = num_structures if "structure" in tasks else 0
        outputs = {"offset": 2 * self.num_keypoints, "structure": num_structures}
        self.auxiliary = nn.ModuleDict(
            {task: nn.Conv2d(channels, outputs[task], 1) for task in tasks if task in outputs}
        )
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.decoding = decoding
        # As the images of a batch are: a convolution would copy its weights into that order each time.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone, number = build_backbone(cfg), keypoint_count(cfg)
        shapes = backbone.output_shape()
        # A coarser map than images are padded to has no whole number of cells, and cannot be merged with a finer one.
        padded = backbone.size_divisibility or max(shape.stride for shape in shapes.values())
        usable = tuple(name for name, shape in shapes.items() if shape.stride <= padded)
        in_features = tuple(cfg.MODEL.LANDMARK.IN_FEATURES) or usable
        if not set(in_features) <= set(usable):
            raise ValueError(f"MODEL.LANDMARK.IN_FEATURES {in_features}: the backbone's outputs are {sorted(usable)}")
        given = [shapes[name] for name in in_features]
        if isinstance(backbone, Hourglass):
            if in_features != tuple(shapes):
                raise ValueError(f"MODEL.LANDMARK.IN_FEATURES {in_features}: of hourglasses all serve; leave it empty")
            decoder: nn.Module = nn.Identity()
            head: HeatmapHead | StackHead = StackHead(backbone.scores, number)
            channels = given[-1].channels
        else:
            channels = cfg.MODEL.LANDMARK.CHANNELS
            decoder = PyramidDecoder([shape.channels for shape in given], [shape.stride for shape in given], channels)
            head = HeatmapHead(channels, number)
        return {
            **arguments(LandmarkDetector, cfg.MODEL.LANDMARK),
            "backbone": backbone,
            "in_features": in_features,
            "decoder": decoder,
            "head": head,
            "criterion": LandmarkCriterion(**arguments(LandmarkCriterion, cfg.MODEL.LANDMARK)),
            "channels": channels,
            "keypoint_names": keypoint_names(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Losses in training, landmarks in evaluation.

        Args:
            batched_inputs: of each image, "image", (channels, H, W) in the range of the pixel mean; in training also
                "instances", see :meth:`LandmarkTruth.of`; in evaluation "height" and "width" of the output, the
                image's own where they are missing.

        Returns:
            In training "loss_heatmap" and those of the other tasks, to be summed. In evaluation [{"instances": ...}],
            as :meth:`predict` gives them.
        """
        images = self.preprocess_image(batched_inputs)
        if self.training:
            truth = self.ground_truth(batched_inputs)
            features = self.extract_features(images)
            return self.losses(features, self.head(features), truth)
        sizes = output_sizes(batched_inputs, images)
        found = self.decode(self.network(images.tensor), images.image_sizes, sizes)
        return [{"instances": one} for one in found]

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """The images as :func:`batch_images` normalises and pads them."""
        return batch_images(batched_inputs, self.pixel_mean, self.pixel_std, self.backbone.size_divisibility)

    def network(self, images: Tensor) -> Tensor:
        """All that runs before decoding, without a wait: a normalised batch (N, channels, H, W) -> (N, K, h, w)."""
        return self.head.last(self._maps(images))

    def extract_features(self, images: ImageList) -> list[Tensor]:
        """The network's maps, (N, channels, h_l, w_l) each; see the class."""
        return self._maps(images.tensor)

    def _maps(self, images: Tensor) -> list[Tensor]:
        features = self.backbone(images)
        return self.decoder([features[name] for name in self.in_features])

    def ground_truth(self, batched_inputs: list[dict[str, Any]]) -> LandmarkTruth:
        """The annotated landmarks, on the model's device; raises as :meth:`LandmarkTruth.of`."""
        return LandmarkTruth.of(batched_inputs, self.num_keypoints, self.num_structures, self.device)

    def drop_auxiliary(self) -> None:
        """Leave out what training alone needs."""
        self.auxiliary, self.num_structures = nn.ModuleDict(), 0

    def losses(
        self, features: list[Tensor], heatmaps: list[Tensor], truth: LandmarkTruth, *, together: bool = True
    ) -> dict[str, Tensor]:
        """What the network's training minimises.

        All outputs take part, with or without landmarks, so every parameter gets a gradient and
        DistributedDataParallel does not wait for one.

        Args:
            features: the network's maps. N may be 0.
            heatmaps: the head's, of all that the criterion is to see.
            truth: the landmarks of the N images.
            together: see :class:`LandmarkCriterion`, as for what is returned.
        """
        deepest = self.head.deepest(features) if self.auxiliary else None
        said = {task: head(deepest) for task, head in self.auxiliary.items()}
        return self.criterion(heatmaps, said, truth, together=together)

    def predict(
        self,
        features: list[Tensor],
        image_sizes: Sequence[tuple[int, int]],
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Instances]:
        """Landmarks on these maps of the network; see :meth:`decode`."""
        return self.decode(self.head.last(features), image_sizes, output_sizes)

    @torch.no_grad()
    def decode(
        self,
        maps: Tensor,
        image_sizes: Sequence[tuple[int, int]],
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Instances]:
        """Landmarks in these heat maps. The host waits for the device once, at the end.

        Args:
            maps: (N, K, h, w).
            image_sizes: of each image, height and width in pixels without padding.
            output_sizes: of each image, the height and width that its points are scaled to; None: ``image_sizes``.

        Returns:
            Of each image, Instances of length 1 with ``pred_keypoints`` (1, K, 3): x, y in pixels of the output, within
            it, and the score, the heat map's value at its peak; ``scores`` (1,), their mean; ``pred_classes`` 0;
            ``pred_boxes``, the points' hull and a pixel around it, without which Detectron2 cannot scale or draw them.

        Raises:
            FloatingPointError: if a heat map is NaN.
        """
        valid = inside(cells_of(image_sizes, STRIDE), maps.shape[-2], maps.shape[-1], self.device)
        cells, scores = decode_maps(maps, valid, self.decoding, self.criterion.sigma)
        output_sizes = output_sizes or image_sizes
        numbers = [[*size, *output] for size, output in zip(image_sizes, output_sizes, strict=True)]
        sizes = torch.tensor(numbers, dtype=cells.dtype).view(-1, 1, 4).to(self.device, non_blocking=True)  # (N, 1, 4)
        size, output = sizes[..., :2].flip(-1), sizes[..., 2:].flip(-1)
        points = to_pixels(cells, STRIDE).clamp(min=0).minimum(size) * (output / size)
        keypoints = torch.cat([points, scores[..., None]], dim=2)
        # One point's hull would be empty, and Detectron2 drops an empty box with all that belongs to it.
        hulls = torch.cat([points.amin(dim=1) - 1, points.amax(dim=1) + 1], dim=1)
        means, classes = scores.mean(dim=1), torch.zeros(len(scores), dtype=torch.int64, device=self.device)
        if scores.isnan().any():
            raise FloatingPointError("the network predicts NaN: look for NaN in its checkpoint, or in the image itself")
        found = []
        for index, output_size in enumerate(output_sizes):
            one = Instances(tuple(output_size))
            this = slice(index, index + 1)
            one.pred_keypoints, one.scores, one.pred_classes = keypoints[this], means[this], classes[this]
            one.pred_boxes = Boxes(hulls[this])
            found.append(one)
        return found

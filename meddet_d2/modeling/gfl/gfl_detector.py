"""The meta-architecture "GFL": a one-stage detector trained by Generalized Focal Loss (Li et al., NeurIPS 2020).

Shape legend:
    N: images; C: classes; G: objects of an image
    H_l, W_l: size of level l; L: locations of all levels, the sum of H_l * W_l
    R: reg_max; S: places of ATSS's candidates in an image
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.structures import ImageList, Instances

from ...config.arguments import arguments, require
from ..boxes import boxes_to_distances, concentric_giou_loss, concentric_iou
from ..processes import count_processes, sum_over_processes
from .anchors import AnchorPyramid, Sizes, anchor_pyramid, join_levels, sizes_of
from .assigner import ATSSAssigner
from .decoding import decode_detections
from .gfl_head import GFLHead, Integral
from .gfl_losses import check_simplex, distribution_focal_loss, quality_focal_loss
from .ground_truth import GroundTruth

# How close to R a target of the DFL may come, in strides (as in GFL's own code).
_TARGET_MARGIN = 0.1


@META_ARCH_REGISTRY.register()
class GFL(nn.Module):
    """Backbone with FPN, GFL head, ATSS targets, the losses of MedDet's equation 12, and decoding.

    The parts are public, because distillation uses them apart: a teacher's ``extract_features`` alone, and its
    ``detection_losses`` on feature maps that are not its own.

    An image's padding takes no part in its targets, losses and detections, as with mmdetection's valid flags: they do
    not depend on the sizes of the batch's other images. Only its feature maps do, where they see the padding.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: GFLHead,
        in_features: tuple[str, ...],
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        assigner: ATSSAssigner,
        anchor_scale: float = 8,
        anchor_offset: float = 0.0,
        loss_lambda: float = 4 / 13,
        loss_mu: float = 1 / 13,
        loss_gain: float = 3.25,
        qfl_beta: float = 2.0,
        score_thresh: float = 0.05,
        topk_candidates: int = 1000,
        nms_thresh: float = 0.6,
        nms_across_classes: bool = False,
        max_detections: int = 100,
    ) -> None:
        """
        Args:
            backbone: makes the pyramid.
            head: predicts on it.
            in_features: the backbone's outputs that the head sees, finest first.
            pixel_mean, pixel_std: of each channel, to normalise images with.
            assigner: chooses the positive locations of each object.
            anchor_scale: side of the anchor in strides.
            anchor_offset: place of the anchor's centre in its cell, in [0, 1).
            loss_lambda, loss_mu: weights of QFL and DFL; GIoU has the rest of 1.
            loss_gain: factor on all three.
            qfl_beta: exponent of QFL.
            score_thresh, topk_candidates, nms_thresh, nms_across_classes, max_detections: see
                :func:`decode_detections`.

        Raises:
            ValueError: for an argument outside its range; the message names the config key.
        """
        super().__init__()
        check_simplex(loss_lambda, loss_mu, "MODEL.GFL.LOSS_LAMBDA", "MODEL.GFL.LOSS_MU")
        require(loss_gain > 0, "MODEL.GFL.LOSS_GAIN", loss_gain, "above 0")
        require(anchor_scale > 0, "MODEL.GFL.ANCHOR_SCALE", anchor_scale, "above 0")
        self.backbone = backbone
        self.head = head
        self.integral = Integral(head.reg_max)
        self.num_classes = head.num_classes
        self.reg_max = head.reg_max
        self.in_features = tuple(in_features)
        shapes = backbone.output_shape()
        self.strides = tuple(shapes[name].stride for name in self.in_features)
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.assigner = assigner
        self.anchor_scale = anchor_scale
        self.anchor_offset = anchor_offset
        rest = max(1 - loss_lambda - loss_mu, 0.0)
        self.loss_weights = {
            "loss_qfl": loss_gain * loss_lambda,
            "loss_dfl": loss_gain * loss_mu,
            "loss_giou": loss_gain * rest,
        }
        self.qfl_beta = qfl_beta
        self.score_thresh = score_thresh
        self.topk_candidates = topk_candidates
        self.nms_thresh = nms_thresh
        self.nms_across_classes = nms_across_classes
        self.max_detections = max_detections

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        in_features = cfg.MODEL.GFL.IN_FEATURES
        missing = [name for name in in_features if name not in shapes]
        if missing or not in_features:
            raise ValueError(f"MODEL.GFL.IN_FEATURES {in_features}: the backbone's outputs are {sorted(shapes)}")
        return {
            **arguments(GFL, cfg.MODEL.GFL),
            "backbone": backbone,
            "head": GFLHead(cfg, [shapes[name] for name in in_features]),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "assigner": ATSSAssigner(cfg.MODEL.GFL.ATSS_TOPK),
            "score_thresh": cfg.MODEL.GFL.SCORE_THRESH_TEST,
            "topk_candidates": cfg.MODEL.GFL.TOPK_CANDIDATES_TEST,
            "nms_thresh": cfg.MODEL.GFL.NMS_THRESH_TEST,
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Losses in training, detections in evaluation.

        Args:
            batched_inputs: of each image, "image", (channels, H, W) in the range of the pixel mean; in training also
                "instances" with ``gt_boxes`` and ``gt_classes`` (of no length for a healthy image); in evaluation
                "height" and "width" of the output, the image's own where they are missing.

        Returns:
            In training "loss_qfl", "loss_dfl" and "loss_giou", to be summed. In evaluation [{"instances": ...}], with
            ``pred_boxes`` in pixels of the output, ``scores`` and ``pred_classes``.
        """
        images = self.preprocess_image(batched_inputs)
        if self.training:
            gt_instances = self.ground_truth(batched_inputs)
            return self.detection_losses(self.extract_features(images), gt_instances)
        outputs = [
            (inputs.get("height", size[0]), inputs.get("width", size[1]))
            for inputs, size in zip(batched_inputs, images.image_sizes, strict=True)
        ]
        detections = self.decode(self.network(images.tensor), images.image_sizes, outputs)
        return [{"instances": found} for found in detections]

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalise the images and pad them, with the mean, to one size that the backbone can halve to the end.

        It is the size of the largest, or of "padded_size", (H, W), where the inputs have that.

        Raises:
            ValueError: if an image has not the channels of MODEL.PIXEL_MEAN.
        """
        images = [inputs["image"] for inputs in batched_inputs]
        for inputs, image in zip(batched_inputs, images, strict=True):
            if len(image) != len(self.pixel_mean):
                raise ValueError(
                    f"{_name(inputs)}: {len(image)} channels, but MODEL.PIXEL_MEAN has {len(self.pixel_mean)} values; "
                    "make INPUT.FORMAT and MODEL.PIXEL_MEAN agree"
                )
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        wanted = batched_inputs[0].get("padded_size", (0, 0))
        multiple = max(self.backbone.size_divisibility, 1)
        height, width = (-(-max(sides) // multiple) * multiple for sides in zip(wanted, *sizes, strict=True))
        shape, source = (len(images), len(self.pixel_mean), height, width), images[0]
        # From pinned memory the copy to a GPU goes on while the host does.
        pinned = self.device.type == "cuda" and source.device.type == "cpu" and torch.cuda.is_available()
        batch = torch.zeros(shape, dtype=source.dtype, device=source.device, pin_memory=pinned)
        if set(sizes) == {(height, width)}:
            torch.stack(images, out=batch)
        else:
            for place, image, size in zip(batch, images, sizes, strict=True):
                place[:, : size[0], : size[1]] = image
        # As they were read: a copy of a quarter of the bytes. Convolutions keep this memory layout to the end. It makes
        # them 20 to 40 % faster on CPUs.
        batch = batch.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        batch = (batch - self.pixel_mean) / self.pixel_std
        if set(sizes) != {(height, width)}:
            batch = torch.where(_inside(sizes, height, width, self.device), batch, 0.0)
        return ImageList(batch, sizes)

    def network(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Backbone, FPN and head, which run without a wait: a normalised batch (N, channels, H, W) -> the head's
        output."""
        features = self.backbone(images)
        return self.head([features[name] for name in self.in_features])

    def extract_features(self, images: ImageList) -> list[Tensor]:
        """The pyramid: of each level, (N, channels, H_l, W_l)."""
        features = self.backbone(images.tensor)
        return [features[name] for name in self.in_features]

    def ground_truth(self, batched_inputs: list[dict[str, Any]]) -> GroundTruth:
        """The annotated objects, on the model's device; checked where they come from.

        Raises:
            ValueError: if an image has no annotation at all or that of another size, or an object of a class the head
                does not know.
        """
        for inputs in batched_inputs:
            if "instances" not in inputs:
                raise ValueError(f"{_name(inputs)}: no 'instances' to train with; use a training data loader")
            size, annotated = tuple(inputs["image"].shape[-2:]), tuple(inputs["instances"].image_size)
            if size != annotated:
                raise ValueError(f"{_name(inputs)}: the image is of size {size} and its 'instances' of {annotated}")
        instances = [inputs["instances"] for inputs in batched_inputs]
        classes = torch.cat([one.gt_classes for one in instances])
        # Class C would pass for background, and a higher one end in an index error deep inside.
        if ((classes < 0) | (classes >= self.num_classes)).any():
            inputs = next(x for x in batched_inputs if not _are_classes(x["instances"].gt_classes, self.num_classes))
            raise ValueError(
                f"{_name(inputs)}: classes {sorted(set(inputs['instances'].gt_classes.tolist()))}, but "
                f"MODEL.GFL.NUM_CLASSES is {self.num_classes}; set it to the data set's number of classes"
            )
        return GroundTruth.of(instances, self.device)

    def detection_losses(self, features: list[Tensor], gt: GroundTruth, *, together: bool = True) -> dict[str, Tensor]:
        """MedDet's equation 12 on these maps: ``gain * (lambda QFL + mu DFL + (1 - lambda - mu) GIoU)``.

        All outputs of the head take part, with or without objects, so every parameter gets a gradient and
        DistributedDataParallel does not wait for one.

        Args:
            features: of each level, or of the first few, (N, channels, H_l, W_l). N may be 0.
            gt: the objects of the N images.
            together: the images are this process's part of a batch: the losses' mean over the processes is then that
                batch's, and every process must call. False: the images are the whole batch.

        Returns:
            "loss_qfl", "loss_dfl" and "loss_giou": scalars with their weights applied. One of them is NaN if a
            prediction is.
        """
        cls_logits, box_logits = self.head(features)
        cls_logits, box_logits = join_levels(cls_logits), join_levels(box_logits)  # (N, L, C), (N, L, 4 * (R + 1))
        # Under autocast, QFL's sum over all locations is single precision's.
        cls_logits = cls_logits.to(torch.promote_types(cls_logits.dtype, torch.float32))
        anchors = self.anchors(sizes_of(features))
        valid = anchors.filled_by(gt.image_sizes)
        with torch.no_grad():
            location, owner, positive = self.assigner(anchors, valid, gt)  # (N, S) each
            gt_boxes = gt.boxes.gather(1, owner[..., None].expand(-1, -1, 4))
            gt_distances = boxes_to_distances(anchors.centers[location], gt_boxes) / anchors.strides[location]
            # What is not positive counts nothing; its numbers only must be such that the losses have a gradient.
            gt_distances = torch.where(positive[..., None], gt_distances, 1.0)
        box_of_place = box_logits.gather(1, location[..., None].expand(-1, -1, box_logits.shape[2]))
        distances = self.integral(box_of_place)  # (N, S, 4) in strides
        with torch.no_grad():
            # A box counts as much as its location is scored: what will not be detected need not be localised.
            scores = cls_logits.sigmoid()
            weight = scores.amax(dim=2).gather(1, location) * positive
            quality = concentric_iou(distances, gt_distances) * positive
            target = torch.zeros_like(scores).flatten(1)
            label = location * self.num_classes + gt.classes.gather(1, owner)
            target = target.scatter_reduce_(1, label, quality, "amax").view_as(scores)
        num_positive, total_weight = self._totals(positive, weight, together)

        qfl = quality_focal_loss(cls_logits, target, valid, self.qfl_beta)
        dfl_target = gt_distances.clamp(min=0, max=self.reg_max - _TARGET_MARGIN)
        dfl = distribution_focal_loss(box_of_place, dfl_target, weight)
        # Both boxes are seen from their location, in strides, where the GIoU is the same.
        giou = (concentric_giou_loss(distances, gt_distances) * weight).sum()
        losses = {"loss_qfl": qfl / num_positive, "loss_dfl": dfl / total_weight, "loss_giou": giou / total_weight}
        return {name: self.loss_weights[name] * loss for name, loss in losses.items()}

    def predict(
        self,
        features: list[Tensor],
        image_sizes: Sequence[tuple[int, int]],
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Instances]:
        """Detections on these maps.

        Args:
            features: of each level, (N, channels, H_l, W_l).
            image_sizes, output_sizes: see :meth:`decode`.
        """
        return self.decode(self.head(features), image_sizes, output_sizes)

    def decode(
        self,
        outputs: tuple[list[Tensor], list[Tensor]],
        image_sizes: Sequence[tuple[int, int]],
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Instances]:
        """Detections in what the head said; see :func:`decode_detections`.

        Args:
            outputs: of each level the class logits (N, C, H_l, W_l) and the distance logits (N, 4 * (R + 1), H_l, W_l).
            image_sizes: of each image, height and width without padding.
            output_sizes: of each image, the height and width that its boxes are scaled to; None: ``image_sizes``.
        """
        cls_logits, box_logits = outputs
        anchors = self.anchors(sizes_of(cls_logits))
        return decode_detections(
            join_levels(cls_logits),
            join_levels(box_logits),
            pyramid=anchors,
            valid=anchors.filled_by(image_sizes),
            integral=self.integral,
            image_sizes=image_sizes,
            output_sizes=output_sizes or image_sizes,
            score_thresh=self.score_thresh,
            topk=self.topk_candidates,
            nms_thresh=self.nms_thresh,
            nms_across_classes=self.nms_across_classes,
            max_detections=self.max_detections,
        )

    def anchors(self, sizes: Sizes) -> AnchorPyramid:
        """The anchors on maps of these sizes."""
        strides = self.strides[: len(sizes)]
        return anchor_pyramid(sizes, strides, self.anchor_scale, self.anchor_offset, self.device)

    @staticmethod
    @torch.no_grad()
    def _totals(positive: Tensor, weight: Tensor, together: bool) -> Tensor:
        """What the losses are divided by: (2,).

        The number of positives, at least one an image, and their summed weight, each at least 1. With several processes
        they are the whole batch's, divided by the number of processes, because DistributedDataParallel takes the mean
        of their gradients.
        """
        totals = torch.stack([positive.sum(dim=1).clamp(min=1).sum().to(weight), weight.sum()])
        processes = count_processes() if together else 1
        if processes > 1:
            totals = sum_over_processes(totals)
        return totals.clamp(min=1) / processes


def _inside(sizes: Sequence[tuple[int, int]], height: int, width: int, device: torch.device) -> Tensor:
    """(N, 1, height, width) bool: the pixels of images of these (H, W); the others are padding."""
    sides = torch.tensor(sizes).to(device, non_blocking=True)
    rows, columns = (torch.arange(side, device=device) < sides[:, i, None] for i, side in enumerate((height, width)))
    return (rows[:, :, None] & columns[:, None])[:, None]


def _are_classes(classes: Tensor, number: int) -> bool:
    return bool(((classes >= 0) & (classes < number)).all())


def _name(inputs: dict[str, Any]) -> str:
    return str(inputs.get("file_name", f"image {inputs.get('image_id', '(without a name)')}"))

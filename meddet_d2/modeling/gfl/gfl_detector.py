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
from ...hardware.processes import count_processes, sum_over_processes
from ..boxes import boxes_to_distances, concentric_giou_loss, concentric_iou
from ..image_batch import batch_images, check_annotated, name_of, output_sizes
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
        # As the images of a batch are: a convolution would copy its weights into that order each time.
        self.to(memory_format=torch.channels_last)

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
        sizes = output_sizes(batched_inputs, images)
        detections = self.decode(self.network(images.tensor), images.image_sizes, sizes)
        return [{"instances": found} for found in detections]

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """The images as :func:`batch_images` normalises and pads them."""
        return batch_images(batched_inputs, self.pixel_mean, self.pixel_std, self.backbone.size_divisibility)

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
        check_annotated(batched_inputs)
        instances = [inputs["instances"] for inputs in batched_inputs]
        classes = torch.cat([one.gt_classes for one in instances])
        # Class C would pass for background, and a higher one end in an index error deep inside.
        if ((classes < 0) | (classes >= self.num_classes)).any():
            inputs = next(x for x in batched_inputs if not _are_classes(x["instances"].gt_classes, self.num_classes))
            raise ValueError(
                f"{name_of(inputs)}: classes {sorted(set(inputs['instances'].gt_classes.tolist()))}, but "
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


def _are_classes(classes: Tensor, number: int) -> bool:
    return bool(((classes >= 0) & (classes < number)).all())

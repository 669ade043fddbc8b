"""The meta-architecture "GFL": a one-stage detector trained by Generalized Focal Loss (Li et al., NeurIPS 2020).

Shape legend:
    N: images; C: classes; G: objects of an image
    H_l, W_l: size of level l; L: locations of all levels, the sum of H_l * W_l
    R: reg_max; M: positive locations of the batch
"""

from typing import Any

import torch
from fvcore.nn import giou_loss
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import ImageList, Instances

from ...config.arguments import arguments, require
from ..boxes import boxes_to_distances, concentric_iou
from ..processes import count_processes, sum_over_processes
from .anchors import AnchorPyramid, Sizes, anchor_pyramid, cells_of_image, join_levels, sizes_of
from .assigner import ATSSAssigner
from .decoding import decode_detections
from .gfl_head import GFLHead, Integral
from .gfl_losses import check_simplex, distribution_focal_loss, quality_focal_loss

# How close to R a target of the DFL may come, in strides (as in GFL's own code).
_TARGET_MARGIN = 0.1


@META_ARCH_REGISTRY.register()
class GFL(nn.Module):
    """Backbone with FPN, GFL head, ATSS targets, the losses of MedDet's equation 12, and decoding.

    The parts are public, because distillation uses them apart: a teacher's ``extract_features`` alone, and its
    ``detection_losses`` on feature maps that are not its own.

    An image's padding takes no part in its targets, losses and detections, as with mmdetection's valid flags: they do
    not depend on the sizes of the images beside it. Only its feature maps do, where they see the padding.
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
        detections = self.predict(self.extract_features(images), images.image_sizes)
        return [
            {"instances": detector_postprocess(found, inputs.get("height", size[0]), inputs.get("width", size[1]))}
            for found, inputs, size in zip(detections, batched_inputs, images.image_sizes, strict=True)
        ]

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalise the images and pad them, with the mean, to one size that the backbone can halve to the end.

        It is the size of the largest, or of "padded_size", (H, W), where the inputs have that.

        Raises:
            ValueError: if an image has not the channels of MODEL.PIXEL_MEAN.
        """
        images = []
        for inputs in batched_inputs:
            image = inputs["image"].to(self.device)
            if len(image) != len(self.pixel_mean):
                raise ValueError(
                    f"{_name(inputs)}: {len(image)} channels, but MODEL.PIXEL_MEAN has {len(self.pixel_mean)} values; "
                    "make INPUT.FORMAT and MODEL.PIXEL_MEAN agree"
                )
            images.append((image - self.pixel_mean) / self.pixel_std)
        batch = ImageList.from_tensors(images, self.backbone.size_divisibility)
        if "padded_size" in batched_inputs[0]:
            batch.tensor = _pad(batch.tensor, batched_inputs[0]["padded_size"], self.backbone.size_divisibility)
        # Convolutions keep this memory layout to the end; on CPUs it makes them 20 to 40 % faster.
        batch.tensor = batch.tensor.contiguous(memory_format=torch.channels_last)
        return batch

    def extract_features(self, images: ImageList) -> list[Tensor]:
        """The pyramid: of each level, (N, channels, H_l, W_l)."""
        features = self.backbone(images.tensor)
        return [features[name] for name in self.in_features]

    def ground_truth(self, batched_inputs: list[dict[str, Any]]) -> list[Instances]:
        """The annotated objects, on the model's device.

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
            classes = inputs["instances"].gt_classes
            # Class C would pass for background, and a higher one end in an index error deep inside.
            if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) < self.num_classes:
                raise ValueError(
                    f"{_name(inputs)}: classes {sorted(set(classes.tolist()))}, but MODEL.GFL.NUM_CLASSES is "
                    f"{self.num_classes}; set it to the data set's number of classes"
                )
        return [inputs["instances"].to(self.device) for inputs in batched_inputs]

    def detection_losses(
        self, features: list[Tensor], gt_instances: list[Instances], *, together: bool = True
    ) -> dict[str, Tensor]:
        """MedDet's equation 12 on these maps: ``gain * (lambda QFL + mu DFL + (1 - lambda - mu) GIoU)``.

        All outputs of the head take part, with or without objects, so every parameter gets a gradient and
        DistributedDataParallel does not wait for one.

        Args:
            features: of each level, or of the first few, (N, channels, H_l, W_l). N may be 0.
            gt_instances: of each image, ``gt_boxes`` in pixels and ``gt_classes``, and its size without padding.
            together: the images are this process's part of a batch: the losses' mean over the processes is then that
                batch's, and every process must call. False: the images are the whole batch.

        Returns:
            "loss_qfl", "loss_dfl" and "loss_giou": scalars with their weights applied.

        Raises:
            FloatingPointError: if a predicted distance is NaN.
        """
        cls_logits, box_logits = self.head(features)
        cls_logits, box_logits = join_levels(cls_logits), join_levels(box_logits)  # (N, L, C), (N, L, 4 * (R + 1))
        # Under autocast, QFL's sum over all locations is single precision's.
        cls_logits = cls_logits.to(torch.promote_types(cls_logits.dtype, torch.float32))
        labels, gt_distances = self._targets(sizes_of(features), gt_instances)  # (N, L), (N, L, 4)

        positive = labels < self.num_classes
        positive_logits = box_logits[positive]  # (M, 4 * (R + 1))
        distances, gt_distances = self.integral(positive_logits), gt_distances[positive]  # (M, 4) in strides
        # A box counts as much as its location is scored: what will not be detected need not be localised.
        weight = cls_logits[positive].detach().sigmoid().amax(dim=1)
        num_positive, total_weight, num_nan = self._totals(positive, weight, distances, together)
        if num_nan > 0:
            raise FloatingPointError("the head predicts NaN distances: lower SOLVER.BASE_LR or lengthen the warm-up")
        quality = cls_logits.new_zeros(labels.shape)
        quality[positive] = concentric_iou(distances.detach(), gt_distances)

        qfl = quality_focal_loss(cls_logits.flatten(0, 1), labels.flatten(), quality.flatten(), self.qfl_beta)
        dfl_target = gt_distances.clamp(min=0, max=self.reg_max - _TARGET_MARGIN)
        dfl = distribution_focal_loss(positive_logits, dfl_target, weight)
        # Both boxes are seen from their location, in strides, where the GIoU is the same.
        giou = (giou_loss(_around_zero(distances), _around_zero(gt_distances)) * weight).sum()
        losses = {"loss_qfl": qfl / num_positive, "loss_dfl": dfl / total_weight, "loss_giou": giou / total_weight}
        return {name: self.loss_weights[name] * loss for name, loss in losses.items()}

    def predict(self, features: list[Tensor], image_sizes: list[tuple[int, int]]) -> list[Instances]:
        """Detections on these maps, in pixels of the network's input.

        Args:
            features: of each level, (N, channels, H_l, W_l).
            image_sizes: of each image, height and width without padding.
        """
        cls_logits, box_logits = self.head(features)
        sizes = sizes_of(features)
        detections = []
        joined = zip(join_levels(cls_logits), join_levels(box_logits), image_sizes, strict=True)
        for *logits, image_size in joined:
            own = self.anchors(sizes, image_size)
            found = decode_detections(
                *(own.crop(of_image, sizes) for of_image in logits),
                pyramid=own,
                integral=self.integral,
                image_size=image_size,
                score_thresh=self.score_thresh,
                topk=self.topk_candidates,
                nms_thresh=self.nms_thresh,
                nms_across_classes=self.nms_across_classes,
                max_detections=self.max_detections,
            )
            detections.append(found)
        return detections

    def anchors(self, sizes: Sizes, image_size: tuple[int, int] | None = None) -> AnchorPyramid:
        """The anchors on maps of these sizes; with ``image_size``, (H, W) in pixels, those of its padding left out."""
        strides = self.strides[: len(sizes)]
        if image_size is not None:
            sizes = cells_of_image(image_size, sizes, strides)
        return anchor_pyramid(sizes, strides, self.anchor_scale, self.anchor_offset, self.device)

    @torch.no_grad()
    def _targets(self, sizes: Sizes, gt_instances: list[Instances]) -> tuple[Tensor, Tensor]:
        """Labels (N, L), with C for background and C + 1 for padding, and distances to the sides in strides (N, L, 4).

        N may be 0: a process whose images are none of those that teach a fusion.
        """
        everywhere = self.anchors(sizes)
        labels = [torch.zeros(0, len(everywhere.centers), dtype=torch.long, device=self.device)]
        distances = [everywhere.centers.new_zeros(0, len(everywhere.centers), 4)]
        for instances in gt_instances:
            own = self.anchors(sizes, instances.image_size)
            boxes, classes = instances.gt_boxes.tensor.to(own.centers), instances.gt_classes.long()
            # Index -1, the background, and -2, the padding, meet the rows appended at the end.
            assigned = own.spread(self.assigner(own.boxes, boxes), sizes, fill=-2)
            others = classes.new_tensor([self.num_classes + 1, self.num_classes])
            labels.append(torch.cat([classes, others])[assigned][None])
            box_of_location = torch.cat([boxes, boxes.new_zeros(2, 4)])[assigned]
            distances.append((boxes_to_distances(everywhere.centers, box_of_location) / everywhere.strides)[None])
        return torch.cat(labels), torch.cat(distances)

    @staticmethod
    @torch.no_grad()
    def _totals(positive: Tensor, weight: Tensor, distances: Tensor, together: bool) -> Tensor:
        """What the losses are divided by, and the number of NaN distances: (3,).

        The first two are the number of positives, at least one an image, and their summed weight, each at least 1. With
        several processes they are the whole batch's, divided by the number of processes, because
        DistributedDataParallel takes the mean of their gradients. NaN on one process is to stop all.
        """
        count = positive.sum(dim=1).clamp(min=1).sum()
        totals = torch.stack([count.to(weight), weight.sum(), distances.isnan().sum().to(weight)])
        processes = count_processes() if together else 1
        if processes > 1:
            totals = sum_over_processes(totals)
        totals[:2] = totals[:2].clamp(min=1) / processes
        return totals


def _pad(images: Tensor, size: tuple[int, int], multiple: int) -> Tensor:
    """Images (N, C, H, W) with zeros at the right and below, up to a size and then to a multiple."""
    height, width = (-(-side // max(multiple, 1)) * max(multiple, 1) for side in size)
    return F.pad(images, (0, width - images.shape[-1], 0, height - images.shape[-2]))


def _around_zero(distances: Tensor) -> Tensor:
    return torch.cat([-distances[:, :2], distances[:, 2:]], dim=1)


def _name(inputs: dict[str, Any]) -> str:
    return str(inputs.get("file_name", f"image {inputs.get('image_id', '(without a name)')}"))

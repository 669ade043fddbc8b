"""Annotated boxes of images, as the detector and distillation read them."""

import torch

from detectron2.structures import Boxes, Instances
from meddet_d2.modeling.gfl.ground_truth import GroundTruth


def truth_of(*images, size=(64, 64)):
    """``truth_of([box, box], [])``: the boxes (x0, y0, x1, y1) of each image, all of class 0."""
    instances = []
    for boxes in images:
        tensor = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        labels = torch.zeros(len(tensor), dtype=torch.int64)
        instances.append(Instances(size, gt_boxes=Boxes(tensor), gt_classes=labels))
    return GroundTruth.of(instances, "cpu")

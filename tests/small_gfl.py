"""A GFL detector without an FPN, pictures of boxes, and a head that says what it was made with."""

import torch
from tiny_runs import default_cfg
from torch import nn

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from detectron2.structures import Boxes, Instances

LEVELS = ("p3", "p4", "p5", "p6", "p7")
STRIDES = (8, 16, 32, 64, 128)


@BACKBONE_REGISTRY.register()
class GFLTestPyramid(Backbone):
    """Seven strided convolutions; no FPN, but its outputs."""

    def __init__(self, cfg, input_shape):
        super().__init__()
        channels = 32
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(input_shape.channels if i == 0 else channels, channels, 3, stride=2, padding=1),
                nn.GroupNorm(4, channels),
                nn.ReLU(),
            )
            for i in range(7)
        )

    def forward(self, x):
        outputs = {}
        for index, layer in enumerate(self.layers, start=1):
            x = layer(x)
            if index >= 3:
                outputs[f"p{index}"] = x
        return outputs

    def output_shape(self):
        return {name: ShapeSpec(channels=32, stride=s) for name, s in zip(LEVELS, STRIDES, strict=True)}

    @property
    def size_divisibility(self):
        return 32


def config(**gfl_keys):
    cfg = default_cfg()
    cfg.MODEL.META_ARCHITECTURE = "GFL"
    cfg.MODEL.BACKBONE.NAME = "GFLTestPyramid"
    cfg.MODEL.PIXEL_MEAN = [100.0, 110.0, 120.0]
    cfg.MODEL.PIXEL_STD = [50.0, 60.0, 70.0]
    gfl_keys = {"CHANNELS": 32, "NUM_CONVS": 1, "TOWER_INIT": "he", "ATSS_TOPK": 9, **gfl_keys}
    for key, value in gfl_keys.items():
        setattr(cfg.MODEL.GFL, key, value)
    return cfg


def detector(**gfl_keys):
    torch.manual_seed(0)
    return build_model(config(**gfl_keys))


def objects(boxes, classes, size=(64, 64)):
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    return instances


def picture(boxes=(), classes=(), size=(64, 64), seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 40, (3, *size), generator=generator, dtype=torch.uint8)
    for (x0, y0, x1, y1), label in zip(boxes, classes, strict=True):
        image[:, int(y0) : int(y1), int(x0) : int(x1)] += 60 + 120 * label
    instances = objects(list(boxes), list(classes), size)
    return {"image": image, "height": size[0], "width": size[1], "file_name": "a.png", "instances": instances}


BATCH_BOXES = [
    [[3.0, 5.0, 44.0, 24.0], [20.5, 30.0, 60.0, 52.0], [10.0, 28.0, 14.0, 33.0]],
    [[8.5, 8.0, 55.0, 60.0]],
]


def batch():
    return [picture(BATCH_BOXES[0], [0, 1, 0]), picture(BATCH_BOXES[1], [1], seed=1)]


class FixedHead(nn.Module):
    """Returns what it was made with."""

    def __init__(self, cls_logits, box_logits):
        super().__init__()
        self.outputs = cls_logits, box_logits

    def forward(self, features):
        return self.outputs

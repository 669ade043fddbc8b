"""Small backbones of each library, by the arguments of BottomUp."""

from torch import nn

SMALL = {"library": "timm", "name": "resnet10t"}
RESNET = {"library": "torchvision", "name": "resnet50"}
MOBILENET = {"library": "torchvision", "name": "mobilenet_v2"}
EFFICIENTNET = {"library": "torchvision", "name": "efficientnet_b0"}
SHUFFLENET = {"library": "meddet_d2", "name": "shufflenet_v1_g3"}
SHUFFLENET_V2 = {"library": "torchvision", "name": "shufflenet_v2_x1_0"}


def num_params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())

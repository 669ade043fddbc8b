"""Small landmark networks and images with landmarks: by a pyramid of convolutions, or by hourglasses."""

import small_gfl  # noqa: F401  (registers the backbone "GFLTestPyramid")
import torch
from tiny_runs import default_cfg

from detectron2.modeling import build_model
from detectron2.structures import Instances

K = 3
PYRAMID = ["MODEL.BACKBONE.NAME", "GFLTestPyramid", "MODEL.LANDMARK.IN_FEATURES", ("p3", "p4", "p5")]
HOURGLASS = ["MODEL.BACKBONE.NAME", "Hourglass", "MODEL.HOURGLASS.STACKS", 2, "MODEL.HOURGLASS.CHANNELS", 16]
ALL_TASKS = ["MODEL.LANDMARK.TASKS", ("heatmap", "offset", "structure"), "MODEL.LANDMARK.NUM_STRUCTURES", 2]


def config(*options, kind=PYRAMID):
    cfg = default_cfg()
    cfg.MODEL.META_ARCHITECTURE = "LandmarkDetector"
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ()
    cfg.merge_from_list([*kind, "MODEL.LANDMARK.CHANNELS", 16, "MODEL.LANDMARK.NUM_KEYPOINTS", K, *options])
    return cfg


def network(*options, kind=PYRAMID):
    torch.manual_seed(0)
    return build_model(config(*options, kind=kind))


def picture(size=(64, 64), landmarks=None, seed=0):
    """A random image with landmarks (x, y, v) anywhere in it, or those given, and masks of two structures."""
    generator, (height, width) = torch.Generator().manual_seed(seed), size
    if landmarks is None:
        landmarks = torch.rand(K, 3, generator=generator) * torch.tensor([width, height, 0.0])
        landmarks[:, 2] = 2
    image = torch.randint(0, 255, (3, height, width), generator=generator).to(torch.uint8)
    instances = Instances(size)
    instances.gt_landmarks = torch.as_tensor(landmarks, dtype=torch.float32).reshape(-1, K, 3)
    if len(instances):
        instances.gt_structures = torch.randint(0, 2, (1, 2, *size), generator=generator).to(torch.uint8)
    return {"image": image, "height": height, "width": width, "file_name": f"{seed}.png", "instances": instances}


def batch(count=2, size=(64, 64)):
    return [picture(size, seed=seed) for seed in range(count)]

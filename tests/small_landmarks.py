"""Small landmark networks and images with landmarks: by a pyramid of convolutions, or by hourglasses."""

import small_gfl  # noqa: F401  (registers the backbone "GFLTestPyramid")
import torch
from tiny_runs import default_cfg

from detectron2.modeling import build_model
from detectron2.structures import Instances
from meddet_d2.distillation import DistillationBatch, DistillationModel, Observation, TeacherBank, build_distiller
from meddet_d2.modeling.heatmap.landmark_criterion import LandmarkCriterion
from meddet_d2.modeling.heatmap.landmark_labels import LandmarkTruth

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


def distillation(*options, kind=PYRAMID):
    """A student under a wider teacher that was built with several tasks, in training mode."""
    cfg = config("DISTILL.PRECISION", "fp32", *options, kind=kind)
    wide = ["MODEL.LANDMARK.CHANNELS", 24, "MODEL.HOURGLASS.STACKS", 4, "MODEL.HOURGLASS.CHANNELS", 32]
    teacher = network(*wide, *ALL_TASKS, kind=kind)
    with torch.no_grad():  # what has the student's shape is not to be the same
        for parameter in teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    student, bank = network(kind=kind), TeacherBank([teacher], ["the teacher"])
    return DistillationModel(student, bank, build_distiller(cfg, student, bank)).train()


class Heads:
    """Stand for the teachers' heads: they say ``heatmaps``, and their loss is the mean of a projected map's squares."""

    def __init__(self, heatmaps):
        self.heatmaps, self.read = heatmaps, []

    def outputs(self, index):
        return [torch.zeros_like(self.heatmaps[index]), self.heatmaps[index]]

    def losses(self, index, features):
        self.read.append(features)
        return {"loss_heatmap": sum(x.square().mean() for x in features)}


CRITERION = LandmarkCriterion(reduction="mean")


def map_batch(student_channels=3, teacher_channels=(5,), *, stacks=1, progress=0.0, seed=0, loss=2.0):
    """What a step gives a method, in float64: two images of 24 x 16 pixels, of which the second has a landmark less.

    Two maps of each network and ``stacks`` heat maps of the student; the second image is 20 pixels high.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(channels, height=6, width=4):
        return torch.randn(2, channels, height, width, generator=generator, dtype=torch.float64)

    def maps(channels):
        return [draw(channels), draw(channels, 3, 2)]

    points = 16 * torch.rand(2, K, 2, generator=generator)
    present = torch.ones(2, K, dtype=torch.bool)
    present[1, 2] = False
    truth = LandmarkTruth(points, present, ((24, 16), (20, 16)))
    features = [x.requires_grad_() for x in maps(student_channels)]
    outputs = [draw(K).requires_grad_() for _ in range(stacks)]
    student = Observation(features, outputs, {"loss_heatmap": torch.tensor(loss, dtype=torch.float64)})
    teachers = [Observation(maps(channels)) for channels in teacher_channels]
    heads = Heads([draw(K) for _ in teacher_channels])
    return DistillationBatch([{}, {}], student, teachers, truth, heads, progress)


def slow_heat_loss(batch, index=0):
    """Half the mean squared error of each of the student's heat maps against the teacher's last one."""
    target, total, count = batch.heads.heatmaps[index], 0.0, 0
    for image, (height, _) in enumerate(batch.targets.image_sizes):
        for k in range(K):
            if batch.targets.present[image, k]:
                count += 1
                for heatmap in batch.student.outputs:
                    rows = (heatmap - target)[image, k, : height // 4]
                    total += 0.5 * rows.square().mean().item()
    return total / count


def slow_divergence(batch, index=0):
    """Of the last heat map's softmax over an image's own cells, from the teacher's: the mean over landmarks."""
    total, count = 0.0, 0
    for image, (height, _) in enumerate(batch.targets.image_sizes):
        for k in range(K):
            if batch.targets.present[image, k]:
                count += 1
                p, q = (
                    x[image, k, : height // 4].exp() / x[image, k, : height // 4].exp().sum()
                    for x in (batch.heads.heatmaps[index], batch.student.outputs[-1])
                )
                total += (p * (p / q).log()).sum().item()
    return total / count

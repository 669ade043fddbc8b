"""Tiny detectors with the attributes that distillation reads, so that its tests take seconds and no engine."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from box_truth import truth_of
from torch import nn
from torch.nn import functional as F

from meddet_d2.distillation import TASK_REGISTRY, DistillationBatch, Observation, TeacherBank
from meddet_d2.distillation.methods import MedDet
from meddet_d2.distillation.methods.meddet.adversarial import Discriminator
from meddet_d2.distillation.tasks import BoxesGFL

LEVELS = ("p3", "p4")


class FakeBackbone(nn.Module):
    """Two levels at strides 2 and 4, with BatchNorm, and a count of its forward passes."""

    size_divisibility = 4

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.fine = nn.Sequential(nn.Conv2d(3, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels))
        self.calls = 0

    def forward(self, image):
        self.calls += 1
        fine = self.fine(image)
        return {"p3": fine, "p4": self.coarse(fine)}

    def output_shape(self):
        return {name: SimpleNamespace(channels=self.channels, stride=2 ** (i + 1)) for i, name in enumerate(LEVELS)}


class FakeDetector(nn.Module):
    """Predicts, on each level, where the image's first channel is bright."""

    def __init__(self, channels: int):
        super().__init__()
        self.backbone = FakeBackbone(channels)
        self.head = nn.Sequential(nn.Conv2d(channels, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 1))
        self.in_features, self.strides, self.num_classes, self.reg_max = LEVELS, (2, 4), 2, 8

    @property
    def device(self):
        return next(self.parameters()).device

    def preprocess_image(self, batched_inputs):
        images = torch.stack([inputs["image"] for inputs in batched_inputs])
        height, width = batched_inputs[0].get("padded_size", images.shape[-2:])
        return SimpleNamespace(tensor=F.pad(images, (0, width - images.shape[3], 0, height - images.shape[2])))

    def extract_features(self, images):
        maps = self.backbone(images.tensor)
        return [maps[name] for name in self.in_features]

    def ground_truth(self, batched_inputs):
        return [(inputs["image"][:1] > 0.5).float() for inputs in batched_inputs]

    def detection_losses(self, features, gt_instances, *, together=True):
        targets = [F.adaptive_avg_pool2d(torch.stack(gt_instances), x.shape[-2:]) for x in features]
        losses = [F.binary_cross_entropy_with_logits(self.head(x), y) for x, y in zip(features, targets, strict=True)]
        return {"loss_a": losses[0], "loss_b": losses[1]}

    def forward(self, batched_inputs):
        features = self.extract_features(self.preprocess_image(batched_inputs))
        if self.training:
            return self.detection_losses(features, self.ground_truth(batched_inputs))
        return [{"instances": output} for output in self.head(features[0])]


@TASK_REGISTRY.register()
class FakeTask(BoxesGFL):
    architectures = ("FakeDetector",)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def detector():
    """``detector(channels)`` builds one."""
    return FakeDetector


def draw_images():
    coarse = torch.rand(4, 3, 4, 4)
    images = F.interpolate(coarse, size=(16, 16), mode="bilinear", align_corners=False)
    return [{"image": image} for image in images]


@pytest.fixture
def batch():
    """``batch()`` draws four smooth images of 16 x 16."""
    return draw_images


@pytest.fixture(scope="session")
def trained_detectors():
    torch.manual_seed(0)
    detectors = [FakeDetector(channels) for channels in (12, 8, 12)]
    for detector in detectors:
        optimizer = torch.optim.Adam(detector.parameters(), lr=1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            sum(detector(draw_images()).values()).backward()
            optimizer.step()
    return detectors


@pytest.fixture
def trained_bank(trained_detectors):
    """Three teachers (channels 12, 8, 12) that know their task."""
    return TeacherBank(deepcopy(trained_detectors), ["a", "b", "c"])


@pytest.fixture
def meddet():
    """``meddet(**changes)`` builds the method for a student of 6 channels under the teachers of ``trained_bank``."""

    def build(**changes):
        arguments = {
            "student_channels": [6, 6],
            "teacher_channels": [[12, 12], [8, 8], [12, 12]],
            "lead": 0,
            "fusion": "LWFF",
            "fusion_activation": "sigmoid",
            "fusion_start": "lead",
            "fusion_weight": 1.0,
            "fusion_share": 1.0,
            "sigma": 0.5,
            "tau": 0.3,
            "gain": 2.0,
            "level_weights": (1.0, 3.0),
            "dist_reduction": "relative",
            "dist_schedule": "constant",
            "dist_foreground": 0.0,
            "strides": (8, 16),
            "generator": "plain",
            "discriminator": Discriminator(channels=[12, 12], hidden=(16, 8)),
            "adversarial_loss": "non_saturating",
            "adversarial_warmup": 0.2,
        }
        return MedDet(**{**arguments, **changes})

    return build


@pytest.fixture
def map_batch():
    """``map_batch(student, *teachers)``: maps in float64 with these channels, two images, strides 8 and 16.

    The first image has two overlapping boxes, one of them over the edge; the second has none.
    """

    def draw(channels):
        return [torch.randn(2, channels, *size, dtype=torch.float64) for size in ((8, 6), (4, 3))]

    def build(student, /, *teachers, losses=None, **changes):
        truth = truth_of([(3.0, 10.0, 21.0, 40.0), (16.0, 24.0, 50.0, 60.0)], [])
        arguments = {
            "inputs": [{}, {}],
            "student": [x.requires_grad_() for x in draw(student)],
            "teachers": [draw(channels) for channels in teachers],
            "targets": replace(truth, boxes=truth.boxes.double()),
            "heads": None,
        }
        arguments |= changes
        # Maps alone will do, as a list for each network.
        if isinstance(arguments["student"], list):
            arguments["student"] = Observation(arguments["student"], losses=losses or {})
        arguments["teachers"] = [x if isinstance(x, Observation) else Observation(x) for x in arguments["teachers"]]
        return DistillationBatch(**arguments)

    return build

"""Tiny GFL detectors from configs and checkpoints, as a run builds them: a student, three teachers, two images."""

import torch
from tiny_runs import default_cfg

from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

TINY = """
MODEL:
  META_ARCHITECTURE: GFL
  BACKBONE: {{NAME: build_gfl_fpn_backbone, FREEZE_AT: 0}}
  BOTTOM_UP: {{NAME: mobilenet_v2, WIDTH_MULT: 0.35, PRETRAINED: False, NORM_EVAL: False}}
  FPN: {{OUT_CHANNELS: {channels}}}
  GFL: {{NUM_CONVS: 1, CHANNELS: 32, REG_MAX: {reg_max}, NUM_CLASSES: {num_classes}}}
"""


def config_writer(folder):
    """A function that writes a detector's config into a folder and returns its path."""

    def write(name, channels=32, reg_max=7, num_classes=2):
        path = folder / f"{name}.yaml"
        path.write_text(TINY.format(channels=channels, reg_max=reg_max, num_classes=num_classes))
        return str(path)

    return write


def read(path, *options):
    cfg = default_cfg()
    cfg.merge_from_file(path)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *options])
    return cfg


def settle(model):
    """Give an untrained detector's BatchNorm the statistics of some images; its maps are next to nothing without."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    model.backbone.train()(torch.randn(4, 3, 64, 64) * 60)
    return model


def student_config(folder):
    """A student of 32 FPN channels whose three teachers have checkpoints and 32, 48 and 32 channels."""
    write = config_writer(folder)
    configs = tuple(write(name, channels) for name, channels in (("a", 32), ("b", 48), ("c", 32)))
    weights = tuple(str(folder / f"{name}.pth") for name in "abc")
    for config, path in zip(configs, weights, strict=True):
        torch.save({"model": settle(build_model(read(config))).state_dict()}, path)
    return read(
        write("student"), "DISTILL.TEACHERS.CONFIGS", configs, "DISTILL.TEACHERS.WEIGHTS", weights,
        "DISTILL.MEDDET.AATM.HIDDEN", (16, 8), "DISTILL.MEDDET.AATM.WARMUP", 0.0, "DISTILL.PRECISION", "fp32",
    )  # fmt: skip


def two_images(seed=0):
    generator, batch = torch.Generator().manual_seed(seed), []
    for boxes in ([[8.0, 8.0, 40.0, 30.0], [20.0, 30.0, 60.0, 60.0]], []):
        instances = Instances((64, 64))
        instances.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
        instances.gt_classes = torch.arange(len(boxes))
        batch.append(
            {"image": torch.randint(0, 255, (3, 64, 64), generator=generator).to(torch.uint8), "instances": instances}
        )
    return batch

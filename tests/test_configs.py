"""Every yaml of configs/ is read, built and trained for one step."""

import math
from pathlib import Path

import pytest
import torch

import meddet_d2
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from meddet_d2.config import load_config
from meddet_d2.distillation import DistillationModel, TeacherBank, build_distiller
from meddet_d2.engine.optimizer import build_optimizer

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml"))


def build_without_download(path: str):
    cfg = load_config(path, ["MODEL.BOTTOM_UP.PRETRAINED", False, "MODEL.DEVICE", "cpu"])
    return cfg, build_model(cfg)


def batch() -> list[dict]:
    """An image with one disc and a healthy one, no larger than the coarsest level's stride."""
    items = []
    for index, boxes in enumerate([[[40.0, 50.0, 84.0, 70.0]], []]):
        instances = Instances((128, 128))
        instances.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
        instances.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
        image = torch.randint(0, 256, (3, 128, 128), generator=torch.Generator().manual_seed(index), dtype=torch.uint8)
        items.append({"image": image, "height": 128, "width": 128, "image_id": index, "instances": instances})
    return items


@pytest.mark.parametrize("path", CONFIGS)
def test_every_yaml_builds_and_takes_one_step(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    torch.manual_seed(0)
    cfg, model = build_without_download(path)
    if cfg.DISTILL.ENABLED:
        # Teachers as built: what they know does not matter for one step.
        detectors = [build_without_download(config)[1] for config in cfg.DISTILL.TEACHERS.CONFIGS]
        teachers = TeacherBank(detectors, cfg.DISTILL.TEACHERS.CONFIGS)
        model = DistillationModel(model, teachers, build_distiller(cfg, model, teachers))
    optimizer = build_optimizer(cfg, model)
    model.train()
    losses = model(batch())
    assert {"loss_qfl", "loss_dfl", "loss_giou"} <= set(losses)
    total = sum(losses.values())
    assert math.isfinite(total.item())
    trained = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    total.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    optimizer.step()
    moved = sum(not torch.equal(trained[name], p) for name, p in model.named_parameters() if name in trained)
    assert moved > 0.5 * len(trained)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_the_configs_of_the_issue_are_there():
    expected = {
        "Base-GFL",
        "gfl_r50",
        "gfl_r101",
        "gfl_r152",
        "gfl_mobilenetv2",
        "meddet",
        "spider_lumbar",
        "quickstart",
    }
    assert expected <= {Path(path).stem for path in CONFIGS}


def test_a_misspelt_key_is_told_with_its_neighbour(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("MODEL:\n  GFL:\n    NUM_CLASESS: 2\n")
    with pytest.raises(ValueError, match=r"wrong\.yaml.*MODEL\.GFL\.NUM_CLASSES") as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)


def test_a_broken_yaml_is_told_in_one_line(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("MODEL: [1, 2\nSEED: 3\n")
    with pytest.raises(ValueError, match=r"broken\.yaml is not valid yaml") as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)


def test_overrides_without_a_value_are_told():
    with pytest.raises(ValueError, match="SEED"):
        load_config(str(ROOT / "configs" / "meddet.yaml"), ["SEED"])


def test_teachers_configs_are_found_beside_the_students():
    cfg = load_config(str(ROOT / "configs" / "meddet.yaml"))
    assert [Path(path) for path in cfg.DISTILL.TEACHERS.CONFIGS] == [
        ROOT / "configs" / f"gfl_{name}.yaml" for name in ("r50", "r101", "r152")
    ]


def test_the_default_loss_is_gfls_own():
    cfg = load_config(str(ROOT / "configs" / "meddet.yaml")).MODEL.GFL
    weights = [cfg.LOSS_LAMBDA, cfg.LOSS_MU, 1 - cfg.LOSS_LAMBDA - cfg.LOSS_MU]
    assert [cfg.LOSS_GAIN * weight for weight in weights] == pytest.approx([1, 0.25, 2])
    distill = load_config(str(ROOT / "configs" / "meddet.yaml")).DISTILL
    assert pytest.approx(1) == distill.GAIN * distill.SIGMA, "the student's detection loss keeps its size"


def test_the_version_is_the_packages():
    assert meddet_d2.__version__.count(".") == 2

"""Training through the real trainers: what moves, what stays, what is saved and what stops a run."""

import json
from pathlib import Path

import pytest
import torch

from detectron2.modeling import build_model
from meddet_d2.engine import DistillationTrainer, MedDetTrainer, evaluate, train_detector
from meddet_d2.engine.safe_checkpointer import SafeCheckpointer


def copy(module) -> dict:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def learners(trainer) -> dict:
    model = trainer.distillation
    return {
        "student": model.student,
        "distiller": model.distiller,
        "discriminator": model.distiller.adversary.discriminator,
    }


def test_distillation_moves_the_learners_and_never_a_teacher(distil_cfg):
    trainer = DistillationTrainer(distil_cfg("DISTILL.MEDDET.AATM.WARMUP", 0.0))
    teachers = trainer.distillation.teachers.networks
    frozen = [copy(teacher) for teacher in teachers]
    before = {name: copy(part) for name, part in learners(trainer).items()}
    trainer.train()
    for teacher, state in zip(teachers, frozen, strict=True):
        assert same(copy(teacher), state)
        assert not teacher.training
        assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    for name, part in learners(trainer).items():
        moved = [not torch.equal(before[name][key], value) for key, value in part.state_dict().items()]
        assert sum(moved) > 0.5 * len(moved), f"the {name} stood still"


def test_a_whole_run_leaves_table_picture_and_metrics(finished_run):
    cfg, results = finished_run
    output = Path(cfg.OUTPUT_DIR)
    assert 0 <= results["bbox"]["AP50"] <= 100
    assert (output / "predictions.png").stat().st_size > 10_000
    for folder in (output, output / "student_alone", output.parent / "a", output.parent / "b", output.parent / "c"):
        assert (folder / "model_final.pth").is_file() and (folder / "config.yaml").is_file()
    table = json.loads((output / "summary.json").read_text())
    assert len(table["networks"]) == 5
    logged = {key for line in (output / "metrics.json").read_text().splitlines() for key in json.loads(line)}
    assert {"loss_qfl", "loss_dist", "loss_adv", "loss_discriminator", "discriminator_accuracy", "fused_std"} <= logged


def test_the_students_checkpoint_is_a_plain_gfl_checkpoint(finished_run, use_datasets_root):
    cfg, results = finished_run
    saved = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)
    plain = build_model(cfg)
    assert saved["model"].keys() == plain.state_dict().keys()
    again = evaluate(cfg)
    assert again["bbox"] == pytest.approx(results["bbox"], abs=1e-6, nan_ok=True)


def test_resume_restores_student_distiller_and_discriminator(distil_cfg):
    options = ["SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2, "DISTILL.MEDDET.AATM.WARMUP", 0.0]
    first = train_detector(distil_cfg(*options), trainer_class=DistillationTrainer)
    resumed = DistillationTrainer(distil_cfg(*options))
    resumed.resume_or_load(resume=True)
    assert resumed.start_iter == 4
    for name, part in learners(resumed).items():
        assert same(copy(part), copy(learners(first)[name])), name
    a, b = (t._hooks[0].optimizer.state_dict()["state"] for t in (first, resumed))
    assert a and all(torch.equal(a[key]["exp_avg"], b[key]["exp_avg"]) for key in a)


def test_a_steps_losses_on_the_gpu_are_the_cpus(distil_cfg, cuda):
    weights, losses = {}, []
    for device in ("cpu", cuda):
        options = ["MODEL.DEVICE", device, "DISTILL.PRECISION", "fp32", "DISTILL.MEDDET.AATM.WARMUP", 0.0]
        trainer = DistillationTrainer(distil_cfg(*options))
        for name, part in learners(trainer).items():
            part.load_state_dict(weights.setdefault(name, copy(part)))
        trainer.distillation.progress = 0.5
        # The same images with the same augmentations: they go by the seed.
        losses.append(trainer.distillation(next(iter(trainer._trainer.data_loader))))
        assert {loss.device.type for loss in losses[-1].values()} == {device}
    expected, found = ({name: loss.item() for name, loss in each.items()} for each in losses)
    assert len(expected) > 5 and found == pytest.approx(expected, rel=2e-3, abs=1e-4)


def test_distillation_switched_off_is_plain_training_to_the_bit(tiny_cfg):
    options = ["DISTILL.ENABLED", False, "MODEL.DEVICE", "cpu"]
    first = copy(train_detector(tiny_cfg(*options)).detector)
    assert same(first, copy(train_detector(tiny_cfg(*options)).detector))
    assert not same(first, copy(train_detector(tiny_cfg(*options, "SEED", 7)).detector))


def test_a_student_learns_in_bf16_and_is_evaluated_in_fp32(distil_cfg):
    trainer = DistillationTrainer(distil_cfg("SOLVER.PRECISION", "bf16", "SOLVER.MAX_ITER", 2))
    seen = {True: set(), False: set()}
    head = trainer.detector.head.cls_predictor
    head.register_forward_hook(lambda module, inputs, output: seen[module.training].add(output.dtype))
    trainer.train()
    assert seen == {True: {torch.bfloat16}, False: {torch.float32}}
    assert all(p.dtype == torch.float32 for p in trainer.detector.parameters())


def test_nothing_of_a_nan_loss_is_saved_and_the_images_are_named(tiny_cfg):
    trainer = MedDetTrainer(tiny_cfg("DISTILL.ENABLED", False))
    with torch.no_grad():
        trainer.detector.head.cls_predictor.bias.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"loss_qfl.* at iteration 0 on the images with id \d+, \d+;"):
        trainer.train()
    assert not list(Path(trainer.cfg.OUTPUT_DIR).glob("*.pth"))


def test_nothing_of_a_nan_discriminator_is_saved(distil_cfg):
    trainer = DistillationTrainer(distil_cfg())
    discriminator = trainer.distillation.distiller.adversary.discriminator
    with torch.no_grad():
        next(discriminator.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"loss_adv|discriminator"):
        trainer.train()
    assert not list(Path(trainer.cfg.OUTPUT_DIR).glob("*.pth"))


def test_a_student_of_another_class_count_is_refused(distil_cfg):
    with pytest.raises(ValueError, match="NUM_CLASSES") as caught:
        DistillationTrainer(distil_cfg("MODEL.GFL.NUM_CLASSES", 3))
    assert "\n" not in str(caught.value)


def test_a_broken_training_state_is_not_loaded_into_another_network(finished_run, tiny_cfg):
    cfg, _ = finished_run
    other = build_model(tiny_cfg("MODEL.BOTTOM_UP.NAME", "mobilenetv2_050"))
    with pytest.raises(ValueError, match="another architecture"):
        SafeCheckpointer(other).load(str(Path(cfg.OUTPUT_DIR) / "model_final.pth"))

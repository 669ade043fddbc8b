"""Numbers that are not finite stop a run before anything of it is written; keys mean what they say."""

import re
import traceback
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import meddet_d2
from detectron2.engine import HookBase
from meddet_d2.distillation.methods.meddet.discriminator_hook import DiscriminatorHook
from meddet_d2.engine import DistillationTrainer, MedDetTrainer, run_distillation, train_detector
from meddet_d2.engine.guards import FiniteGuard, check_config, check_schedule, choose_algorithms, scaled_to_batch

OPTIONS = ["SOLVER.MAX_ITER", 6, "SOLVER.CHECKPOINT_PERIOD", 2, "DISTILL.MEDDET.AATM.WARMUP", 0.0]


class Before(HookBase):
    """Does something before one step."""

    def __init__(self, iteration, action):
        self.iteration, self.action = iteration, action

    def before_step(self):
        if self.trainer.iter == self.iteration:
            self.action()


def spoil_value(parameter):
    with torch.no_grad():
        parameter.view(-1)[0] = float("nan")


def spoil_gradient(parameter):
    parameter.register_hook(lambda grad: grad * float("inf"))


def student(trainer):
    return trainer.distillation.student


SPOILT = {
    "a loss of the student": (lambda t: spoil_value(student(t).head.cls_predictor.bias), r"loss_\w+"),
    "the imitation": (
        lambda t: spoil_value(next(t.distillation.distiller.student_alignment.parameters())),
        "loss_dist",
    ),
    "a gradient of the student": (
        lambda t: spoil_gradient(student(t).head.cls_predictor.bias),
        r"the gradient of student\.head\.cls_predictor\.bias",
    ),
    "a gradient of the distiller": (
        lambda t: spoil_gradient(next(t.distillation.distiller.fusion.parameters())),
        r"the gradient of distiller\.fusion\.",
    ),
    "the discriminator's loss": (
        lambda t: spoil_value(next(t.distillation.distiller.adversary.discriminator.parameters())),
        r"loss_adv|the discriminator's loss",
    ),
    "the discriminator's gradient": (
        lambda t: spoil_gradient(next(t.distillation.distiller.adversary.discriminator.parameters())),
        r"the gradient of discriminator\.levels",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_the_run_stops_with_part_iteration_and_images_named(distil_cfg, name):
    cfg = distil_cfg(*OPTIONS)
    trainer = DistillationTrainer(cfg)
    spoil, words = SPOILT[name]
    trainer.register_hooks([Before(3, lambda: spoil(trainer))])
    with pytest.raises(FloatingPointError) as caught:
        trainer.train()
    message = str(caught.value)
    assert re.search(rf"({words}).* became infinite or NaN at iteration 3 on the images with id \d+, \d+; ", message)
    assert "\n" not in message
    output = Path(cfg.OUTPUT_DIR)
    assert sorted(path.name for path in output.glob("*.pth")) == ["model_0000001.pth"]
    assert (output / "last_checkpoint").read_text() == "model_0000001.pth"
    good = torch.load(output / "model_0000001.pth", weights_only=True)
    assert all(value.isfinite().all() for value in good["model"].values())


def test_weights_that_go_wrong_in_the_step_are_seen_before_they_are_saved(tiny_cfg):
    cfg = tiny_cfg("DISTILL.ENABLED", False, "SOLVER.CHECKPOINT_PERIOD", 1)
    trainer = MedDetTrainer(cfg)
    group = trainer._trainer.optimizer.param_groups[0]
    # The gradients are finite, and what the step makes of them is not.
    trainer.register_hooks([Before(1, lambda: group.update(weight_decay=float("inf")))])
    for other in trainer._trainer.optimizer.param_groups[1:]:
        other["weight_decay"] = 0.0
    with pytest.raises(FloatingPointError, match=r"the value of .* at iteration 1 on the images with id \d+, \d+;"):
        trainer.train()
    assert [path.name for path in Path(cfg.OUTPUT_DIR).glob("*.pth")] == ["model_0000000.pth"]


def test_the_discriminators_gradients_are_clipped(distil_cfg):
    moved = {}
    for clip in (0.0, 1e-9):
        trainer = DistillationTrainer(
            distil_cfg(*OPTIONS, "SOLVER.MAX_ITER", 1, "DISTILL.MEDDET.AATM.CLIP_GRADIENTS", clip)
        )
        hook = next(hook for hook in trainer._hooks if isinstance(hook, DiscriminatorHook))
        trainer.train()
        moved[clip] = sum(p.grad.norm().item() ** 2 for p in hook.discriminator.parameters()) ** 0.5
    assert moved[0.0] > 1e-3 and moved[1e-9] == pytest.approx(1e-9, rel=1e-3)
    with pytest.raises(ValueError, match=r"DISTILL\.MEDDET\.AATM\.CLIP_GRADIENTS is -1"):
        DistillationTrainer(distil_cfg("DISTILL.MEDDET.AATM.CLIP_GRADIENTS", -1.0))


def test_the_rate_follows_the_batch(tiny_cfg, caplog):
    cfg = tiny_cfg("SOLVER.BASE_LR", 0.01, "SOLVER.IMS_PER_BATCH", 2)
    assert scaled_to_batch(cfg) is cfg
    cfg = tiny_cfg("SOLVER.BASE_LR", 0.01, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.REFERENCE_BATCH", 16)
    trainer = MedDetTrainer(cfg)
    assert cfg.SOLVER.BASE_LR == 0.01
    rates = {group["initial_lr"] for group in trainer._trainer.optimizer.param_groups}
    assert rates == {0.01 / 8}
    with pytest.raises(ValueError, match="REFERENCE_BATCH is 16 and REFERENCE_WORLD_SIZE 2"):
        check_config(tiny_cfg("SOLVER.REFERENCE_BATCH", 16, "SOLVER.REFERENCE_WORLD_SIZE", 2))
    with pytest.raises(ValueError, match=r"TEST\.PRECISE_BN\.ENABLED is True"):
        check_config(tiny_cfg("TEST.PRECISE_BN.ENABLED", True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["OUTPUT_DIR", ""], "OUTPUT_DIR is empty"),
        (["SOLVER.MAX_ITER", 0], "SOLVER.MAX_ITER is 0; give at least 1"),
        (["SOLVER.MAX_ITER", -5], "SOLVER.MAX_ITER is -5"),
        (["SOLVER.BASE_LR", 0.0], "SOLVER.BASE_LR is 0.0"),
        (["SOLVER.BASE_LR", float("nan")], "SOLVER.BASE_LR is nan"),
        (["SOLVER.BASE_LR_END", -1.0], "SOLVER.BASE_LR_END is -1.0"),
        (["SOLVER.WARMUP_ITERS", -1], "SOLVER.WARMUP_ITERS is -1"),
        (["SOLVER.CHECKPOINT_PERIOD", 0], "SOLVER.CHECKPOINT_PERIOD is 0"),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", (2, 1)], r"SOLVER.STEPS is \[2, 1\]"),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", (0, 2)], r"SOLVER.STEPS is \[0, 2\]"),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.GAMMA", 0.0], "SOLVER.GAMMA is 0.0"),
        (["SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.0], "CLIP_VALUE is 0.0"),
        (["TEST.EVAL_PERIOD", -1], "TEST.EVAL_PERIOD is -1"),
    ],
)
def test_schedules_that_cannot_work_are_refused_before_training(options, words, tiny_cfg, tmp_path):
    cfg = tiny_cfg("DISTILL.ENABLED", False, *options)
    with pytest.raises(ValueError, match=words):
        train_detector(cfg)
    assert not (tmp_path / "output").exists()


def test_a_teachers_schedule_is_looked_at_before_the_first_stage(tiny_cfg, tmp_path):
    with pytest.raises(ValueError, match=r"SOLVER\.MAX_ITER is 0"):
        run_distillation(tiny_cfg("DISTILL.TEACHERS.OPTS", ("SOLVER.MAX_ITER", 0)))
    assert not list(tmp_path.rglob("*.pth"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["SOLVER.WARMUP_ITERS", 3], "and never reaches BASE_LR"),
        (["SOLVER.WARMUP_ITERS", 40], "SOLVER.WARMUP_ITERS is 40 and MAX_ITER 3"),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", (2, 3)], "STEPS [3] are not before"),
        (["TEST.EVAL_PERIOD", 3, "VALIDATION.BEST", "loss"], "have nothing to choose from"),
        ([], None),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.STEPS", (5, 2)], None),
        (["TEST.EVAL_PERIOD", 3], None),
    ],
)
def test_keys_of_a_schedule_without_effect_are_named(options, words, tiny_cfg):
    remarks = check_schedule(tiny_cfg(*options))
    assert len(remarks) == (words is not None) and (words is None or words in remarks[0])


def test_the_remark_is_in_the_log(tiny_cfg, caplog):
    train_detector(tiny_cfg("DISTILL.ENABLED", False, "SOLVER.MAX_ITER", 1, "SOLVER.WARMUP_ITERS", 7))
    assert "warm-up and never reaches" in caplog.text


@pytest.fixture
def determinism(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


def test_deterministic_algorithms_are_asked_for(tiny_cfg, determinism, monkeypatch):
    choose_algorithms(tiny_cfg())
    assert not torch.are_deterministic_algorithms_enabled()
    cfg = tiny_cfg("DETERMINISTIC", True, "DISTILL.ENABLED", False, "SOLVER.MAX_ITER", 2)
    choose_algorithms(cfg)
    assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
    MedDetTrainer(cfg).train()

    trainer = MedDetTrainer(cfg)

    def without(self, inputs):
        raise RuntimeError(
            "adaptive_max_pool2d_backward_cuda does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for this operation."
        )

    monkeypatch.setattr(type(trainer.detector), "forward", without)
    with pytest.raises(ValueError, match=r"DETERMINISTIC is True.*adaptive_max_pool2d_backward_cuda") as caught:
        trainer.train()
    assert "\n" not in str(caught.value)


def refused(*looks, **keys):
    """The start of what a guard says after one step, or nothing."""
    guard = FiniteGuard(SimpleNamespace(iter=4))
    guard.images = ["7", "12"]
    for what, named in looks:
        guard.look(what, named, **keys)
    try:
        guard.after_step()
    except FloatingPointError as error:
        return str(error).split("; nothing")[0]
    return ""


def test_one_look_at_the_end_of_a_step_sees_all():
    assert refused() == refused(("", [])) == refused(("", nn.Linear(1, 1).named_parameters())) == ""
    bad = torch.tensor([1.0, -torch.inf])
    end = " became infinite or NaN at iteration 4 on the images with id 7, 12"
    assert refused(("", [("count", torch.tensor(1)), ("a", torch.ones(2)), ("b", bad)])) == "b" + end
    halves = {"large": torch.full((9,), 6e4, dtype=torch.float16), "c": torch.tensor([torch.inf, -torch.inf]).half()}
    assert refused(("", halves.items())) == "c" + end
    # The first look that saw something speaks.
    looks = (
        ("", [("a", torch.ones(1))]),
        ("the gradient of ", [("w", bad), ("v", bad)]),
        ("the value of ", [("w", bad)]),
    )
    assert refused(*looks) == "the gradient of w and of 1 more" + end


def test_a_step_that_mixed_precision_leaves_out_is_no_mistake():
    gradient = "the gradient of ", [("w", torch.tensor([torch.nan]))]
    assert refused(gradient, left_out=torch.tensor(1.0)) == ""
    assert refused(gradient, left_out=torch.tensor(0.0))


def test_a_step_reads_one_number(distil_cfg):
    trainer = DistillationTrainer(distil_cfg(*OPTIONS, "SOLVER.MAX_ITER", 3))
    package, reads = Path(meddet_d2.__file__).parent, []

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal"):
                stack = traceback.extract_stack()
                own = [frame for frame in stack if Path(frame.filename).is_relative_to(package)]
                # torch's optimizers count their steps on the CPU.
                if not any("/torch/optim/" in frame.filename for frame in stack[stack.index(own[-1]) :]):
                    reads.append(f"{Path(own[-1].filename).name}: {own[-1].name}")
            return func(*args, **(kwargs or {}))

    batches = iter([next(iter(trainer._trainer.data_loader)) for _ in range(3)])
    trainer._trainer.data_loader = batches
    trainer._hooks = [hook for hook in trainer._hooks if isinstance(hook, (DiscriminatorHook, FiniteGuard))]
    with Reads():
        trainer.train()
    # The ground truth is looked at on the CPU, where it comes from.
    assert Counter(reads) == {"gfl_detector.py: ground_truth": 3, "guards.py: after_step": 3}

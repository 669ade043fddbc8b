"""The training loop, its hooks and their state, on either engine."""

import pytest
import torch
from torch import nn

from detectron2.config import get_cfg
from detectron2.engine import AMPTrainer, DefaultTrainer, HookBase, SimpleTrainer, TrainerBase, hooks
from detectron2.utils.events import EventStorage


class Recorder(HookBase):
    """Notes every call with the trainer's iteration."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def before_train(self):
        self.calls.append(f"{self.name}.before_train@{self.trainer.iter}")

    def before_step(self):
        assert self.trainer.storage.iter == self.trainer.iter
        self.calls.append(f"{self.name}.before_step@{self.trainer.iter}")

    def after_step(self):
        self.calls.append(f"{self.name}.after_step@{self.trainer.iter}")

    def after_train(self):
        self.calls.append(f"{self.name}.after_train@{self.trainer.iter}")


class AfterStep(HookBase):
    """Calls a function of the trainer after each step."""

    def __init__(self, function):
        self.function = function

    def after_step(self):
        self.function(self.trainer)


class Regression(nn.Module):
    """One weight w with the loss (w * x - 1)^2, in two halves."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5]))

    def forward(self, x):
        loss = ((self.w * x - 1) ** 2).sum() / 2
        return {"loss_a": loss, "loss_b": loss}


def make_trainer(value=2.0, momentum=0.0):
    model = Regression()
    data = iter(lambda: torch.tensor([value]), None)  # the same batch without an end
    return SimpleTrainer(model, data, torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum))


def test_hooks_are_called_in_the_order_of_their_registration():
    calls = []
    trainer = make_trainer()
    trainer.register_hooks([Recorder("a", calls), None, Recorder("b", calls)])
    trainer.train(3, 5)
    step = ["a.before_step@{0}", "b.before_step@{0}", "a.after_step@{0}", "b.after_step@{0}"]
    expected = ["a.before_train@3", "b.before_train@3", *(s.format(i) for i in (3, 4) for s in step)]
    assert calls == [*expected, "a.after_train@5", "b.after_train@5"]
    assert trainer.start_iter == 3 and trainer.max_iter == 5 and trainer.iter == 5


def test_after_train_is_called_after_an_error_and_can_tell():
    class Failing(TrainerBase):
        def run_step(self):
            if self.iter == 1:
                raise RuntimeError("broken step")

    calls = []
    trainer = Failing()
    trainer.register_hooks([Recorder("a", calls)])
    with pytest.raises(RuntimeError, match="broken step"):
        trainer.train(0, 4)
    assert calls[-1] == "a.after_train@1"


def test_a_step_follows_the_gradient_and_stores_the_losses():
    trainer = make_trainer()
    seen = {}
    trainer.register_hooks([AfterStep(lambda t: seen.update(t.storage.latest()))])
    trainer.train(0, 2)
    # w = 0.5 has loss 0 and stays; from w = 0.5 with x = 4 the loss is 1 and its slope 2 * (w x - 1) * x = 8.
    assert trainer.model.w.item() == pytest.approx(0.5)
    trainer = make_trainer(4.0)
    trainer.register_hooks([AfterStep(lambda t: seen.update(t.storage.latest()))])
    trainer.train(0, 1)
    assert trainer.model.w.item() == pytest.approx(0.5 - 0.1 * 8)
    assert seen["total_loss"] == (pytest.approx(1.0), 0)
    assert seen["loss_a"] == seen["loss_b"] == (pytest.approx(0.5), 0)
    assert seen["data_time"][0] >= 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(value):
    trainer = make_trainer(value)
    with pytest.raises(FloatingPointError, match="iteration"):
        trainer.train(0, 1)
    assert trainer.model.w.item() == 0.5


def test_a_model_in_eval_mode_is_refused():
    trainer = make_trainer()
    trainer.model.eval()
    with pytest.raises((AssertionError, RuntimeError), match="eval mode"):
        trainer.train(0, 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="what happens without CUDA")
@pytest.mark.filterwarnings("ignore")  # torch's own remarks on GradScaler
def test_mixed_precision_is_refused_on_the_cpu():
    simple = make_trainer()
    with pytest.raises((AssertionError, ValueError), match="CUDA"), EventStorage():
        AMPTrainer(simple.model, simple.data_loader, simple.optimizer).run_step()


class Counting(HookBase):
    """Has state: how many steps it has seen."""

    def __init__(self):
        self.steps = 0

    def after_step(self):
        self.steps += 1

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state_dict):
        self.steps = state_dict["steps"]


def test_the_state_of_trainer_optimizer_and_hooks_comes_back():
    def make():
        trainer, counting = make_trainer(4.0, momentum=0.9), Counting()
        trainer.scheduler = torch.optim.lr_scheduler.StepLR(trainer.optimizer, step_size=2, gamma=0.5)
        trainer.register_hooks([hooks.LRScheduler(), counting])
        return trainer, counting

    whole, _ = make()
    whole.train(0, 6)
    first, _ = make()
    first.train(0, 3)
    state = first.state_dict()
    assert state["hooks"]["Counting"] == {"steps": 3} and "LRScheduler" in state["hooks"]
    second, counting = make()
    second.load_state_dict(state)
    second.model.load_state_dict(first.model.state_dict())
    assert (second.iter, counting.steps, second.scheduler.last_epoch) == (3, 3, 3)
    second.train(3, 6)
    assert counting.steps == 6
    assert second.model.w.item() == pytest.approx(whole.model.w.item(), abs=1e-7)


def test_the_state_of_a_hook_that_is_gone_is_not_an_error():
    trainer = make_trainer()
    trainer.load_state_dict({**make_trainer().state_dict(), "iteration": 7, "hooks": {"Gone": {"a": 1}}})
    assert trainer.iter == 7


def test_iteration_timer_leaves_the_warm_up_out():
    trainer = make_trainer()
    times = []
    note = AfterStep(lambda t: times.append("time" in t.storage.latest()))
    trainer.register_hooks([hooks.IterationTimer(), note])
    trainer.train(0, 4)
    assert times == [False, False, True, True]


def tiny_cfg(folder, iterations):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.OUTPUT_DIR = str(folder)
    cfg.SOLVER.MAX_ITER = iterations
    cfg.SOLVER.BASE_LR = 0.01
    cfg.SOLVER.STEPS = (4,)
    cfg.SOLVER.WARMUP_ITERS = 2
    cfg.SOLVER.CHECKPOINT_PERIOD = 3
    cfg.DATASETS.TEST = ("any",)
    return cfg


def test_a_config_is_scaled_to_the_number_of_processes(tmp_path):
    cfg = tiny_cfg(tmp_path, 400)
    assert DefaultTrainer.auto_scale_workers(cfg, 4) is cfg
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 2
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.STEPS, cfg.TEST.EVAL_PERIOD = 8, (200, 300), 50
    cfg.SOLVER.CHECKPOINT_PERIOD = 100
    cfg.freeze()
    scaled = DefaultTrainer.auto_scale_workers(cfg, 4)
    assert scaled.SOLVER.IMS_PER_BATCH == 16 and pytest.approx(0.02) == scaled.SOLVER.BASE_LR
    assert (scaled.SOLVER.MAX_ITER, scaled.SOLVER.STEPS, scaled.SOLVER.WARMUP_ITERS) == (200, (100, 150), 1)
    assert (scaled.TEST.EVAL_PERIOD, scaled.SOLVER.CHECKPOINT_PERIOD) == (25, 50)
    assert scaled.SOLVER.REFERENCE_WORLD_SIZE == 4 and scaled.is_frozen() and cfg.SOLVER.IMS_PER_BATCH == 8

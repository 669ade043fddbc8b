"""A run that was stopped and resumed ends with the bits of one that was not, on either engine.

Continuous integration tries a few stops; MEDDET_RESUME_STOPS=20 tries that many of each kind of run.
"""

import json
import os
import random
import signal
from pathlib import Path

import pytest
import torch
from checkpoints import checkpoint_state, differences, logged, same_log

from detectron2.engine import HookBase
from meddet_d2.engine import DistillationTrainer, train_detector
from meddet_d2.engine.resume import STOPPED, cut_metrics
from meddet_d2.engine.safe_checkpointer import SafeCheckpointer

STOPS = int(os.environ.get("MEDDET_RESUME_STOPS", "1"))
ITERATIONS = 9
# Everything that has a state of its own is in these runs.
RUN = [
    "MODEL.DEVICE", "cpu",  # where bits are promised
    "SOLVER.MAX_ITER", ITERATIONS,
    "SOLVER.CHECKPOINT_PERIOD", 3,
    "SOLVER.WARMUP_ITERS", 4,
    "SOLVER.STEPS", (6,),
    "TEST.EVAL_PERIOD", 4,
    "INPUT.INTENSITY_JITTER", 0.3,
    "INPUT.MIN_SIZE_TRAIN", (64, 96),
    "DISTILL.MEDDET.AATM.WARMUP", 0.2,
    "VALIDATION.BEST", "loss",
]  # fmt: skip
KINDS = {
    "adam": [],
    "momentum, workers": ["SOLVER.OPTIMIZER", "SGD", "DATALOADER.NUM_WORKERS", 2],
    "random masks": ["DISTILL.METHOD", "MGD", "DISTILL.TEACHERS.USE", (0,), "DATALOADER.NUM_WORKERS", 1],
    "cache": ["DISTILL.TEACHERS.CACHE_GIB", 0.01, "INPUT.INTENSITY_JITTER", 0.0, "INPUT.MIN_SIZE_TRAIN", (96,)],
}


class At(HookBase):
    """Calls a function after one iteration."""

    def __init__(self, iteration, function):
        self.iteration, self.function = iteration, function

    def after_step(self):
        if self.trainer.iter == self.iteration:
            self.function()


class Shown(HookBase):
    """The pixels of each iteration's batch."""

    def __init__(self, sums):
        self.sums = sums

    def before_train(self):
        self.trainer._trainer.model.register_forward_pre_hook(self.note)

    def note(self, model, inputs):
        if model.training:
            self.sums[self.trainer.iter] = [int(item["image"].long().sum()) for item in inputs[0]]


def train(cfg, *, stop_at=None, how=lambda: os.kill(os.getpid(), signal.SIGTERM), resume=True):
    """Train up to a stop, or to the end; returns the pixels shown and whether the run was stopped."""
    shown = {}

    def prepare(trainer):
        # First, as a signal may come at any time.
        trainer._hooks.insert(0, stop := At(stop_at, how))
        stop.trainer = trainer
        trainer.register_hooks([Shown(shown)])

    try:
        train_detector(cfg, resume=resume, trainer_class=DistillationTrainer, before_training=prepare)
    except SystemExit as stopped:
        assert stopped.code == STOPPED
        return shown, True
    return shown, False


@pytest.fixture(scope="module")
def whole_runs():
    return {}


def whole_run(kind, distil_cfg, tmp_path_factory, whole_runs):
    """The run that nobody stopped, once for each kind."""
    if kind not in whole_runs:
        cfg = distil_cfg(*RUN, *KINDS[kind], "OUTPUT_DIR", str(tmp_path_factory.mktemp("whole")))
        shown, stopped = train(cfg, resume=False)
        assert not stopped and len(shown) == ITERATIONS
        whole_runs[kind] = cfg, shown
    return whole_runs[kind]


def assert_same_run(cfg, shown, whole, whole_shown):
    assert shown == whole_shown
    assert not differences(checkpoint_state(whole.OUTPUT_DIR), checkpoint_state(cfg.OUTPUT_DIR))
    best = [torch.load(Path(c.OUTPUT_DIR) / "model_best.pth", weights_only=True) for c in (whole, cfg)]
    assert not differences(*best)
    assert same_log(whole.OUTPUT_DIR, cfg.OUTPUT_DIR)


@pytest.mark.parametrize("number", range(STOPS))
@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_run_ends_as_the_whole_one(kind, number, distil_cfg, tmp_path_factory, whole_runs):
    """By SIGTERM at one to three random steps."""
    whole, whole_shown = whole_run(kind, distil_cfg, tmp_path_factory, whole_runs)
    draw = random.Random(f"{kind} {number}")
    stops = sorted(draw.sample(range(ITERATIONS), draw.choice([1, 1, 2, 3])))
    cfg = distil_cfg(*RUN, *KINDS[kind])
    shown = {}
    for stop in [*stops, None]:
        seen, stopped = train(cfg, stop_at=stop)
        assert stopped == (stop is not None) and not shown.keys() & seen.keys()
        shown.update(seen)
        if stopped:
            assert max(seen) == stop
            name = "final" if stop == ITERATIONS - 1 else f"{stop:07d}"
            assert (Path(cfg.OUTPUT_DIR) / "last_checkpoint").read_text() == f"model_{name}.pth"
    assert_same_run(cfg, shown, whole, whole_shown)


@pytest.fixture
def torchs_own_choice():
    """A run's choice of algorithms does not outlive the test."""
    benchmark, deterministic = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, deterministic


@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_deterministic_algorithms_on_either_device(device, precision, distil_cfg, tmp_path, request, torchs_own_choice):
    """What docs/how_to/gpu.md says of exact resume. fp16 and bf16 are what "auto" is on a GPU."""
    if device == "cuda":
        request.getfixturevalue("cuda")
    options = [*RUN, "MODEL.DEVICE", device, "DETERMINISTIC", True, "SOLVER.PRECISION", precision]
    whole = distil_cfg(*options, "OUTPUT_DIR", str(tmp_path / "whole"))
    whole_shown, _ = train(whole, resume=False)
    cfg = distil_cfg(*options)
    shown = {}
    for stop in (2, 5, None):
        seen, _ = train(cfg, stop_at=stop)
        shown.update(seen)
    assert_same_run(cfg, shown, whole, whole_shown)


class Killed(BaseException):
    pass


def die():
    raise Killed


@pytest.mark.parametrize("number", range(STOPS))
@pytest.mark.parametrize("kind", ["adam", "momentum, workers"])
def test_a_killed_run_goes_on_from_its_last_checkpoint(kind, number, distil_cfg, tmp_path_factory, whole_runs):
    """Between two steps, with nothing written at that moment; by SIGKILL in tests/cli/test_kill.py."""
    whole, whole_shown = whole_run(kind, distil_cfg, tmp_path_factory, whole_runs)
    cfg, shown = distil_cfg(*RUN, *KINDS[kind]), {}
    stop = random.Random(f"kill {kind} {number}").randrange(ITERATIONS - 1)
    with pytest.raises(Killed):
        train(cfg, stop_at=stop, how=die)
    shown, _ = train(cfg)
    # It died before the step's own checkpoint.
    assert min(shown) == stop // 3 * 3
    assert_same_run(cfg, {**whole_shown, **shown}, whole, whole_shown)


def test_the_number_of_workers_and_a_cache_change_nothing(distil_cfg, tmp_path_factory, whole_runs):
    whole, whole_shown = whole_run("adam", distil_cfg, tmp_path_factory, whole_runs)
    assert whole.DATALOADER.NUM_WORKERS == 0
    cfg = distil_cfg(*RUN, "DATALOADER.NUM_WORKERS", 3, "DATALOADER.CACHE_GIB", 0.01)
    shown, _ = train(cfg)
    assert_same_run(cfg, shown, whole, whole_shown)


def test_an_evaluation_that_was_cut_off_is_made_up_for(distil_cfg, tmp_path_factory, whole_runs, monkeypatch):
    """The checkpoint of iteration 5 and an evaluation fall together: it comes first, and the run dies in the second."""
    options = [*RUN, "TEST.EVAL_PERIOD", 3]
    whole = distil_cfg(*options, "OUTPUT_DIR", str(tmp_path_factory.mktemp("whole")))
    train(whole)
    cfg = distil_cfg(*options)
    validate = DistillationTrainer.validate

    def cut_off(trainer, **arguments):
        if trainer.iter == 5:
            raise Killed
        return validate(trainer, **arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(DistillationTrainer, "validate", cut_off)
        train(cfg)
    assert (Path(cfg.OUTPUT_DIR) / "last_checkpoint").read_text() == "model_0000005.pth"
    train(cfg)
    assert not differences(checkpoint_state(whole.OUTPUT_DIR), checkpoint_state(cfg.OUTPUT_DIR))
    assert {5} <= {i for i, row in logged(cfg.OUTPUT_DIR).items() if "validation_loss" in row}


def test_sigterm_in_the_last_evaluation_begins_no_other_stage(distil_cfg, monkeypatch):
    cfg = distil_cfg(*RUN, "SOLVER.MAX_ITER", 2)
    validate = DistillationTrainer.validate

    def interrupted(trainer, **arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(trainer, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DistillationTrainer, "validate", interrupted)
        assert train(cfg)[1]
    assert train(cfg) == ({}, False)


def test_a_finished_run_that_is_resumed_trains_no_more(distil_cfg, tmp_path_factory, whole_runs):
    whole, _ = whole_run("adam", distil_cfg, tmp_path_factory, whole_runs)
    before = (Path(whole.OUTPUT_DIR) / "model_final.pth").read_bytes()
    shown, stopped = train(whole)
    assert shown == {} and not stopped
    assert (Path(whole.OUTPUT_DIR) / "model_final.pth").read_bytes() == before


def test_a_run_killed_while_it_saves_its_end_has_one_after_all(distil_cfg, tmp_path_factory, whole_runs, monkeypatch):
    """The last numbered checkpoint and model_final are two files: a kill may come between them."""
    whole, _ = whole_run("adam", distil_cfg, tmp_path_factory, whole_runs)
    cfg, save = distil_cfg(*RUN, *KINDS["adam"]), SafeCheckpointer.save

    def cut_off(checkpointer, name, **arguments):
        if name == "model_final":
            raise Killed
        save(checkpointer, name, **arguments)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(SafeCheckpointer, "save", cut_off)
        train(cfg)
    # An earlier run's, which is not to be taken for this one's.
    (Path(cfg.OUTPUT_DIR) / "model_final.pth").write_bytes(b"of another run")
    assert (Path(cfg.OUTPUT_DIR) / "last_checkpoint").read_text() == f"model_{ITERATIONS - 1:07d}.pth"
    shown, stopped = train(cfg)
    assert (
        shown == {}
        and not stopped
        and not differences(checkpoint_state(whole.OUTPUT_DIR), checkpoint_state(cfg.OUTPUT_DIR))
    )
    assert (Path(cfg.OUTPUT_DIR) / "last_checkpoint").read_text() == "model_final.pth"


def test_metrics_are_cut_where_the_run_goes_on(tmp_path):
    path = tmp_path / "metrics.json"
    lines = [json.dumps({"iteration": i, "total_loss": 1.0}) for i in (19, 39, 59)]
    path.write_text("\n".join([*lines, '{"iteration": 7']))
    cut_metrics(path, 50)
    assert path.read_text() == "".join(line + "\n" for line in lines[:2])
    cut_metrics(tmp_path / "none.json", 1)

"""What is measured during training, what is kept of it, and when it ends early."""

import json
from pathlib import Path

import pytest
import torch

from meddet_d2.engine import MedDetTrainer, train_detector
from meddet_d2.engine.validation import build_loss_loader, flat_metrics, validation_losses
from meddet_d2.evaluation import LandmarkEvaluator

PLAIN = ["DISTILL.ENABLED", False]


def scripted(monkeypatch, values, name="bbox/AP50"):
    """Evaluations that give these values, one after the other; returns the iterations they were asked at."""
    asked, rest = [], iter(values)

    def validate(trainer, *, loss):
        asked.append(trainer.iter)
        return {name: next(rest)}

    monkeypatch.setattr(MedDetTrainer, "validate", validate)
    return asked


def best_of(cfg):
    return torch.load(Path(cfg.OUTPUT_DIR) / "model_best.pth", weights_only=True)


def last_state(cfg):
    content = torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)
    return content["trainer"]["hooks"]["Validation"]


@pytest.mark.parametrize(
    ("best", "name", "values", "iteration"),
    [("AP50", "bbox/AP50", [1, 5, float("nan"), 3], 3), ("loss", "validation_loss", [9, 2, float("inf"), 1], 7)],
)
def test_the_best_weights_are_kept(tiny_cfg, monkeypatch, best, name, values, iteration):
    asked = scripted(monkeypatch, map(float, values), name)
    cfg = tiny_cfg(*PLAIN, "SOLVER.MAX_ITER", 8, "TEST.EVAL_PERIOD", 2, "VALIDATION.BEST", best)
    train_detector(cfg)
    assert asked == [1, 3, 5, 8]
    found = best_of(cfg)
    assert (found["iteration"], found["measure"]) == (iteration, best)
    assert (Path(cfg.OUTPUT_DIR) / "last_checkpoint").read_text() == "model_final.pth"


def test_the_evaluator_says_which_metrics_are_better_when_smaller(tiny_cfg, monkeypatch):
    monkeypatch.setattr("meddet_d2.engine.trainer.evaluator_for", lambda cfg: LandmarkEvaluator)
    scripted(monkeypatch, [5.0, 2.0, float("nan"), 3.0], "landmarks/MRE")
    cfg = tiny_cfg(*PLAIN, "SOLVER.MAX_ITER", 8, "TEST.EVAL_PERIOD", 2, "VALIDATION.BEST", "MRE")
    train_detector(cfg)
    assert (best_of(cfg)["value"], best_of(cfg)["iteration"]) == (2.0, 3)


def test_a_worse_one_after_a_resume_does_not_take_the_bests_place(tiny_cfg, monkeypatch):
    options = [*PLAIN, "TEST.EVAL_PERIOD", 2, "SOLVER.CHECKPOINT_PERIOD", 1, "VALIDATION.BEST", "AP50"]
    scripted(monkeypatch, [7.0, 1.0])
    train_detector(tiny_cfg(*options, "SOLVER.MAX_ITER", 3))
    scripted(monkeypatch, [6.0, 6.5])
    cfg = tiny_cfg(*options, "SOLVER.MAX_ITER", 6)
    train_detector(cfg, resume=True)
    assert (best_of(cfg)["value"], best_of(cfg)["iteration"]) == (7.0, 1)


def test_training_ends_when_nothing_gets_better(tiny_cfg, monkeypatch):
    options = [
        "SOLVER.MAX_ITER", 20, "TEST.EVAL_PERIOD", 2, "VALIDATION.BEST", "AP50", "VALIDATION.PATIENCE", 2,
    ]  # fmt: skip
    asked = scripted(monkeypatch, [3.0, 4.0, 4.0, 3.0, 5.0])
    cfg = tiny_cfg(*PLAIN, *options)
    train_detector(cfg)
    assert asked == [1, 3, 5, 7, 7]  # and once more at the end
    assert last_state(cfg)["ended"] and last_state(cfg)["best_iteration"] == 3
    # It stays ended.
    asked = scripted(monkeypatch, [1.0])
    trainer = train_detector(cfg, resume=True)
    assert len(asked) == 1 and trainer.start_iter == 8
    assert last_state(cfg)["evaluated"] == 7


def test_patience_needs_a_measure(tiny_cfg):
    with pytest.raises(ValueError, match=r"VALIDATION\.PATIENCE is 3.*VALIDATION\.BEST"):
        MedDetTrainer(tiny_cfg(*PLAIN, "VALIDATION.PATIENCE", 3, "TEST.EVAL_PERIOD", 2))


def test_an_unknown_measure_is_named(tiny_cfg):
    with pytest.raises(ValueError, match=r"VALIDATION\.BEST is AP49"):
        train_detector(tiny_cfg(*PLAIN, "VALIDATION.BEST", "AP49"))


def test_the_validation_loss_is_the_detectors_and_touches_nothing(tiny_cfg):
    cfg = tiny_cfg(*PLAIN, "VALIDATION.LOSS", True, "INPUT.INTENSITY_JITTER", 0.5)
    trainer = MedDetTrainer(cfg)
    detector, loader = trainer.detector, build_loss_loader(cfg, cfg.DATASETS.TEST)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    losses = validation_losses(detector, loader)
    assert losses == validation_losses(detector, loader)
    assert detector.training and not any(p.grad is not None for p in detector.parameters())
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())
    # Against the detector's own training forward, whose BatchNorm is put in evaluation mode.
    detector.backbone.eval()
    with torch.no_grad():
        own = [sum(detector(batch).values()).item() for batch in loader]
    assert len(own) == 4 and losses["validation_loss"] == pytest.approx(sum(own) / 4)
    parts = sum(losses[f"validation_loss_{name}"] for name in ("qfl", "dfl", "giou"))
    assert losses["validation_loss"] == pytest.approx(parts)
    values = trainer.validate(loss=True)
    assert values["validation_loss"] == losses["validation_loss"] and "bbox/AP50" in values


def test_other_data_sets_to_validate_on_leave_the_test_set_to_the_end(tiny_cfg, monkeypatch):
    shown = []
    test = MedDetTrainer.test

    def note(cfg, model):
        shown.append(cfg.DATASETS.TEST)
        return test(cfg, model)

    monkeypatch.setattr(MedDetTrainer, "test", staticmethod(note))
    cfg = tiny_cfg(*PLAIN, "VALIDATION.DATASETS", ("cdh_phantom_train",), "TEST.EVAL_PERIOD", 2)
    trainer = train_detector(cfg)
    assert shown == [("cdh_phantom_train",), ("cdh_phantom_train",), ("cdh_phantom_test",)]
    rows = [json.loads(line) for line in (Path(cfg.OUTPUT_DIR) / "metrics.json").read_text().splitlines()]
    assert any("bbox/AP50" in row for row in rows) and any("test/bbox/AP50" in row for row in rows)
    assert "AP50" in trainer.results["bbox"]


def test_several_data_sets_count_alike():
    results = {"a": {"bbox": {"AP50": 10.0, "AP": 1.0}}, "b": {"bbox": {"AP50": 20.0}}}
    assert flat_metrics(results, ("a", "b")) == {
        "bbox/AP50": 15.0, "a/bbox/AP50": 10.0, "a/bbox/AP": 1.0, "b/bbox/AP50": 20.0,
    }  # fmt: skip
    assert flat_metrics(results["b"], ("b",)) == {"bbox/AP50": 20.0}
    assert flat_metrics({}, ("b",)) == {}


def test_measuring_has_no_influence_on_training(tiny_cfg, tmp_path):
    options = [*PLAIN, "SOLVER.MAX_ITER", 4, "INPUT.INTENSITY_JITTER", 0.5]
    seen = []
    for number, measuring in enumerate((["TEST.EVAL_PERIOD", 1, "VALIDATION.BEST", "loss"], ["TEST.EVAL_PERIOD", 0])):
        cfg = tiny_cfg(*options, *measuring, "OUTPUT_DIR", str(tmp_path / str(number)))
        train_detector(cfg)
        seen.append(torch.load(Path(cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)["model"])
    assert all(torch.equal(value, seen[1][name]) for name, value in seen[0].items())

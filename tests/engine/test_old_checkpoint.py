"""A run of commit 812ff40 goes on: its folder is made here as that commit laid it out."""

from pathlib import Path

import pytest
import torch
import yaml

from meddet_d2.config import load_config
from meddet_d2.config.renamed_keys import RENAMED
from meddet_d2.engine import DistillationTrainer, evaluate

# The names in that commit's checkpoint of a MedDet run, with three teachers and two levels with a weight.
TOP = {"model", "distiller", "trainer", "teachers", "iteration"}
HOOKS = {"DiscriminatorHook", "LRScheduler", "Checkpoints", "Validation"}
DISTILLER = {
    *(f"student_alignment.{level}.conv.{name}" for level in (0, 1) for name in ("weight", "bias")),
    *(
        f"teacher_alignment.{k}.{level}.conv.{name}"
        for k in range(3)
        for level in (0, 1)
        for name in ("weight", "bias")
    ),
    *(f"fusion.{level}.weights.{k}.{name}" for level in (0, 1) for k in range(3) for name in ("weight", "bias")),
    *(f"fusion.{level}.mix.{name}" for level in (0, 1) for name in ("weight", "bias")),
    *(f"generator.{level}.layers.{n}.{name}" for level in (0, 1) for n in (0, 2) for name in ("weight", "bias")),
}
DISCRIMINATOR = {f"levels.{level}.{n}.{name}" for level in (0, 1) for n in (0, 2, 4) for name in ("weight", "bias")}


def old_names(content: dict) -> dict:
    """A config's content with every new name exchanged for its old one."""
    content = yaml.safe_load(yaml.safe_dump(content))
    meddet = content["DISTILL"].pop("MEDDET")
    content["DISTILL"] |= {old.split(".")[1]: meddet.pop(old.split(".")[1]) for old in RENAMED}
    assert not meddet, "all of MedDet's keys had old names"
    content["DISTILL"]["TEACHERS"].pop("INHERIT")
    return content


def drawn(state: dict, names: set[str], generator: torch.Generator) -> dict:
    """Other values under the old names, in the shapes of now; the order is the old one's, which is the same."""
    assert set(state) == names
    return {name: torch.randn(value.shape, generator=generator) for name, value in state.items()}


@pytest.fixture
def old_run(distil_cfg):
    """The folder of an old run that was stopped after its second of four steps, and what it holds."""
    cfg = distil_cfg("SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2, "TEST.EVAL_PERIOD", 0)
    trainer = DistillationTrainer(cfg)
    trainer.train()
    folder = Path(cfg.OUTPUT_DIR)
    content = torch.load(folder / "model_0000001.pth", weights_only=True)
    content = {name: content[name] for name in TOP}  # later commits added some
    assert set(content["trainer"]["hooks"]) == HOOKS
    generator = torch.Generator().manual_seed(0)
    content["distiller"] = drawn(content["distiller"], DISTILLER, generator)
    hook = content["trainer"]["hooks"]["DiscriminatorHook"]
    hook["discriminator"] = drawn(hook["discriminator"], DISCRIMINATOR, generator)
    for moments in hook["optimizer"]["state"].values():
        moments["exp_avg"] = torch.randn(moments["exp_avg"].shape, generator=generator)
    for file in folder.iterdir():
        if file.suffix == ".pth" or file.name == "metrics.json":
            file.unlink()
    torch.save(content, folder / "model_0000001.pth")
    (folder / "last_checkpoint").write_text("model_0000001.pth")
    (folder / "config.yaml").write_text(yaml.safe_dump(old_names(yaml.safe_load(cfg.dump()))))
    return folder, content


def test_an_old_run_is_resumed_with_all_that_it_had_learned(old_run):
    folder, content = old_run
    cfg = load_config(str(folder / "config.yaml"))
    cfg.freeze()
    trainer = DistillationTrainer(cfg)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 2
    distiller = trainer.distillation.distiller
    hook = trainer._hooks[0]
    parts = [(distiller.state_dict(), content["distiller"]), (trainer.detector.state_dict(), content["model"])]
    old_hook = content["trainer"]["hooks"]["DiscriminatorHook"]
    parts.append((distiller.adversary.discriminator.state_dict(), old_hook["discriminator"]))
    for now, then in parts:
        assert now.keys() == then.keys() and all(torch.equal(now[name], then[name]) for name in then)
    for k, moments in old_hook["optimizer"]["state"].items():
        assert torch.equal(hook.optimizer.state_dict()["state"][k]["exp_avg"], moments["exp_avg"])
    trainer.train()
    assert torch.load(folder / "model_final.pth", weights_only=True)["iteration"] == 3


def test_an_old_folder_is_evaluated(old_run):
    folder, _ = old_run
    cfg = load_config(str(folder / "config.yaml"))
    cfg.freeze()
    assert 0 <= evaluate(cfg)["bbox"]["AP50"] <= 100

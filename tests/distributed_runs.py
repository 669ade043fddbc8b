"""Trainings in one or several processes, as a program of its own: new processes import what they run by its name.

    python tests/distributed_runs.py <processes> <jobs.json>

Each job is a training: {"options": ..., "test_images": ..., "double": ..., "healthy": ..., "stop": ..., "poison": ...}.
One that fails as it should leaves its error in OUTPUT_DIR/error_<rank>.txt, and one that does not the SHA-256 of the
process's detector in OUTPUT_DIR/detector_<rank>.txt.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import torch

from meddet_d2 import load_config
from detectron2.data import DatasetCatalog
from detectron2.engine import HookBase, launch
from detectron2.utils import comm
from meddet_d2.data import register_datasets
from meddet_d2.engine import DistillationTrainer, train_detector
from meddet_d2.engine.launcher import leave_group
from meddet_d2.engine.resume import Stopped

ROOT = Path(__file__).resolve().parents[1]
WHOLE = {}  # data sets as they were registered


class StopAt(HookBase):
    """SIGTERM to the last process, after one iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def after_step(self):
        if self.trainer.iter == self.iteration and comm.get_rank() == comm.get_world_size() - 1:
            os.kill(os.getpid(), signal.SIGTERM)


class DoubleTrainer(DistillationTrainer):
    """In double precision, where what rounding makes of another order of sums stays small through some steps."""

    @classmethod
    def build_model(cls, cfg):
        model = super().build_model(cfg).double()
        for detector in model.teachers.networks:
            detector.double()
        adversary = getattr(model.distiller, "adversary", None)  # MedDet's alone
        if adversary is not None:
            adversary.discriminator.double()
        return model


def keep_images(name, count):
    """Leave a data set its first few images."""
    if name not in WHOLE:
        WHOLE[name] = DatasetCatalog.get(name)
    DatasetCatalog.remove(name)
    DatasetCatalog.register(name, lambda: WHOLE[name][:count])


def change_images(trainer, job):
    """Take the objects off every second image of a batch, and off all of the first one; or spoil one image."""

    def change(model, inputs):
        for i, item in enumerate(inputs[0] if model.training else []):
            place = i * comm.get_world_size() + comm.get_rank()
            if job.get("healthy") and (place % 2 or trainer.iter == 0):
                item["instances"] = item["instances"][:0]
            if job.get("poison") and place == 1 and trainer.iter == 1:
                item["image"] = torch.full(item["image"].shape, torch.nan)

    trainer._trainer.model.register_forward_pre_hook(change)


def train(job):
    cfg = load_config(str(ROOT / "configs" / "quickstart.yaml"), job["options"])
    cfg.freeze()
    register_datasets(cfg)
    keep_images(cfg.DATASETS.TEST[0], job["test_images"])

    def prepare(trainer):
        change_images(trainer, job)
        if "stop" in job:
            # Before the hook that looks whether a signal has come.
            trainer._hooks.insert(0, hook := StopAt(job["stop"]))
            hook.trainer = trainer

    def once(resume=False):
        trainer_class = DoubleTrainer if job.get("double") else DistillationTrainer
        trainer = train_detector(cfg, resume=resume, trainer_class=trainer_class, before_training=prepare)
        parameters = trainer.detector.state_dict()
        own = hashlib.sha256(b"".join(value.cpu().numpy().tobytes() for value in parameters.values())).hexdigest()
        (Path(cfg.OUTPUT_DIR) / f"detector_{comm.get_rank()}.txt").write_text(own)

    try:
        once()
    except Stopped:
        del job["stop"]
        once(resume=True)
    except FloatingPointError as error:
        (Path(cfg.OUTPUT_DIR) / f"error_{comm.get_rank()}.txt").write_text(str(error))


def work(path):
    torch.set_num_threads(1)
    for job in json.loads(Path(path).read_text()):
        train(job)
        comm.synchronize()
    leave_group()


if __name__ == "__main__":
    launch(work, int(sys.argv[1]), dist_url="auto", args=(sys.argv[2],))

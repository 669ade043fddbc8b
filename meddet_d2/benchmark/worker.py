"""One run in a separate process: ``python -m meddet_d2.benchmark.worker <run folder>``.

It reads config.yaml there, trains, evaluates, and writes outcome.json. The benchmark starts it, and a run that is
killed or runs out of memory takes nothing else along. Its standard input is a pipe whose end means that the
benchmark is gone.
"""

import argparse
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

import torch

import meddet_d2
from detectron2.data import DatasetCatalog
from detectron2.engine import default_setup
from detectron2.utils.logger import setup_logger
from meddet_d2.data import register_datasets
from meddet_d2.engine import DistillationTrainer, MedDetTrainer, train_detector
from meddet_d2.engine.guards import check_config
from meddet_d2.evaluation import evaluator_for, first_metrics
from meddet_d2.files import replacing, write_json


def main(folder: Path) -> None:
    """Train and evaluate the run of ``folder``, from its last checkpoint if it has one."""
    begin = time.perf_counter()
    cfg = meddet_d2.load_config(str(folder / "config.yaml"))
    cfg.freeze()
    check_config(cfg)
    setup_logger(cfg.OUTPUT_DIR, name="meddet_d2")
    default_setup(cfg, argparse.Namespace(config_file="", eval_only=False))
    register_datasets(cfg)
    trainer_class = DistillationTrainer if cfg.DISTILL.ENABLED else MedDetTrainer
    trainer = train_detector(cfg, resume=True, trainer_class=trainer_class)
    outcome = {
        "dataset": cfg.DATASETS.TEST[0],
        "test_images": len(DatasetCatalog.get(cfg.DATASETS.TEST[0])),
        "iterations": cfg.SOLVER.MAX_ITER,
        "parameters": sum(parameter.numel() for parameter in trainer.detector.parameters()),
        "metrics": first_metrics(trainer.results),
        "curve": learning_curve(folder / "metrics.json", evaluator_for(cfg).PRIMARY),
        "threads": torch.get_num_threads(),
        "worker_seconds": time.perf_counter() - begin,
    }
    write_json(folder / "outcome.json", outcome)
    _keep_the_weights_alone(folder, trainer.detector)


def learning_curve(path: Path, primary: str) -> list[dict[str, float]]:
    """The iterations, losses and primary metric of a training's metrics.json, in order.

    An iteration may have several lines; of a value that stands in two of them the later one counts.
    """
    points: dict[int, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        kept = {name: value for name, value in values.items() if "loss" in name}
        if primary in values:
            kept[primary.split("/")[-1]] = values[primary]
        points.setdefault(values["iteration"], {}).update(kept)
    return [{"iteration": iteration, **points[iteration]} for iteration in sorted(points)]


def _keep_the_weights_alone(folder: Path, detector: torch.nn.Module) -> None:
    """A finished run is not resumed: optimizer, distiller and earlier checkpoints would only fill the disk."""
    with replacing(folder / "model_final.pth") as temporary:
        torch.save({"model": detector.state_dict()}, temporary)
    for path in folder.glob("model_[0-9]*.pth"):
        path.unlink()


def _end_with_the_benchmark() -> None:
    """Stop when standard input ends: a benchmark that was killed must not leave a run behind that writes on."""

    def wait() -> None:
        # os.read and not sys.stdin, whose lock a forked data loader would wait for.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    _end_with_the_benchmark()
    try:
        main(Path(sys.argv[1]))
    except Exception as error:
        traceback.print_exc()
        sys.exit(f"error: {type(error).__name__}: {' '.join(str(error).split())}")

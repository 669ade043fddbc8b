"""A network over a data set, the evaluators that watch it, and their results ``{task: {metric: value}}``."""

import datetime
import logging
import math
import sys
import time
from collections.abc import Mapping

import torch
from torch import nn

from detectron2.utils import comm

logger = logging.getLogger(__name__)


class DatasetEvaluator:
    """Gathers a network's outputs batch by batch, and in the end says how good they are."""

    def reset(self) -> None:
        """Forget everything gathered so far."""

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Take one batch; ``outputs[i]`` is what the network returned for ``inputs[i]``."""

    def evaluate(self) -> dict | None:
        """``{task: {metric: value}}`` on the main process; None or an empty dict on the others."""


def inference_on_dataset(model: nn.Module, data_loader, evaluator: DatasetEvaluator) -> dict:
    """Run ``model`` (in eval mode, without gradients) over a loader that has a length, evaluate, and log progress.

    Processes without results return an empty dict.
    """
    evaluator.reset()
    batches, start, logged = len(data_loader), time.perf_counter(), 0.0
    logger.info("Inference on %d batches by each of %d processes.", batches, comm.get_world_size())
    training = model.training
    model.eval()
    try:
        for done, inputs in enumerate(data_loader, start=1):
            with torch.no_grad():
                evaluator.process(inputs, model(inputs))
            passed = time.perf_counter() - start
            if passed > logged + 5:
                logged, left = passed, datetime.timedelta(seconds=int(passed / done * (batches - done)))
                logger.info("Batch %d of %d done, %.4f s per batch, ETA %s", done, batches, passed / done, left)
    finally:
        model.train(training)
    logger.info("Inference took %.1f s.", time.perf_counter() - start)
    return evaluator.evaluate() or {}


def print_csv_format(results: Mapping) -> None:
    """Log each task's metrics as two comma-separated lines, without those of single categories (``AP-<name>``)."""
    for task, metrics in results.items():
        main = {name: value for name, value in metrics.items() if "-" not in name}
        logger.info("csv %s: %s", task, ",".join(main))
        logger.info("csv %s: %s", task, ",".join(f"{value:.4f}" for value in main.values()))


def verify_results(cfg, results: Mapping) -> bool:
    """True if ``TEST.EXPECTED_RESULTS``, ``[task, metric, value, tolerance]`` each, are met; otherwise exit with 1."""
    wrong = []
    for task, metric, expected, tolerance in cfg.TEST.EXPECTED_RESULTS:
        actual = results.get(task, {}).get(metric, math.nan)
        if not abs(actual - expected) <= tolerance:  # so written, NaN is wrong
            wrong.append(f"{task}/{metric} is {actual}, expected {expected} +- {tolerance}")
    if wrong:
        logger.error("Unexpected results: %s", "; ".join(wrong))
        sys.exit(1)
    return True

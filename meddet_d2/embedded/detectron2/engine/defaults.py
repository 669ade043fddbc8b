"""The training that most configs want, and its command line."""

import argparse
import logging
import os

import torch
from torch import nn

from detectron2.evaluation import inference_on_dataset, print_csv_format, verify_results
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

from .train_loop import TrainerBase


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """The flags of a training tool; ``epilog`` is shown below its help."""
    parser = argparse.ArgumentParser(epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="yaml file with the config")
    add("--resume", action="store_true", help="go on from the last checkpoint in OUTPUT_DIR, if any")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS and do not train")
    add("--num-gpus", type=int, default=1, help="processes per machine: one per GPU, or on the CPU without CUDA")
    add("--num-machines", type=int, default=1, help="number of machines")
    add("--machine-rank", type=int, default=0, help="which machine this is, from 0")
    add("--dist-url", default="auto", help="where processes meet, tcp://HOST:PORT; auto: a free port of this machine")
    add("opts", nargs=argparse.REMAINDER, help="config keys and values, such as SOLVER.BASE_LR 0.01")
    return parser


def default_setup(cfg, args: argparse.Namespace) -> None:
    """What comes before a job: logs, a record of engine, environment and config, and seeds.

    The full config is written to ``OUTPUT_DIR/config.yaml``. A ``SEED`` of 0 or more, plus its rank, seeds a process.
    """
    rank, output_dir = comm.get_rank(), cfg.OUTPUT_DIR
    setup_logger(output_dir, distributed_rank=rank, name="fvcore")
    logger = setup_logger(output_dir, distributed_rank=rank)
    logger.info("Engine: the implementation of Detectron2's API embedded in meddet_d2.")
    logger.info("Process %d of %d.", rank, comm.get_world_size())
    logger.info("Environment:\n%s", collect_env_info())
    logger.info("Command line: %s", args)
    logger.info("Config:\n%s", cfg.dump())
    if output_dir and comm.is_main_process():
        PathManager.mkdirs(output_dir)
        with PathManager.open(os.path.join(output_dir, "config.yaml"), "w") as f:
            f.write(cfg.dump())
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    if not getattr(args, "eval_only", False):  # the search costs more than a short evaluation gains
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK


class DefaultTrainer(TrainerBase):
    """What is the same in all trainings that a config describes.

    A subclass builds the rest: ``cfg``, ``_trainer`` (a :class:`SimpleTrainer` or :class:`AMPTrainer`, whose are the
    step, the model, the loader and the optimizer), ``scheduler``, ``checkpointer``, ``start_iter``, ``max_iter``, the
    hooks, and the loader and evaluator of :meth:`test`.
    """

    model = property(lambda self: self._trainer.model)
    data_loader = property(lambda self: self._trainer.data_loader)
    optimizer = property(lambda self: self._trainer.optimizer)
    build_lr_scheduler = staticmethod(build_lr_scheduler)

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint in ``OUTPUT_DIR``, if ``resume`` and there is one: weights, optimizer, hooks
        and iteration. Otherwise load the weights alone from ``MODEL.WEIGHTS`` and start at iteration 0."""
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            self.start_iter = self.iter + 1  # the stored iteration is done

    def build_writers(self) -> list[EventWriter]:
        """The terminal, ``metrics.json`` and TensorBoard files in ``OUTPUT_DIR``."""
        folder = self.cfg.OUTPUT_DIR
        PathManager.mkdirs(folder)
        json_writer = JSONWriter(os.path.join(folder, "metrics.json"))
        return [CommonMetricPrinter(self.max_iter), json_writer, TensorboardXWriter(folder)]

    def train(self) -> dict | None:
        """Train. Where the config expects results, check and return them."""
        super().train(self.start_iter, self.max_iter)
        if len(self.cfg.TEST.EXPECTED_RESULTS) and comm.is_main_process():
            verify_results(self.cfg, self._last_eval_results)
            return self._last_eval_results
        return None

    def run_step(self) -> None:
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def state_dict(self) -> dict:
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @classmethod
    def build_model(cls, cfg) -> nn.Module:
        model = build_model(cfg)
        logging.getLogger(__name__).info("Model:\n%s", model)
        return model

    @classmethod
    def test(cls, cfg, model: nn.Module) -> dict:
        """``{data set: results}`` of ``model`` on ``DATASETS.TEST``, or just the results if there is one data set."""
        results = {}
        for name in cfg.DATASETS.TEST:
            loader, evaluator = cls.build_test_loader(cfg, name), cls.build_evaluator(cfg, name)
            results[name] = inference_on_dataset(model, loader, evaluator)
            if comm.is_main_process():
                logging.getLogger(__name__).info("Results on %s:", name)
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

    @staticmethod
    def auto_scale_workers(cfg, num_workers: int):
        """The config for ``num_workers`` processes, when it was made for ``SOLVER.REFERENCE_WORLD_SIZE`` of them.

        The batch per process stays, so batch and learning rate grow in proportion and iterations, steps, warm-up and
        periods shrink. With a reference of 0, or of ``num_workers``, the config itself is returned.
        """
        reference, batch = cfg.SOLVER.REFERENCE_WORLD_SIZE, cfg.SOLVER.IMS_PER_BATCH
        if reference in (0, num_workers):
            return cfg
        if batch % reference:
            raise ValueError(f"SOLVER.IMS_PER_BATCH {batch} must be a multiple of REFERENCE_WORLD_SIZE {reference}.")
        scale, was_frozen = num_workers / reference, cfg.is_frozen()
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SOLVER.IMS_PER_BATCH = round(batch * scale)
        cfg.SOLVER.BASE_LR *= scale
        for key in ("MAX_ITER", "WARMUP_ITERS", "CHECKPOINT_PERIOD"):
            cfg.SOLVER[key] = round(cfg.SOLVER[key] / scale)
        cfg.SOLVER.STEPS = tuple(round(step / scale) for step in cfg.SOLVER.STEPS)
        cfg.TEST.EVAL_PERIOD = round(cfg.TEST.EVAL_PERIOD / scale)
        cfg.SOLVER.REFERENCE_WORLD_SIZE = num_workers
        logging.getLogger(__name__).info("Scaled from %d to %d processes:\n%s", reference, num_workers, cfg.SOLVER)
        if was_frozen:
            cfg.freeze()
        return cfg

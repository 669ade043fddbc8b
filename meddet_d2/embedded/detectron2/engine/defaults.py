"""The training that most configs want, and its command line."""

import argparse
import logging
import os
import weakref

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset, print_csv_format, verify_results
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger

from . import hooks
from .train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase


def create_ddp_model(model: nn.Module, **kwargs) -> nn.Module:
    """``model`` in DistributedDataParallel, with ``kwargs`` for it, if there are several processes."""
    if comm.get_world_size() == 1:
        return model
    if next(model.parameters()).is_cuda:
        kwargs.setdefault("device_ids", [comm.get_local_rank()])
    return DistributedDataParallel(model, **kwargs)


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


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """The terminal, ``metrics.json`` and TensorBoard files in ``output_dir``."""
    PathManager.mkdirs(output_dir)
    json_writer = JSONWriter(os.path.join(output_dir, "metrics.json"))
    return [CommonMetricPrinter(max_iter), json_writer, TensorboardXWriter(output_dir)]


def _of_inner_trainer(name: str) -> property:
    return property(lambda self: getattr(self._trainer, name), lambda self, value: setattr(self._trainer, name, value))


class DefaultTrainer(TrainerBase):
    """Everything a config says about training, with the usual hooks.

    Subclasses override the ``build_*`` methods and :meth:`test`. The step itself, with its model, loader and optimizer,
    is ``_trainer``'s, a :class:`SimpleTrainer` or :class:`AMPTrainer`. ``checkpointer`` stores the model, and this
    trainer's state as ``"trainer"``.
    """

    model, data_loader, optimizer = map(_of_inner_trainer, ("model", "data_loader", "optimizer"))

    def __init__(self, cfg):
        super().__init__()
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):  # nobody has set logging up
            setup_logger()
        self.cfg = cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        model = create_ddp_model(model, broadcast_buffers=False)
        self._trainer = (AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer)(model, data_loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = DetectionCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint in ``OUTPUT_DIR``, if ``resume`` and there is one: weights, optimizer, hooks
        and iteration. Otherwise load the weights alone from ``MODEL.WEIGHTS`` and start at iteration 0."""
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            self.start_iter = self.iter + 1  # the stored iteration is done

    def build_hooks(self) -> list[HookBase | None]:
        """Checkpoints come before the evaluation, which may fail, and writers last, so that they see its results."""

        def evaluate():
            self._last_eval_results = self.test(self.cfg, self.model)
            return self._last_eval_results

        cfg, is_main = self.cfg, comm.is_main_process()
        return [
            hooks.IterationTimer(),
            hooks.LRScheduler(),
            hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD) if is_main else None,
            hooks.EvalHook(cfg.TEST.EVAL_PERIOD, evaluate),
            hooks.PeriodicWriter(self.build_writers(), period=20) if is_main else None,
        ]

    def build_writers(self) -> list[EventWriter]:
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

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

    build_optimizer = staticmethod(build_optimizer)
    build_lr_scheduler = staticmethod(build_lr_scheduler)
    build_train_loader = staticmethod(build_detection_train_loader)
    build_test_loader = staticmethod(build_detection_test_loader)

    @classmethod
    def build_evaluator(cls, cfg, dataset_name: str) -> DatasetEvaluator:
        raise NotImplementedError(f"{cls.__name__} must override build_evaluator() to evaluate {dataset_name}.")

    @classmethod
    def test(cls, cfg, model: nn.Module, evaluators=None) -> dict:
        """``{data set: results}`` of ``model`` on ``DATASETS.TEST``, or just the results where there is one data set.

        ``evaluators``, one per data set, are those of :meth:`build_evaluator` by default.
        """
        names = cfg.DATASETS.TEST
        evaluators = [evaluators] if isinstance(evaluators, DatasetEvaluator) else evaluators
        if evaluators is not None and len(evaluators) != len(names):
            raise ValueError(f"DATASETS.TEST {tuple(names)} needs as many evaluators, got {len(evaluators)}.")
        logger, results = logging.getLogger(__name__), {}
        for k, name in enumerate(names):
            loader = cls.build_test_loader(cfg, name)
            try:
                evaluator = cls.build_evaluator(cfg, name) if evaluators is None else evaluators[k]
            except NotImplementedError as e:
                logger.warning("No evaluation: %s", e)
                results[name] = {}
                continue
            results[name] = inference_on_dataset(model, loader, evaluator)
            if comm.is_main_process():
                logger.info("Results on %s:", name)
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

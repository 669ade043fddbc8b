"""Train, distil or evaluate a detector.

    meddet train --config-file configs/quickstart.yaml
    meddet train --config-file configs/meddet.yaml --num-gpus 4
    torchrun --nproc-per-node 4 -m meddet_d2 train --config-file configs/meddet.yaml
    meddet train --config-file configs/meddet.yaml --eval-only MODEL.WEIGHTS output/meddet/model_final.pth

KEY VALUE pairs at the end override the config.
"""

import argparse
import sys

import meddet_d2
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..command import add_plugins, guarded
from ..data import register_datasets
from ..engine import evaluate, run_distillation, train_detector
from ..engine.guards import check_config
from ..engine.launcher import leave_group, run_processes
from ..engine.parallel import check_processes
from ..engine.resume import Stopped
from ..env import describe_engine, keep_traceback
from ..places import find_config
from ..plugins import load_plugins


def setup(args: argparse.Namespace) -> CfgNode:
    """Build the config from file and overrides, start the log, and register the data sets that the config describes."""
    load_plugins(args.plugin)
    args.config_file = find_config(args.config_file)
    cfg = meddet_d2.load_config(args.config_file, args.opts)
    cfg.freeze()
    check_config(cfg)
    check_processes(cfg)
    logger = setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="meddet_d2")
    logger.info("Running on %s", describe_engine())
    default_setup(cfg, args)
    register_datasets(cfg)
    return cfg


def run(args: argparse.Namespace) -> dict:
    """One process of a run."""
    cfg = setup(args)
    if args.eval_only:
        results = evaluate(cfg)
        if comm.is_main_process():
            verify_results(cfg, results)
        return results
    if cfg.DISTILL.ENABLED:
        return run_distillation(cfg, resume=args.resume)
    return train_detector(cfg, resume=args.resume).results


def run_process(args: argparse.Namespace) -> None:
    """:func:`run`; after a mistake, of which one line is said, the process ends with its exit status."""

    def work() -> None:
        try:
            run(args)
        except Stopped:
            leave_group()
            raise
        leave_group()

    if status := guarded(work, keep_traceback=keep_traceback, terminable=False):
        sys.exit(status)


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = default_argument_parser()
    # Detectron2's own is one port for each user: two runs on a machine would meet there.
    parser.set_defaults(dist_url="auto")
    parser.prog, parser.description, parser.epilog = prog or parser.prog, __doc__, None
    add_plugins(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str], prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parse_args(arguments, prog)
    return guarded(lambda: run_processes(run_process, args))

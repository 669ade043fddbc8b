#!/usr/bin/env python
"""Train, distil or evaluate a detector; start reading the project here.

    python tools/train_net.py --config-file configs/quickstart.yaml
    python tools/train_net.py --config-file configs/meddet.yaml --num-gpus 4
    torchrun --nproc-per-node 4 tools/train_net.py --config-file configs/meddet.yaml
    python tools/train_net.py --config-file configs/meddet.yaml --eval-only MODEL.WEIGHTS output/meddet/model_final.pth

``KEY VALUE`` pairs at the end override the config. The main path goes on in meddet_d2/engine/trainer.py, then
meddet_d2/distillation/step.py, then meddet_d2/modeling/gfl/gfl_detector.py.
"""

import sys

import meddet_d2
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from meddet_d2.data import register_datasets
from meddet_d2.engine import evaluate, run_distillation, train_detector
from meddet_d2.engine.guards import check_config
from meddet_d2.engine.launcher import leave_group, run_processes
from meddet_d2.engine.parallel import check_processes
from meddet_d2.engine.resume import Stopped
from meddet_d2.env import describe_engine, keep_traceback

# What a person can mend by reading one line: a wrong path, key, file or number.
MISTAKES = (ValueError, OSError, KeyError, FloatingPointError)


def setup(args) -> CfgNode:
    """Build the config from file and overrides, start the log, and register the data sets that the config describes."""
    cfg = meddet_d2.load_config(args.config_file, args.opts)
    cfg.freeze()
    check_config(cfg)
    check_processes(cfg)
    logger = setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="meddet_d2")
    logger.info("Running on %s", describe_engine())
    default_setup(cfg, args)
    register_datasets(cfg)
    return cfg


def main(args) -> dict:
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


def guarded_main(args) -> dict:
    """:func:`main`, with a mistake told in one line and its traceback kept in a file."""
    try:
        results = main(args)
        leave_group()
        return results
    except Stopped:
        leave_group()
        raise
    except MISTAKES as error:
        place = keep_traceback()
        # str() of a KeyError puts its message in quotes.
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.exit(f"error: {' '.join(str(message).split())} (traceback: {place})")
    except Exception:
        # A bug, not a mistake: the terminal gets all of it, too.
        print(f"What a bug report needs is in {keep_traceback()}; look for names in it first.", file=sys.stderr)
        raise


if __name__ == "__main__":
    try:
        run_processes(guarded_main, default_argument_parser().parse_args())
    except ValueError as error:
        sys.exit(f"error: {error}")

#!/usr/bin/env python
"""Train, distil or evaluate a detector; start reading the project here.

    python tools/train_net.py --config-file configs/quickstart.yaml
    python tools/train_net.py --config-file configs/meddet.yaml --num-gpus 4
    python tools/train_net.py --config-file configs/meddet.yaml --eval-only MODEL.WEIGHTS output/meddet/model_final.pth

``KEY VALUE`` pairs at the end override the config. The main path goes on in meddet_d2/engine/trainer.py, then
meddet_d2/distillation/step.py, then meddet_d2/modeling/gfl.py.
"""

import gc
import multiprocessing
import os
import signal
import sys

import torch.distributed as dist
from torch.multiprocessing import ProcessExitedException

import meddet_d2
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from meddet_d2.data import register_datasets
from meddet_d2.engine import evaluate, run_distillation, train_detector
from meddet_d2.engine.guards import check_config
from meddet_d2.engine.resume import STOPPED, Stopped
from meddet_d2.env import describe_engine, keep_traceback

# What a person can mend by reading one line: a wrong path, key, file or number.
MISTAKES = (ValueError, OSError, KeyError, FloatingPointError)


def setup(args) -> CfgNode:
    """Build the config from file and overrides, start the log, and register the data sets that the config describes."""
    cfg = meddet_d2.load_config(args.config_file, args.opts)
    cfg.freeze()
    check_config(cfg)
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


def leave_group() -> None:
    """End the talk between processes.

    Detectron2 leaves this to the end of the process, where gloo's threads now and then abort a finished run. They end
    with the group, once no model in a reference cycle holds it.
    """
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


def pass_on(number: int, frame) -> None:
    """The signal is meant for the processes that train. They end in their own time, and this one after them."""
    for process in multiprocessing.active_children():
        os.kill(process.pid, number)


if __name__ == "__main__":
    arguments = default_argument_parser().parse_args()
    if arguments.num_gpus > 1:
        signal.signal(signal.SIGTERM, pass_on)
    try:
        launch(
            guarded_main,
            arguments.num_gpus,
            num_machines=arguments.num_machines,
            machine_rank=arguments.machine_rank,
            dist_url=arguments.dist_url,
            args=(arguments,),
        )
    except ProcessExitedException as error:
        if error.exit_code != STOPPED:
            raise
        sys.exit(STOPPED)

"""The processes of a training: started here, on one or several machines, or by torchrun."""

import argparse
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing import ProcessExitedException

from detectron2.engine import launch
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm

# What torchrun tells each process that it starts.
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def run_processes(main: Callable[[argparse.Namespace], Any], arguments: argparse.Namespace) -> None:
    """Call ``main(arguments)`` in each process of a training.

    Under torchrun this process is one of them. Otherwise ``num_gpus`` are started on this machine, which is number
    ``machine_rank`` of ``num_machines`` that meet at ``dist_url``. SIGTERM to this process is passed on to those.

    Args:
        main: of a module that the new processes can import.
        arguments: with what Detectron2's ``default_argument_parser`` gives.

    Raises:
        SystemExit: with the status of a process that ended with one.
        ValueError: flags and environment contradict each other.
    """
    if started_by_torchrun():
        _join_torchrun(arguments)
        main(arguments)
        return
    if arguments.num_machines > 1 and arguments.dist_url == "auto":
        raise ValueError(
            f"--num-machines {arguments.num_machines} needs one --dist-url tcp://HOST:PORT for all machines, of the "
            "first one."
        )
    if not 0 <= arguments.machine_rank < arguments.num_machines:
        raise ValueError(
            f"--machine-rank is {arguments.machine_rank}; of {arguments.num_machines} machines it is 0 to "
            f"{arguments.num_machines - 1}."
        )
    if arguments.num_gpus * arguments.num_machines > 1:
        signal.signal(signal.SIGTERM, _pass_on)
    try:
        launch(
            _share_cores,
            arguments.num_gpus,
            num_machines=arguments.num_machines,
            machine_rank=arguments.machine_rank,
            dist_url=arguments.dist_url,
            args=(main, arguments),
        )
    except ProcessExitedException as error:
        if error.exit_code < 0:
            raise
        # It has said why.
        sys.exit(error.exit_code)


def _share_cores(main: Callable[[argparse.Namespace], Any], arguments: argparse.Namespace) -> None:
    """``main(arguments)``, with a process's share of the CPU's cores where the processes compute on them."""
    if arguments.num_gpus > 1 and not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // arguments.num_gpus))
    main(arguments)


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun, or something that speaks as it does, has started."""
    return all(name in os.environ for name in TORCHRUN) and int(os.environ["WORLD_SIZE"]) > 1


def _join_torchrun(arguments: argparse.Namespace) -> None:
    if arguments.num_gpus > 1 or arguments.num_machines > 1:
        raise ValueError(
            "torchrun has started the processes already: give it --nproc-per-node and --nnodes, and leave out "
            "--num-gpus and --num-machines."
        )
    cuda, local_rank = torch.cuda.is_available(), int(os.environ["LOCAL_RANK"])
    if cuda:
        if local_rank >= torch.cuda.device_count():
            raise ValueError(
                f"torchrun has started more processes than this machine's {torch.cuda.device_count()} GPUs; lower its "
                "--nproc-per-node."
            )
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if cuda else "gloo", init_method="env://", timeout=DEFAULT_TIMEOUT)
    # LOCAL_WORLD_SIZE says it, too, but other launchers than torchrun leave it out.
    comm.create_local_process_group(max(comm.all_gather(local_rank)) + 1)


def leave_group() -> None:
    """End the talk between processes.

    Detectron2 leaves this to the end of the process, where gloo's threads now and then abort a finished run. They end
    with the group, once no model in a reference cycle holds it.
    """
    if dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


def _pass_on(number: int, frame: Any) -> None:
    """The signal is meant for the processes that train. They end in their own time, and this one after them."""
    for process in multiprocessing.active_children():
        if process.pid is not None:
            os.kill(process.pid, number)

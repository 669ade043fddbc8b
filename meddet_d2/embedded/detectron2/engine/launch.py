"""One process per GPU, or several on the CPU where there is none."""

import socket
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from detectron2.utils import comm

DEFAULT_TIMEOUT = timedelta(minutes=30)


def launch(
    main_func, num_gpus_per_machine, num_machines=1, machine_rank=0, dist_url=None, args=(), timeout=DEFAULT_TIMEOUT
) -> None:
    """Call ``main_func(*args)`` in ``num_gpus_per_machine`` processes; run it on every machine of a training.

    They talk through NCCL; without CUDA through gloo. A single process is this one itself.
    New ones import ``main_func`` by its name. They meet at ``dist_url``, ``tcp://host:port``; ``"auto"`` or None is a
    free port of this machine, which then is the only one.
    """
    world_size = num_machines * num_gpus_per_machine
    if world_size <= 1:
        main_func(*args)
        return
    if 0 < (devices := torch.cuda.device_count()) < num_gpus_per_machine:
        raise ValueError(f"--num-gpus {num_gpus_per_machine}, but this machine has {devices}; ask for at most those.")
    if dist_url in (None, "auto"):
        if num_machines > 1:
            raise ValueError(f"--num-machines {num_machines} needs one --dist-url tcp://HOST:PORT for all machines.")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            dist_url = f"tcp://127.0.0.1:{s.getsockname()[1]}"
    worker_args = (main_func, world_size, num_gpus_per_machine, machine_rank, dist_url, args, timeout)
    mp.start_processes(_distributed_worker, args=worker_args, nprocs=num_gpus_per_machine)


def _distributed_worker(local_rank, main_func, world_size, per_machine, machine_rank, dist_url, args, timeout) -> None:
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
    backend, rank = "nccl" if torch.cuda.is_available() else "gloo", machine_rank * per_machine + local_rank
    dist.init_process_group(backend, init_method=dist_url, world_size=world_size, rank=rank, timeout=timeout)
    comm.synchronize()  # so that main_func's own time limits start together
    main_func(*args)

"""launch on the CPU: processes that find each other and train together, on either engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import detectron2
from detectron2.engine import launch

# New processes import the module of the function that they run, so it stands in a file of its own.
SCRIPT = """
import gc
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from detectron2.engine import SimpleTrainer, launch
from detectron2.utils import comm


class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5]))

    def forward(self, x):
        return {"loss": ((self.w * x - 1) ** 2).sum()}


def train(folder):
    rank, total = comm.get_rank(), torch.tensor([float(comm.get_rank() + 1)])
    dist.all_reduce(total)
    lines = [f"backend {dist.get_backend()}", f"size {comm.get_world_size()}"]
    lines += [f"sum {total.item()}", f"gathered {comm.all_gather(rank)}", f"main {comm.is_main_process()}"]
    model = nn.parallel.DistributedDataParallel(Regression(), broadcast_buffers=False)
    data = iter(lambda: torch.tensor([4.0 if rank == 0 else 2.0]), None)
    trainer = SimpleTrainer(model, data, torch.optim.SGD(model.parameters(), lr=0.1))
    trainer.train(0, 1)
    lines.append(f"weight {model.module.w.item():.4f}")
    (folder / f"{rank}.txt").write_text("\\n".join(lines))


def work(folder):
    train(folder)
    # Detectron2 leaves the group to the end of the process, where gloo's threads now and then abort it.
    gc.collect()
    dist.destroy_process_group()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    launch(work, 2, dist_url="auto", args=(folder,))
"""


def test_two_processes_on_the_cpu_train_as_one(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    engine = Path(detectron2.__file__).parents[1]
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(engine)])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(script), str(tmp_path)]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    for rank in range(2):
        lines = dict(line.split(" ", 1) for line in (tmp_path / f"{rank}.txt").read_text().splitlines())
        assert lines["backend"] == "gloo" and lines["size"] == "2"
        assert lines["sum"] == "3.0" and lines["gathered"] == "[0, 1]" and lines["main"] == str(rank == 0)
        # Slopes at w = 0.5: 2 (w x - 1) x is 8 for x = 4 and 0 for x = 2; their mean is 4.
        assert lines["weight"] == "0.1000"


def test_a_single_process_is_this_one():
    calls = []
    launch(lambda *args: calls.append((os.getpid(), args)), 1, args=(1, 2))
    assert calls == [(os.getpid(), (1, 2))]


def test_several_machines_need_an_address():
    with pytest.raises((AssertionError, ValueError)):
        launch(print, 1, num_machines=2, dist_url="auto")

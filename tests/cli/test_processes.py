"""The commands of docs/how_to/several_gpus.md, with two processes in all: on one machine, on two, and under torchrun.

All end with the same bits. Those that wait for ever are ended by a time limit.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from meddet_d2.engine import launcher

ROOT = Path(__file__).resolve().parents[2]
TOOL = "tools/train_net.py"
LIMIT = 900  # seconds, for a busy machine


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


# The page's commands in their order: how many of them are one run, and how many machines a command is typed on.
WAYS = {"processes": (1, 1), "machines": (2, 1), "torchrun": (1, 1), "torchrun on machines": (1, 2)}
PROGRAMS = {"meddet": ["-m", "meddet_d2"], "torchrun": ["-m", "torch.distributed.run"]}


def page_commands(way, config):
    """The page's commands of one way: two processes in all, which meet on this machine, and this config."""
    page = (ROOT / "docs" / "how_to" / "several_gpus.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    assert len(lines) == sum(count for count, _ in WAYS.values())
    found = iter(lines)
    taken = {name: [next(found) for _ in range(count)] for name, (count, _) in WAYS.items()}
    lines = taken[way] * WAYS[way][1]
    exchanged = {"HOST": "127.0.0.1", "PORT": str(free_port()), " 4": f" {2 // len(lines)}"}
    exchanged["configs/meddet.yaml"] = shlex.quote(str(config))
    for old, new in exchanged.items():
        lines = [line.replace(old, new) for line in lines]
    commands = map(shlex.split, lines)
    return [[sys.executable, *PROGRAMS[program], *arguments] for program, *arguments in commands]


class Together:
    """The commands of one run, each with its log; all that they start ends at the limit."""

    def __init__(self, folder, commands):
        self.logs = [folder / f"log_{i}.txt" for i in range(len(commands))]
        self.processes = []
        for log, command in zip(self.logs, commands, strict=True):
            with open(log, "w") as file:
                # Without GPUs, since two processes want two.
                env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
                self.processes.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
                    )
                )

    def end(self):
        """Exit statuses and what was said."""
        deadline = time.monotonic() + LIMIT
        try:
            statuses = [process.wait(timeout=max(deadline - time.monotonic(), 0.1)) for process in self.processes]
        finally:
            for process in self.processes:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        return statuses, [log.read_text() for log in self.logs]


@pytest.fixture
def start(finished_run, use_datasets_root, tmp_path):
    """``start(way, output, options)``; options may be one list for each command."""
    config = Path(finished_run[0].OUTPUT_DIR) / "config.yaml"
    common = ["MODEL.DEVICE", "cpu", "DISTILL.TRAIN_ALONE", "False", "DISTILL.TEACHERS.EVALUATE", "False"]

    def run(way, output, *options, extra=()):
        folder = tmp_path / output
        folder.mkdir(exist_ok=True)
        commands = []
        for i, command in enumerate(page_commands(way, config)):
            changes = [*common, "OUTPUT_DIR", str(folder), *options, *(extra if i == 0 else ())]
            commands.append([*command, *changes])
        return folder, Together(folder, commands)

    return run


def test_each_way_of_starting_two_processes_gives_the_same_bits(start):
    found = {}
    for way in WAYS:
        folder, run = start(way, way, "SOLVER.MAX_ITER", "2")
        statuses, said = run.end()
        assert not any(statuses), "\n".join(said)[-5000:]
        found[way] = torch.load(folder / "model_final.pth", weights_only=True)
        assert len(found[way]["trainer"]["hooks"]["Checkpoints"]["random"]) == 2
    assert not any("module." in name for name in found["processes"]["model"])
    discriminators = [one["trainer"]["hooks"]["DiscriminatorHook"]["discriminator"] for one in found.values()]
    for parts in (*[[one[key] for one in found.values()] for key in ("model", "distiller")], discriminators):
        assert all(torch.equal(value, other[name]) for other in parts[1:] for name, value in parts[0].items())


def test_machines_with_different_configs_are_told(start):
    _, run = start("machines", "differ", extra=["SOLVER.BASE_LR", "0.5"])
    statuses, said = run.end()
    assert all(statuses)
    assert "error: The processes differ in their config: process 0 has 'BASE_LR: 0.5'" in said[0]


def test_torchrun_passes_sigterm_on(start):
    options = ["SOLVER.MAX_ITER", "200", "SOLVER.CHECKPOINT_PERIOD", "2"]
    folder, run = start("torchrun", "stopped", *options)
    deadline = time.monotonic() + LIMIT
    while not list(folder.glob("model_*.pth")):
        assert run.processes[0].poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    run.processes[0].send_signal(signal.SIGTERM)
    statuses, (said,) = run.end()
    assert statuses[0] and "go on with --resume" in said
    assert (folder / "last_checkpoint").read_text() in said.replace("/", " ").replace(",", " ").split()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--num-machines", "2", "--dist-url", "auto"], "--dist-url tcp://HOST:PORT"),
        (["--num-machines", "2", "--machine-rank", "2", "--dist-url", "tcp://127.0.0.1:1"], "it is 0 to 1"),
    ],
)
def test_flags_that_cannot_be(options, words):
    done = subprocess.run(
        [sys.executable, TOOL, *options], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ") and words in line


def test_torchrun_and_num_gpus_are_one_too_many(monkeypatch):
    for name, value in zip(launcher.TORCHRUN, ("0", "2", "0", "127.0.0.1", "1"), strict=True):
        monkeypatch.setenv(name, value)
    arguments = launcher.argparse.Namespace(num_gpus=2, num_machines=1)
    with pytest.raises(ValueError, match="leave out --num-gpus"):
        launcher.run_processes(print, arguments)


def test_a_world_of_one_is_no_torchrun(monkeypatch):
    """Some machines' environments say so for every program."""
    for name, value in zip(launcher.TORCHRUN, ("0", "1", "0", "127.0.0.1", "1"), strict=True):
        monkeypatch.setenv(name, value)
    assert not launcher.started_by_torchrun()

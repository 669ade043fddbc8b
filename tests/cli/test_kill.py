"""Real processes, killed: tools/train_net.py ends as asked, and --resume goes on to the bits of the whole run."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from checkpoints import checkpoint_state, differences

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = [
    "MODEL.DEVICE", "cpu",  # where bits are promised
    "DISTILL.TRAIN_ALONE", "False",
    "DISTILL.TEACHERS.EVALUATE", "False",
    "SOLVER.MAX_ITER", "24",
    "SOLVER.CHECKPOINT_PERIOD", "4",
    "SOLVER.CHECKPOINT_KEEP", "2",
    "INPUT.INTENSITY_JITTER", "0.3",
    "DATALOADER.NUM_WORKERS", "2",
]  # fmt: skip


def command(config: Path, output: Path, *options: str) -> list[str]:
    tool = [sys.executable, "tools/train_net.py", "--config-file", str(config), "--resume"]
    return [*tool, *OPTIONS, "OUTPUT_DIR", str(output), *options]


class Run(subprocess.Popen):
    """A training in a group of its own, so that a signal can be sent to all its processes, as a scheduler does."""

    def __init__(self, *arguments: str):
        # Not a pipe, which would be full before anybody reads it.
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        # Without GPUs, since two processes want two.
        env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
        super().__init__(
            arguments, cwd=ROOT, env=env, stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def end(self) -> str:
        """Wait for its end; returns what it said."""
        self.wait(timeout=500)
        self.log.seek(0)
        return self.log.read()


def wait_for_checkpoint(process: Run, output: Path) -> None:
    """Until there is one that was not there before."""
    deadline = time.monotonic() + 300
    before = set(output.glob("model_*.pth"))
    while not set(output.glob("model_*.pth")) - before:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def finish(*arguments: str) -> str:
    process = Run(*arguments)
    said = process.end()
    assert process.returncode == 0, said
    return said


def assert_same(a: Path, b: Path) -> None:
    assert not differences(checkpoint_state(a), checkpoint_state(b))


@pytest.fixture(scope="module")
def whole(finished_run, tmp_path_factory, datasets_root):
    config = Path(finished_run[0].OUTPUT_DIR) / "config.yaml"
    output = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(datasets_root))
        finish(*command(config, output))
    return config, output


def test_sigterm(whole, tmp_path, use_datasets_root):
    """To all processes of the run, its data loader's workers too, as a scheduler sends it."""
    config, expected = whole
    process = Run(*command(config, tmp_path))
    wait_for_checkpoint(process, tmp_path)
    os.killpg(process.pid, signal.SIGTERM)
    said = process.end()
    assert process.returncode == 143, said
    assert "Stopped by SIGTERM after iteration" in said and "Traceback" not in said
    named = (tmp_path / "last_checkpoint").read_text()
    assert named != "model_final.pth" and f"/{named}, so go on with --resume" in said
    finish(*command(config, tmp_path))
    assert_same(expected, tmp_path)
    assert len(list(tmp_path.glob("model_0*.pth"))) == 2


def test_sigkill(whole, tmp_path, use_datasets_root):
    """Twice, at any moment: also in the middle of a save."""
    config, expected = whole
    for _ in range(2):
        process = Run(*command(config, tmp_path))
        wait_for_checkpoint(process, tmp_path)
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.end()
    finish(*command(config, tmp_path))
    assert_same(expected, tmp_path)


def test_two_processes_stop_together_and_go_on(whole, tmp_path, use_datasets_root):
    """The signal goes to the process that launched them; each has random numbers of its own."""
    config, _ = whole
    options = ["SOLVER.MAX_ITER", "12", "DATALOADER.NUM_WORKERS", "1", "DISTILL.METHOD", "MGD"]
    options += ["DISTILL.TEACHERS.USE", "(0,)"]
    commands = [[*command(config, tmp_path / name, *options), "--num-gpus", "2"] for name in ("whole", "parts")]
    # The flags of the launcher come before the overrides.
    commands = [[*one[:4], *one[-2:], *one[4:-2]] for one in commands]
    finish(*commands[0])
    process = Run(*commands[1])
    wait_for_checkpoint(process, tmp_path / "parts")
    os.kill(process.pid, signal.SIGTERM)
    said = process.end()
    assert process.returncode == 143, said
    assert (tmp_path / "parts" / "last_checkpoint").read_text() != "model_final.pth"
    finish(*commands[1])
    assert_same(tmp_path / "whole", tmp_path / "parts")
    states = checkpoint_state(tmp_path / "parts")["trainer"]["hooks"]["Checkpoints"]["random"]
    assert len(states) == 2 and not torch.equal(states[0]["torch"], states[1]["torch"])


def test_the_stages_go_on_where_they_were(finished_run, tmp_path, use_datasets_root):
    """SIGTERM while the second teacher trains: the first is not trained again."""
    config = Path(finished_run[0].OUTPUT_DIR) / "config.yaml"
    weights = tuple(str(tmp_path / name / "model_final.pth") for name in "abc")
    options = [
        "DISTILL.TEACHERS.WEIGHTS", str(weights),
        "DISTILL.TEACHERS.OPTS", "('SOLVER.MAX_ITER', 20, 'SOLVER.IMS_PER_BATCH', 2, 'SOLVER.CHECKPOINT_PERIOD', 2)",
        "SOLVER.MAX_ITER", "2",
        "DATALOADER.NUM_WORKERS", "0",
    ]  # fmt: skip
    process = Run(*command(config, tmp_path / "output", *options))
    wait_for_checkpoint(process, tmp_path / "b")
    os.kill(process.pid, signal.SIGTERM)
    said = process.end()
    assert process.returncode == 143 and "Stage 2 of 4: teacher" in said and "Stage 3 of" not in said, said
    first = (tmp_path / "a" / "model_final.pth").read_bytes()
    said = finish(*command(config, tmp_path / "output", *options))
    assert "Stage 1 of 3: teacher" in said
    assert "from iteration 0 " not in said.split("Stage 2 of 3")[0]
    assert (tmp_path / "a" / "model_final.pth").read_bytes() == first
    assert (tmp_path / "output" / "model_final.pth").is_file()

"""Two processes train as one with the same images per step, on either engine and without GPUs.

Processes that wait for each other for ever are ended by a time limit, and fail their test.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import checkpoint_state, differences, tensors
from tiny_runs import tiny_options

import detectron2

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 900  # seconds, for a busy machine
ITERATIONS = 3
# Images of two sizes, so that one process pads to another's; a step of four, of which one teaches the fusion.
RUN = [
    "SOLVER.MAX_ITER", ITERATIONS,
    "SOLVER.IMS_PER_BATCH", 4,
    "DISTILL.TEACHERS.EVALUATE", False,
    "INPUT.MIN_SIZE_TRAIN", (64, 96),
    "MODEL.BOTTOM_UP.NORM", "GN",
    "DISTILL.MEDDET.FUSION.SHARE", 0.25,
    "DISTILL.MEDDET.AATM.WARMUP", 0.2,
    "DISTILL.MEDDET.DIST_FOREGROUND", 0.3,
    "VALIDATION.LOSS", True,
]  # fmt: skip
ONE_TEACHER = ["DISTILL.TEACHERS.USE", (1,)]
# In double precision, to tell another sum from the same in another order: AdamW divides a gradient by its size, and
# so makes a whole step of one that is nothing but rounding. The last is in single precision, with SGD.
JOBS = {
    "MedDet": {"double": True},
    "healthy": {
        "double": True,
        "healthy": True,
        "options": ["DISTILL.MEDDET.DIST_REDUCTION", "relative", "DISTILL.MEDDET.FUSION.SHARE", 0.75],
    },
    "FitNets": {"double": True, "options": [*ONE_TEACHER, "DISTILL.METHOD", "FitNets"]},
    "FGD": {"double": True, "options": [*ONE_TEACHER, "DISTILL.METHOD", "FGD"]},
    "LD": {"double": True, "healthy": True, "test_images": 1, "options": [*ONE_TEACHER, "DISTILL.METHOD", "LD"]},
    "MGD": {"double": True, "options": [*ONE_TEACHER, "DISTILL.METHOD", "MGD", "DISTILL.MGD.DROP", 0.0]},
    "SyncBN": {"double": True, "options": ["MODEL.BOTTOM_UP.NORM", "SyncBN", "MODEL.BOTTOM_UP.NORM_EVAL", False]},
    "frozen BN": {
        "options": ["MODEL.BOTTOM_UP.NORM", "BN", "MODEL.BOTTOM_UP.NORM_EVAL", True, "SOLVER.OPTIMIZER", "SGD"]
    },
}
# These are compared with one another alone. Everything that has a state of its own is in them.
RESUMED = [
    "MODEL.BOTTOM_UP.NORM", "BN", "MODEL.BOTTOM_UP.NORM_EVAL", False, "SOLVER.OPTIMIZER", "AdamW",
    "INPUT.INTENSITY_JITTER", 0.3, "VALIDATION.BEST", "loss", "SOLVER.MAX_ITER", 5, "TEST.EVAL_PERIOD", 2,
]  # fmt: skip
TWO_ALONE = {
    "whole": {"options": RESUMED},
    "stopped": {"options": RESUMED, "stop": 1},
    "stopped late": {"options": RESUMED, "stop": 3},
    "poison": {"poison": True},
}


def environment(datasets_root):
    """Of a new process: the project and the engine of this one, and no GPU, since two processes want two."""
    engine = Path(detectron2.__file__).parents[1]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", ""), str(engine)])
    ours = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **ours, "DETECTRON2_DATASETS": str(datasets_root)}


def run(command, env, log):
    """A process and all that it starts, ended at the limit; returns its status and what it said."""
    with open(log, "w") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return status, log.read_text()


def run_jobs(processes, jobs, teachers, folder, datasets_root):
    path = folder / "jobs.json"
    tiny = tiny_options(teachers, folder)
    described = [
        # An evaluation has three images, or one, so that a process has fewer than the other, or none.
        {"test_images": 3, **job, "options": [*tiny, *RUN, *job.get("options", []), "OUTPUT_DIR", str(folder / name)]}
        for name, job in jobs.items()
    ]
    path.write_text(json.dumps(described))
    command = [sys.executable, str(ROOT / "tests" / "distributed_runs.py"), str(processes), str(path)]
    status, said = run(command, environment(datasets_root), folder / "log.txt")
    assert status == 0, said[-5000:]
    return folder


@pytest.fixture(scope="module")
def one(finished_run, datasets_root, tmp_path_factory):
    """The folder of each job in one process."""
    teachers = Path(finished_run[0].OUTPUT_DIR).parent
    return run_jobs(1, JOBS, teachers, tmp_path_factory.mktemp("one"), datasets_root)


@pytest.fixture(scope="module")
def two(finished_run, datasets_root, tmp_path_factory):
    """The same in two."""
    teachers = Path(finished_run[0].OUTPUT_DIR).parent
    return run_jobs(2, {**JOBS, **TWO_ALONE}, teachers, tmp_path_factory.mktemp("two"), datasets_root)


def weights(folder):
    """Student, distiller, discriminator and both optimizers."""
    content = torch.load(folder / "model_final.pth", weights_only=True)
    hooks = content["trainer"]["hooks"]
    parts = {
        "model": content["model"],
        "distiller": content["distiller"],
        "optimizer": content["trainer"]["_trainer"],
        "discriminator": hooks.get("DiscriminatorHook"),
    }
    return dict(tensors(parts))


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return {
        (row["iteration"], name): value
        for row in rows
        for name, value in row.items()
        # The spread of all maps is not the mean of their shares' spreads.
        if not any(word in name for word in ("time", "eta", "_std"))
    }


@pytest.mark.parametrize("name", JOBS)
def test_two_processes_are_as_good_as_one(name, one, two):
    a, b = weights(one / name), weights(two / name)
    assert a.keys() == b.keys() and any("/model/" in key for key in a)
    assert (name != "MedDet") or any("/discriminator/" in key for key in a)
    # SGD's momentum is a sum of gradients, which are larger than the weights' changes.
    compared = [key for key in a if a[key].numel() and ("double" in JOBS[name] or not key.startswith("/optimizer"))]
    worst = max(((a[key].double() - b[key].double()).abs().max().item(), key) for key in compared)
    assert worst[0] < 1e-5, worst
    near = 1e-5 if "double" in JOBS[name] else 1e-4
    assert losses(one / name) == pytest.approx(losses(two / name), rel=near, abs=near, nan_ok=True)


@pytest.mark.parametrize("name", [*JOBS, "whole", "stopped"])
def test_both_processes_end_with_the_same_detector(name, two):
    """Also with the same statistics, where each normalises by its own images."""
    one, other = ((two / name / f"detector_{rank}.txt").read_text() for rank in range(2))
    assert one == other


@pytest.mark.parametrize("name", ["stopped", "stopped late"])
def test_a_stopped_run_of_two_processes_ends_with_the_bits_of_the_whole_one(name, two):
    assert (two / name / "model_0000001.pth").is_file() or (two / name / "model_0000003.pth").is_file()
    whole, stopped = (checkpoint_state(two / one) for one in ("whole", name))
    assert not differences(whole, stopped)


def test_nan_on_one_process_stops_both_and_names_its_image(two):
    messages = [(two / "poison" / f"error_{rank}.txt").read_text() for rank in range(2)]
    assert messages[0] == messages[1]
    assert "at iteration 1" in messages[0] or "NaN distances" in messages[0]
    assert not (two / "poison" / "model_final.pth").exists()

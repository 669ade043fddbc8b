"""The quickstart's five networks end with the same bits on Detectron2 and on the embedded engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import checkpoint_state, differences

import meddet_d2
import detectron2

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = Path(meddet_d2.__file__).parent / "embedded"
NETWORKS = ("resnet10t", "resnet14t", "resnet18", "output/student_alone", "output")
# As in configs/quickstart.yaml, with fewer iterations and images.
OPTIONS = [
    "SOLVER.MAX_ITER", "12",
    "DISTILL.TEACHERS.OPTS", "('SOLVER.MAX_ITER', 12)",
    "DISTILL.MEDDET.AATM.WARMUP", "0.2",
    "DATASETS.PHANTOM.TRAIN_PATIENTS", "20",
    "DATASETS.PHANTOM.TEST_PATIENTS", "2",
    "INPUT.INTENSITY_JITTER", "0.1",
    "MODEL.DEVICE", "cpu",
]  # fmt: skip


def train(engine: Path, output: Path, datasets_root: Path) -> str:
    """The whole run in a process that finds the engine in the folder ``engine``; returns what it said."""
    weights = tuple(str(output / name / "model_final.pth") for name in NETWORKS[:3])
    command = [sys.executable, "tools/train_net.py", "--config-file", "configs/quickstart.yaml", *OPTIONS]
    command += ["DISTILL.TEACHERS.WEIGHTS", str(weights), "OUTPUT_DIR", str(output / "output")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DETECTRON2_DATASETS": str(datasets_root)}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(engine)])
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.skipif(Path(detectron2.__file__).parents[1] == EMBEDDED, reason="Detectron2 is not installed")
def test_twelve_iterations_are_the_same_to_the_bit(tmp_path, datasets_root):
    said = train(Path(detectron2.__file__).parents[1], tmp_path / "real", datasets_root)
    assert "Running on Detectron2 " in said
    # First in the path, where it hides the installed one.
    said = train(EMBEDDED, tmp_path / "embedded", datasets_root)
    assert "Running on embedded engine" in said
    for name in NETWORKS:
        real, embedded = (checkpoint_state(tmp_path / engine / name) for engine in ("real", "embedded"))
        assert len(real["model"]) > 100
        # Checksums of the teachers' files, which hold the name of their run.
        for state in (real, embedded):
            state.pop("teachers", None)
        assert not differences(real, embedded), name

"""The command line: one word for each mistake, and the promise of --eval-only."""

import contextlib
import io
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import detectron2

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = str(ROOT / "configs" / "quickstart.yaml")


def run(train_net, *arguments):
    return train_net.run_process(train_net.parse_args([str(a) for a in arguments]))


def told(train_net, *arguments) -> str:
    """The one line that a mistaken command ends with."""
    with contextlib.redirect_stderr(io.StringIO()) as said, pytest.raises(SystemExit) as caught:
        run(train_net, *arguments)
    *_, message = said.getvalue().splitlines()
    assert caught.value.code == 1 and message.startswith("error: ")
    return message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["SOLVER.BASE_LRR", 0.1], "SOLVER.BASE_LR"),
        (["SOLVER.AMP.ENABLED", True], "SOLVER.AMP.ENABLED needs a CUDA device"),
        (["DATASETS.TRAIN", "('cdh1848_train',)", "DISTILL.ENABLED", False], "cdh1848"),
        (["DATASETS.TRAIN", "('cdh_1848',)", "DISTILL.ENABLED", False], "cdh_1848"),
        (["DISTILL.TEACHERS.TRAIN_MISSING", False], "meddet train --config-file"),
        (["DISTILL.METHOD", "MedDat"], "MedDet"),
        (["DISTILL.MEDDET.FUSION.NAME", "Mean"], "LWFF"),
        (["MODEL.BOTTOM_UP.NAME", "mobilenetv2_0500"], "mobilenetv2_050"),
        (["MODEL.GFL.LOSS_LAMBDA", 1.5], "LOSS_LAMBDA"),
    ],
)
def test_each_mistake_is_told_in_one_line(train_net, finished_run, tmp_path, options, words):
    teachers = (
        finished_run[0].DISTILL.TEACHERS.WEIGHTS if "TRAIN_MISSING" not in options[0] else ("x/model_final.pth",) * 3
    )
    device = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", tmp_path / "output", "DISTILL.TEACHERS.WEIGHTS", teachers]
    assert words in told(train_net, "--config-file", QUICKSTART, *device, *options)


def test_a_mistake_leaves_its_traceback_and_a_bug_is_shown(train_net, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = Path(told(train_net, "--config-file", "nowhere.yaml").rpartition("(traceback: ")[2].rstrip(")"))
    assert place.parent == tmp_path and place.stat().st_mode & 0o777 == 0o600
    assert "FileNotFoundError" in place.read_text() and detectron2.__version__ in place.read_text()

    def broken(args):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(train_net, "run", broken)
    with pytest.raises(ZeroDivisionError):
        run(train_net)
    (other,) = set(tmp_path.iterdir()) - {place}
    assert str(other) in capsys.readouterr().err and "a bug" in other.read_text()


def test_two_runs_on_a_machine_do_not_meet(train_net):
    assert train_net.parse_args([]).dist_url == "auto"
    assert train_net.parse_args(["--dist-url", "tcp://a:1"]).dist_url == "tcp://a:1"


def test_missing_config_file_is_named(train_net):
    assert "nowhere.yaml" in told(train_net, "--config-file", "nowhere.yaml")


def test_eval_only_without_a_checkpoint_says_so(train_net, tmp_path):
    line = told(train_net, "--config-file", QUICKSTART, "--eval-only", "OUTPUT_DIR", tmp_path)
    assert str(tmp_path) in line and "MODEL.WEIGHTS" in line


def test_the_real_command_line(finished_run, use_datasets_root):
    """--eval-only in a process of its own gives the figures of the run, on the engine that the log names."""
    cfg, results = finished_run
    config = Path(cfg.OUTPUT_DIR) / "config.yaml"
    command = [sys.executable, "tools/train_net.py", "--config-file", str(config), "--eval-only"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    first = next(line for line in done.stdout.splitlines() if "Running on" in line)
    assert "Detectron2" in first
    assert f"{results['bbox']['AP50']:.4f}" in done.stdout

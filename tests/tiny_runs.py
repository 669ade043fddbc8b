"""Fixtures: runs small enough for a test (the quickstart on a handful of 96 x 96 phantoms)."""

import importlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import meddet_d2
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from meddet_d2.data import register_datasets
from meddet_d2.engine import run_distillation

ROOT = Path(__file__).resolve().parents[1]
TINY_DATA = [
    "DATASETS.PHANTOM.SIZE", 96,
    "DATASETS.PHANTOM.TRAIN_PATIENTS", 3,
    "DATASETS.PHANTOM.TEST_PATIENTS", 2,
    "INPUT.MIN_SIZE_TRAIN", (96,),
    "INPUT.MIN_SIZE_TEST", 96,
]  # fmt: skip
# timm's networks for tests: a tenth of the quickstart's smallest, in time and on the disk.
TINY_STUDENT, TINY_TEACHERS = "test_efficientnet", ("test_resnet", "test_byobnet", "test_convnext")
TEACHER_CONFIGS = tuple(
    f"{ROOT}/configs/quickstart/Base-Quickstart.yaml MODEL.BOTTOM_UP.NAME {name}" for name in TINY_TEACHERS
)
TINY_RUN = [
    "MODEL.BOTTOM_UP.NAME", TINY_STUDENT,
    "SOLVER.MAX_ITER", 3,
    "SOLVER.IMS_PER_BATCH", 2,
    "SOLVER.WARMUP_ITERS", 1,
    "DISTILL.TRAIN_ALONE", False,
    "DISTILL.TEACHERS.CONFIGS", TEACHER_CONFIGS,
    "DISTILL.TEACHERS.OPTS", ("SOLVER.MAX_ITER", 2, "SOLVER.IMS_PER_BATCH", 2),
]  # fmt: skip


def load_tool(name: str) -> ModuleType:
    """The module behind ``tools/<name>.py`` or ``datasets/<name>.py``, which are doors to it alone."""
    return importlib.import_module(f"meddet_d2.cli.{name}")


def bare_environment(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The environment variables of a Python (-S) that has this project and the named packages alone."""
    packages = folder / "packages"
    packages.mkdir()
    for name in names:
        spec = importlib.util.find_spec(name)
        source = Path(spec.submodule_search_locations[0] if spec.submodule_search_locations else spec.origin)
        (packages / source.name).symlink_to(source)
        # Wheels keep their shared libraries in a folder beside the package, and pydicom asks for its own version.
        for beside in [*source.parent.glob("*.libs"), *source.parent.glob(f"{name}-*.dist-info")]:
            target = packages / beside.name
            if not target.exists():
                target.symlink_to(beside)
    (packages / "meddet_d2").symlink_to(ROOT / "meddet_d2")
    return {**os.environ, "PYTHONPATH": str(packages)}


def smooth_noise(height: int = 96, width: int = 120, seed: int = 0) -> np.ndarray:
    """uint8 (height, width, 3), smooth, so that resizing does not flatten it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 6 + 1, width // 6 + 1, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def default_cfg() -> CfgNode:
    """The project's keys at their defaults, not frozen, for the CPU."""
    cfg = get_cfg()
    meddet_d2.add_meddet_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    return cfg


@pytest.fixture
def cfg():
    """:func:`default_cfg`; a module that wants other values derives a fixture of the same name from it."""
    return default_cfg()


@pytest.fixture(scope="session")
def datasets_root(tmp_path_factory):
    """One folder of data sets for the session, so that the phantoms are drawn once."""
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture
def use_datasets_root(datasets_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets_root))


def tiny_options(teachers: Path, output: Path) -> list:
    """Overrides that make configs/quickstart.yaml a run of seconds."""
    weights = tuple(str(teachers / name / "model_final.pth") for name in ("a", "b", "c"))
    return [*TINY_DATA, *TINY_RUN, "DISTILL.TEACHERS.WEIGHTS", weights, "OUTPUT_DIR", str(output)]


def make_cfg(options: list, config: str = "quickstart.yaml") -> CfgNode:
    """The frozen config of a tiny run, with its data sets registered."""
    cfg = meddet_d2.load_config(str(ROOT / "configs" / config), options)
    cfg.freeze()
    register_datasets(cfg)
    return cfg


@pytest.fixture(scope="session")
def finished_run(datasets_root, tmp_path_factory):
    """A whole run, from no teacher to the last table: its config and what it returned."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(datasets_root))
        cfg = make_cfg([*tiny_options(folder, folder / "output"), "DISTILL.TRAIN_ALONE", True])
        return cfg, run_distillation(cfg)


@pytest.fixture
def tiny_cfg(tmp_path, use_datasets_root):
    """``make(*options)`` gives the config of a tiny run without teachers' checkpoints."""
    return lambda *options: make_cfg([*tiny_options(tmp_path, tmp_path / "output"), *options])


@pytest.fixture
def distil_cfg(tmp_path, finished_run, use_datasets_root):
    """``make(*options)`` gives the config of a tiny distillation whose teachers are there."""
    teachers = Path(finished_run[0].OUTPUT_DIR).parent
    return lambda *options: make_cfg([*tiny_options(teachers, tmp_path / "output"), *options])


@pytest.fixture
def train_net(use_datasets_root):
    """``tools/train_net.py`` as a module."""
    return load_tool("train_net")


@pytest.fixture(scope="session")
def export_model():
    """``tools/export_model.py`` as a module."""
    return load_tool("export_model")


@pytest.fixture(scope="session")
def exported(export_model, datasets_root, tmp_path_factory):
    """The folder of an export through the command line, its detector, and the command's options."""
    folder = tmp_path_factory.mktemp("deploy")
    options = [*tiny_options(folder, folder), "MODEL.GFL.SCORE_THRESH_TEST", 0.3]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(datasets_root))
        cfg = make_cfg(options)
        torch.manual_seed(0)
        detector = build_model(cfg).eval()
        # From random weights all scores are alike; these differ from place to place.
        with torch.no_grad():
            detector.head.cls_predictor.weight.normal_(std=0.2)
            detector.head.cls_predictor.bias.fill_(-1.5)
            detector.head.box_predictor.weight.normal_(std=0.1)
            for block in (detector.head.cls_nmode, detector.head.box_nmode):
                block.w.uniform_(-2, 2)
                block.b.uniform_(-2, 2)
        torch.save({"model": detector.state_dict()}, folder / "weights.pth")
        arguments = ["--config-file", str(ROOT / "configs" / "quickstart.yaml")]
        arguments += ["--weights", str(folder / "weights.pth"), "--output", str(folder / "exported")]
        opts = [str(option) for option in options]
        assert export_model.main([*arguments, "--int8", "--calibration-images", "4", *opts]) == 0
    return folder / "exported", detector, (arguments, opts)

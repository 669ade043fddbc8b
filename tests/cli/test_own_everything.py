"""A method, a task, a detector and five classes in files of a folder: the package learns of them by options alone."""

import csv
import hashlib
import json
import os
import subprocess
import sys

import pytest
import torch
from class_sets import FIVE, FIVE_NAMES, write_coco
from tiny_runs import ROOT

pytestmark = pytest.mark.slow

CONFIG = str(ROOT / "configs" / "quickstart" / "Base-Quickstart.yaml")
NAMES = ("own_train", "own_test")
STEPS = 3
DETECTOR = ["--config-file", "run/config.yaml", "--weights", "run/model_final.pth"]
# The teacher sees the picture the other way round, and its maps are turned back.
PLUGIN = '''
from torch import tensor

import meddet_d2
from detectron2.modeling import META_ARCH_REGISTRY
from meddet_d2.distillation import DISTILLER_REGISTRY, TASK_REGISTRY, Distiller, Observation
from meddet_d2.distillation.tasks import BoxesGFL
from meddet_d2.modeling import GFL

VIEWS = {"student": 0, "teacher": 0}


@META_ARCH_REGISTRY.register()
class TurnedDetector(GFL):
    """GFL under another name."""


@TASK_REGISTRY.register()
class TurnedBoxes(BoxesGFL):
    architectures = ("TurnedDetector",)

    def view(self, inputs, role):
        VIEWS[role] += 1
        seen = super().view(inputs, role)
        return [{**item, "image": item["image"].flip(-1)} for item in seen] if role == "teacher" else seen

    def observe(self, network, inputs, levels=None, *, targets=None, together=True):
        seen = super().observe(network, inputs, levels, targets=targets, together=together)
        if targets is None:
            return Observation([level.flip(-1) for level in seen.features])
        return Observation(seen.features, seen.outputs, {**seen.losses, "loss_task": seen.features[0].square().mean()})


@DISTILLER_REGISTRY.register()
class Nearness(Distiller):
    @classmethod
    def from_config(cls, cfg, student, teachers):
        return {}

    def forward(self, batch):
        (teacher,) = batch.teachers
        pairs = list(zip(batch.student.features, teacher.features, strict=True))
        self.measure(**{f"views/{role}": tensor(float(count)) for role, count in VIEWS.items()})
        return {**batch.student.losses, "loss_method": sum((ours - theirs).abs().mean() for ours, theirs in pairs)}
'''


def package_files() -> dict[str, str]:
    """The checksum of every Python file and config of the project."""
    files = [*(ROOT / "meddet_d2").rglob("*.py"), *(ROOT / "configs").rglob("*.yaml")]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """``run(*arguments)`` runs a command in the folder of everything, with the plugin; gives what it printed."""
    folder = tmp_path_factory.mktemp("everything")
    (folder / "turned.py").write_text(PLUGIN, encoding="utf-8")
    write_coco(folder, "a", images=6)
    write_coco(folder, "b", first=20)

    def run(command: str, *arguments: str, plugin: bool = True, status: int = 0) -> str:
        line = [sys.executable, "-m", "meddet_d2", command, *(["--plugin", "turned.py"] if plugin else []), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "MEDDET_PLUGINS": ""}
        done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    before = package_files()
    yield folder, run
    assert package_files() == before


@pytest.fixture(scope="module")
def trained(own):
    """What a training of three steps printed, which trains its teacher first."""
    _, run = own
    entries = tuple(f"{name}={json}.json,slices" for name, json in zip(NAMES, "ab", strict=True))
    small = ["MODEL.BOTTOM_UP.NAME", "mobilenetv2_035", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.WARMUP_ITERS", "1"]
    kind = ["MODEL.META_ARCHITECTURE", "TurnedDetector"]
    options = [*small, *kind, "MODEL.DEVICE", "cpu", "SOLVER.MAX_ITER", str(STEPS), "OUTPUT_DIR", "run"]
    options += ["DATASETS.REGISTER", str(entries), "DATASETS.PATIENT_KEY", "case"]
    options += ["DATASETS.TRAIN", f"('{NAMES[0]}',)", "DATASETS.TEST", f"('{NAMES[1]}',)"]
    options += ["INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", "96", "MODEL.GFL.SCORE_THRESH_TEST", "0.0"]
    options += ["DISTILL.ENABLED", "True", "DISTILL.METHOD", "Nearness", "DISTILL.TEACHERS.TRAIN_MISSING", "True"]
    options += ["DISTILL.TEACHERS.CONFIGS", str((CONFIG,)), "DISTILL.TEACHERS.WEIGHTS", "('teacher/model_final.pth',)"]
    options += ["DISTILL.TEACHERS.OPTS", str((*small, *kind, "SOLVER.MAX_ITER", "2"))]
    return run("train", "--config-file", CONFIG, *options)


def test_three_steps_are_the_method_s_and_the_task_s(own, trained):
    folder, _ = own
    for name in ("teacher", "run"):
        content = torch.load(folder / name / "model_final.pth", weights_only=True)
        assert content["classes"] == FIVE_NAMES and content["model"]["head.cls_predictor.weight"].shape[0] == 5
    lines = [json.loads(line) for line in (folder / "run" / "metrics.json").read_text().splitlines()]
    last = [line for line in lines if "loss_method" in line][-1]
    assert last["iteration"] == STEPS - 1 and last["loss_method"] > 0 and last["loss_task"] > 0
    # The teacher has shown one more, before the training, to have its BatchNorm folded.
    assert last["views/student"] == STEPS and last["views/teacher"] == STEPS + 1
    assert "student, Nearness" in trained
    assert {f"bbox/AP50-{name}" for name in FIVE_NAMES} <= lines[-1].keys()
    command = f"meddet evaluate --plugin {folder / 'turned.py'} --config-file run/config.yaml"
    assert f"{command} --weights run/model_final.pth --output reading" in trained


def test_evaluation_has_the_five_names(own, trained):
    folder, run = own
    run("evaluate", *DETECTOR, "--output", "reading", "--bootstrap", "5", "TEST.FINDINGS", "('mass', 'cyst')")
    record = json.loads((folder / "reading" / "clinical.json").read_text())
    assert record["subject"]["findings"] == ["cyst", "mass"] and record["confusion"]["rows"][:5] == FIVE_NAMES
    assert all(f"<td>{name}</td>" in (folder / "reading" / "report.html").read_text() for name in FIVE_NAMES)
    # The training's evaluation: its detections have the json's own ids.
    found = json.loads((folder / "run" / "inference" / NAMES[1] / "coco_instances_results.json").read_text())
    assert found and {box["category_id"] for box in found} <= set(FIVE)


def test_the_export_predicts_without_the_plugin_and_the_checkpoint_with_it(own, trained):
    folder, run = own
    said = run("export", *DETECTOR, "--output", "exported")
    assert float(said.rpartition("by at most ")[2].strip().rstrip(".")) < 0.001
    assert json.loads((folder / "exported" / "card.json").read_text())["classes"] == FIVE_NAMES
    onnx = ["--onnx", "exported/model.onnx"]
    for output, network, plugin in (("from_onnx", onnx, False), ("from_checkpoint", DETECTOR, True)):
        run("predict", "slices/20.png", *network, "--threshold", "0", "--output", output, plugin=plugin)
        categories = json.loads((folder / output / "predictions.json").read_text())["categories"]
        assert categories == [{"id": number, "name": name} for number, name in enumerate(FIVE_NAMES, start=1)]
        with open(folder / output / "findings.csv", encoding="utf-8") as file:
            labels = {line["label"] for line in csv.DictReader(file)}
        assert labels and labels <= set(FIVE_NAMES)


def test_a_part_of_a_plugin_that_is_not_loaded_names_the_option(own):
    _, run = own
    keys = ["MODEL.META_ARCHITECTURE", "TurnedDetector", "MODEL.DEVICE", "cpu", "OUTPUT_DIR", "none"]
    said = run("train", "--config-file", CONFIG, *keys, plugin=False, status=1)
    assert "error: MODEL.META_ARCHITECTURE is TurnedDetector" in said and "--plugin" in said

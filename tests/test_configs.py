"""Every yaml of configs/ is read, built and trained for one step."""

import json
import math
import re
from functools import lru_cache
from pathlib import Path

import pytest
import torch

import meddet_d2
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from meddet_d2.benchmark import load_suite
from meddet_d2.config import load_config, split_teacher
from meddet_d2.config.class_names import class_count, keypoint_count
from meddet_d2.distillation import DistillationModel, TeacherBank, build_distiller
from meddet_d2.distillation.teacher_configs import in_use
from meddet_d2.distillation.teacher_configs import load_config as load_teacher
from meddet_d2.engine.optimizer import build_optimizer

ROOT = Path(__file__).resolve().parents[1]
# Suites and scales of tools/benchmark.py are no whole configs; tests/benchmark/test_plan.py puts them together.
PARTS = set((ROOT / "configs" / "benchmark").glob("*.yaml"))
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in {*(ROOT / "configs").rglob("*.yaml")} - PARTS)


def build_without_download(config: str):
    path, overrides = split_teacher(config)
    cfg = load_config(path, [*overrides, "MODEL.BOTTOM_UP.PRETRAINED", False, "MODEL.DEVICE", "cpu"])
    return cfg, build_model(cfg)


@lru_cache
def untrained_teacher(path: str, count: str):
    """Shared by all tests, for a teacher never changes."""
    return build_without_download(f"{path} {count}")[1]


def batch(landmarks: int) -> list[dict]:
    """An image with one disc and a healthy one, no larger than the coarsest level's stride; or two with landmarks."""
    items = []
    for index, boxes in enumerate([[[40.0, 50.0, 84.0, 70.0]], []]):
        instances = Instances((128, 128))
        if landmarks:
            instances.gt_landmarks = torch.cat([128 * torch.rand(1, landmarks, 2), torch.ones(1, landmarks, 1)], dim=2)
            instances.gt_structures = torch.ones(1, 2, 128, 128, dtype=torch.uint8)
        else:
            instances.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
            instances.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
        image = torch.randint(0, 256, (3, 128, 128), generator=torch.Generator().manual_seed(index), dtype=torch.uint8)
        items.append({"image": image, "height": 128, "width": 128, "image_id": index, "instances": instances})
    return items


@pytest.mark.parametrize("path", CONFIGS)
def test_every_yaml_builds_and_takes_one_step(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    torch.manual_seed(0)
    cfg, model = build_without_download(path)
    points = cfg.MODEL.META_ARCHITECTURE == "LandmarkDetector"
    if cfg.DISTILL.ENABLED:
        # Teachers as built: what they know does not matter for one step.
        configs = [config for config, _ in in_use(cfg)]
        # A teacher takes over the run's data sets, and so their classes.
        count = "" if points else f"MODEL.GFL.NUM_CLASSES {class_count(cfg)}"
        teachers = TeacherBank([untrained_teacher(config, count) for config in configs], configs)
        model = DistillationModel(model, teachers, build_distiller(cfg, model, teachers))
    optimizer = build_optimizer(cfg, model)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] > 0 for p in group["params"]}
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = {name for name, p in learning.items() if p.ndim > 1}
    assert cfg.SOLVER.WEIGHT_DECAY or points  # FPD trains without one
    assert {name for name, p in learning.items() if id(p) in decayed} == (
        matrices if cfg.SOLVER.WEIGHT_DECAY else set()
    )
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(learning)
    model.train()
    losses = model(batch(keypoint_count(cfg) if points else 0))
    assert ({"loss_heatmap"} if points else {"loss_qfl", "loss_dfl", "loss_giou"}) <= set(losses)
    total = sum(losses.values())
    assert math.isfinite(total.item())
    trained = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    total.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    optimizer.step()
    moved = sum(not torch.equal(trained[name], p) for name, p in model.named_parameters() if name in trained)
    assert moved > 0.5 * len(trained)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_the_configs_of_the_issue_are_there():
    expected = {
        "Base-GFL",
        "gfl_r50",
        "gfl_r101",
        "gfl_r152",
        "gfl_mobilenetv2",
        "gfl_mobilenetv2_1.4",
        "gfl_efficientnet_b0",
        "gfl_efficientnet_b1",
        "gfl_shufflenet",
        "gfl_shufflenet_v2",
        "meddet",
        "spider_lumbar",
        "quickstart",
    }
    assert expected <= {Path(path).stem for path in CONFIGS}


@pytest.mark.parametrize("name", ["model", "data", "solver", "distill"])
def test_every_key_has_its_line_of_why(name):
    lines = (ROOT / "meddet_d2" / "config" / f"{name}_keys.py").read_text().splitlines()
    keys = [place for place, line in enumerate(lines) if re.match(r"    cfg\.[A-Z0-9_.]+ = (?!CN\(\))", line)]
    assert keys and [lines[place] for place in keys if not lines[place - 1].lstrip().startswith("#")] == []


def test_a_misspelt_key_is_told_with_its_neighbour(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("MODEL:\n  GFL:\n    NUM_CLASESS: 2\n")
    with pytest.raises(ValueError, match=r"wrong\.yaml.*MODEL\.GFL\.NUM_CLASSES") as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("_BASE_: a.yaml\n", "lead back to its own file"),
        ("_BASE_: b.yaml\n", "lead back to its own file"),
        ("_BASE_: [c.yaml, c.yaml]\n", "holds no keys and values"),
        ("_BASE_: 7\n", "_BASE_ is 7"),
        ("7: a\n", "a key that is no text"),
        ("DISTILL: {TEACHERS: {CONFIGS: [7]}}\n", "must name files"),
        ("DISTILL: {TEACHERS: {CONFIGS: }}\n", "a.yaml: DISTILL.TEACHERS.CONFIGS has no value"),
        # What is told of this one depends on Python: its parser gives up, or finds no literal.
        ("SOLVER: {STEPS: '(1, 0" + "{" * 2000 + ", 1)'}\n", "a.yaml: "),
        ("SOLVER: {STEPS: '({[]: 1},)'}\n", "a.yaml: one of the values cannot be read"),
        ("SOLVER:\n", "a.yaml: SOLVER must be a section of keys, not nothing"),
        ("SOLVER:\n  MAX_ITER: many\n", "a.yaml: SOLVER.MAX_ITER must be of type int, not str"),
        ("SEED: !!python/object/apply:os.mkdir ['canary']\n", "could not determine a constructor"),
    ],
)
def test_configs_that_lead_nowhere_run_something_or_are_unfinished(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text("_BASE_: a.yaml\n")
    (tmp_path / "c.yaml").write_text("")
    with pytest.raises(ValueError, match=r"[ac]\.yaml") as caught:
        load_config(str(tmp_path / "a.yaml"))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()
    (tmp_path / "a.yaml").write_text("_BASE_: nowhere.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        load_config(str(tmp_path / "a.yaml"))


def test_a_broken_yaml_is_told_in_one_line(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("MODEL: [1, 2\nSEED: 3\n")
    with pytest.raises(ValueError, match=r"broken\.yaml is not valid yaml") as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"), [("None", "SEED has no value"), ("many", "SEED must be of type int, not str")]
)
def test_overrides_of_no_or_another_type_are_told(value, words):
    with pytest.raises(ValueError, match=f"meddet.yaml with its overrides: {words}"):
        load_config(str(ROOT / "configs" / "meddet.yaml"), ["SEED", value])


def test_overrides_without_a_value_are_told():
    with pytest.raises(ValueError, match="SEED"):
        load_config(str(ROOT / "configs" / "meddet.yaml"), ["SEED"])


def test_teachers_configs_are_found_beside_the_students():
    cfg = load_config(str(ROOT / "configs" / "meddet.yaml"))
    assert [Path(path) for path in cfg.DISTILL.TEACHERS.CONFIGS] == [
        ROOT / "configs" / "backbones" / f"gfl_{name}.yaml" for name in ("r50", "r101", "r152")
    ]


def test_a_teachers_overrides_stay_behind_its_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart", "meddet/spider_lumbar"):
        cfg = load_config(str(ROOT / "configs" / f"{name}.yaml"))
        base = ROOT / "configs" / "quickstart" / "Base-Quickstart.yaml"
        names = ["resnet10t", "resnet14t", "resnet18"]
        assert list(cfg.DISTILL.TEACHERS.CONFIGS) == [f"{base} MODEL.BOTTOM_UP.NAME {n}" for n in names]
        assert [Path(weights).parent.name for _, weights in in_use(cfg)] == names
        assert [load_teacher(config, cfg).MODEL.BOTTOM_UP.NAME for config, _ in in_use(cfg)] == names
        assert load_config_again(cfg, tmp_path).DISTILL == cfg.DISTILL, "a run's config.yaml names the same ones"


def load_config_again(cfg, folder):
    (folder / "config.yaml").write_text(cfg.dump())
    return load_config(str(folder / "config.yaml"))


def in_words(result: dict) -> str:
    """An entry of results.json as the header of its config gives it."""
    spread = "" if result["ap50_sd"] is None else f", sd {result['ap50_sd']:.1f}"
    return f"AP50 {result['ap50_mean']:.1f}{spread}, seeds {' '.join(map(str, result['seeds']))}."


def test_a_configs_header_has_its_result():
    """The headers' figures are those of docs/results/phantom.json."""
    suite = load_suite(ROOT / "configs" / "benchmark" / "tables.yaml")
    configs = {(row.table, row.name): row.config for row in suite.rows}
    results = json.loads((ROOT / "docs" / "results" / "phantom.json").read_text())
    expected = {}
    for result in results:
        expected.setdefault(configs[result["table"], result["row"]], in_words(result))
    headers = {path: path.read_text().partition("_BASE_")[0] for path in expected}
    assert len(headers) > 3
    missing = {path.name: words for path, words in expected.items() if words not in headers[path].replace("\n# ", " ")}
    assert missing == {}


def test_teachers_configs_are_found_beside_the_config_under_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    expected = [str(ROOT / "configs" / "backbones" / f"gfl_{name}.yaml") for name in ("r50", "r101", "r152")]
    for path in ("baselines/ld.yaml", "ablations/kd_nmode2.yaml", "ablations/fpn.yaml"):
        cfg = load_config(str(ROOT / "configs" / path))
        assert list(cfg.DISTILL.TEACHERS.CONFIGS) == expected, "also two files below, and without a .. in it"
    # What lies beside the config itself comes first; what lies nowhere stays as it is.
    own = tmp_path / "own.yaml"
    own.write_text(f"_BASE_: {ROOT / 'configs' / 'meddet.yaml'}\n")
    (tmp_path / "backbones").mkdir()
    (tmp_path / "backbones" / "gfl_r101.yaml").touch()
    found = load_config(str(own)).DISTILL.TEACHERS.CONFIGS
    assert list(found) == [expected[0], str(tmp_path / "backbones" / "gfl_r101.yaml"), expected[2]]
    own.write_text("DISTILL: {TEACHERS: {CONFIGS: ['nowhere.yaml']}}\n")
    assert list(load_config(str(own)).DISTILL.TEACHERS.CONFIGS) == ["nowhere.yaml"]


def test_the_tables_rows_say_which_part_of_meddet_they_leave_out():
    def row(path):
        cfg = load_config(str(ROOT / "configs" / path))
        fusion, aatm = cfg.DISTILL.MEDDET.FUSION.NAME, cfg.DISTILL.MEDDET.AATM.ENABLED
        return cfg.DISTILL.METHOD, cfg.MODEL.NMODE.KIND, cfg.MODEL.NMODE.PLACES, fusion, aatm, cfg.DISTILL.TEACHERS.USE

    head = ("head",)
    for name, method in (("fitnets", "FitNets"), ("mgd", "MGD"), ("fgd", "FGD"), ("ld", "LD")):
        assert row(f"baselines/{name}.yaml")[:2] == (method, "none") and row(f"baselines/{name}.yaml")[-1] == (2,)
    assert row("ablations/kd.yaml") == ("MedDet", "none", head, "Sum", False, ())
    assert row("ablations/kd_nmode2.yaml") == ("MedDet", "nmode2", head, "Sum", False, ())
    assert row("ablations/kd_nmode2_lwff.yaml") == ("MedDet", "nmode2", head, "LWFF", False, ())
    assert row("meddet.yaml") == ("MedDet", "nmode2", head, "LWFF", True, ())
    for place in ("backbone", "fpn", "head"):
        assert row(f"ablations/{place}.yaml") == ("MedDet", "nmode2", (place,), "Sum", False, ())
    assert row("ablations/sum.yaml") == ("MedDet", "nmode2", head, "Sum", True, ())
    assert row("ablations/concat.yaml") == ("MedDet", "nmode2", head, "Concat", True, ())


def test_the_default_loss_is_gfls_own():
    cfg = load_config(str(ROOT / "configs" / "meddet.yaml")).MODEL.GFL
    weights = [cfg.LOSS_LAMBDA, cfg.LOSS_MU, 1 - cfg.LOSS_LAMBDA - cfg.LOSS_MU]
    assert [cfg.LOSS_GAIN * weight for weight in weights] == pytest.approx([1, 0.25, 2])
    distill = load_config(str(ROOT / "configs" / "meddet.yaml")).DISTILL.MEDDET
    assert pytest.approx(1) == distill.GAIN * distill.SIGMA, "the student's detection loss keeps its size"


def test_the_version_is_the_packages():
    assert meddet_d2.__version__.count(".") == 2

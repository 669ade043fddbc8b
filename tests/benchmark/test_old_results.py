"""A results folder as commit 812ff40 wrote it: configs at their old places, MedDet's keys flat in DISTILL."""

import pytest
import torch
import yaml

import meddet_d2
from detectron2.modeling import build_model
from meddet_d2.benchmark import write_report
from meddet_d2.benchmark.efficiency import measure_latency
from meddet_d2.benchmark.result_plots import draw_all
from meddet_d2.benchmark.trained_networks import from_results
from meddet_d2.files import write_json

RUN = "students/mobilenet-v2-meddet-seed1-0c67c7a9"
# What config.yaml held of MedDet; the rest of it has kept its name.
DISTILL = {
    "ENABLED": True, "METHOD": "MedDet", "PRECISION": "fp32", "TRAIN_ALONE": False,
    "SIGMA": 0.02, "TAU": 0.978, "GAIN": 50.0, "LEVEL_WEIGHTS": [1.0, 0.25, 0.0, 0.0, 0.0],
    "DIST_REDUCTION": "standardized", "DIST_FOREGROUND": 0.0, "DIST_SCHEDULE": "constant",
    "FUSION": {"NAME": "Sum", "ACTIVATION": "sigmoid", "START": "mean", "LEAD_TEACHER": 0, "LOSS_WEIGHT": 1.0},
    "AATM": {
        "ENABLED": False, "GENERATOR": "none", "WARMUP": 0.2, "GENERATOR_LOSS": "non_saturating", "POOL": 4,
        "HIDDEN": [256, 64], "STANDARDIZE": True, "REAL_LABEL": 1.0, "LR": 0.0002, "BETAS": [0.5, 0.999],
        "CLIP_GRADIENTS": 0.0,
    },
    "TEACHERS": {
        "CONFIGS": ["configs/benchmark/phantom/resnet10t.yaml"], "EVALUATE": False,
        "WEIGHTS": ["results/teachers/resnet10t-alone-seed1848-4d95134e/model_final.pth"],
    },
}  # fmt: skip
CONFIG = {
    "MODEL": {
        "DEVICE": "cpu", "META_ARCHITECTURE": "GFL", "BACKBONE": {"NAME": "build_gfl_fpn_backbone", "FREEZE_AT": 0},
        "BOTTOM_UP": {"NAME": "mobilenet_v2", "WIDTH_MULT": 0.25, "PRETRAINED": False, "NORM_EVAL": False},
        "FPN": {"OUT_CHANNELS": 16}, "GFL": {"CHANNELS": 16, "NUM_CONVS": 1, "REG_MAX": 7},
        "NMODE": {"KIND": "nmode2", "PLACES": ["head"]},
    },
    "INPUT": {"FORMAT": "RGB", "MIN_SIZE_TEST": 96, "MAX_SIZE_TEST": 96},
    "DATASETS": {
        "TRAIN": ["cdh_phantom_train"], "TEST": ["cdh_phantom_test"],
        "PHANTOM": {"SIZE": 96, "TRAIN_PATIENTS": 1, "TEST_PATIENTS": 1},
    },
    "DATALOADER": {"NUM_WORKERS": 0}, "DISTILL": DISTILL, "OUTPUT_DIR": f"results/{RUN}", "SEED": 1, "VERSION": 2,
}  # fmt: skip
RECORD = {
    "status": "done", "kind": "student", "name": "KD + nmODE2", "rows": [["III", "KD + nmODE2"]],
    "config": "configs/table3/kd_nmode2.yaml", "seed": 1, "config_hash": "0c67c7a993ba", "method": "MedDet",
    "backbone": "mobilenet_v2", "teachers": ["teachers/resnet10t-alone-seed1848-4d95134e"],
    "started": "2026-11-27T14:14:54+00:00", "hardware": {"cpu": "Intel(R) Xeon(R)", "threads": 1, "gpu": None},
    "commit": "812ff408577dd7939f50b4d16db4be319523017c", "dirty": False, "sources": "56024179e4ff",
    "engine": "embedded engine (Detectron2 is not installed) 0.6+meddet.embedded", "torch": "2.14.1+cu130",
    "resumed": False, "seconds": 64.878, "dataset": "cdh_phantom_test", "test_images": 2, "iterations": 3,
    "parameters": 2343783, "worker_seconds": 17.27,
    "metrics": {"AP": 12.5, "AP50": 50.0, "AP75": 3.0, "APm": None, "recall50": 90.0, "AP50-protrusion": 40.0},
    "curve": [
        {"iteration": 2, "AP50": 20.0, "loss_qfl": 0.5, "loss_dfl": 0.25, "loss_giou": 0.25, "loss_dist": 3.0},
        {"iteration": 3, "AP50": 50.0},
    ],
}  # fmt: skip
TEACHER = {
    **RECORD, "kind": "teacher", "name": "resnet10t", "rows": [], "method": None, "teachers": [],
    "config": "configs/benchmark/phantom/resnet10t.yaml", "config_hash": "4d95134e0afc", "seed": 1848,
}  # fmt: skip


@pytest.fixture
def old(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    entry = {"table": "III", "row": "KD + nmODE2", "seed": 1, "order": 12, "run": RUN, "config_hash": "0c67c7a993ba"}
    invocation = {
        "command": "python tools/benchmark.py run",
        "teachers": "one set for all seeds, trained with seed 1848",
    }
    write_json(
        folder.path / "plan.json",
        {
            "entries": [{**entry, "paper": {"map": 85.0, "recall": 0.969}}],
            "invocations": [{**invocation, "scale": "configs/benchmark/smoke.yaml", "jobs": 1}],
            "teachers": RECORD["teachers"],
        },
    )
    write_json(folder.path / RUN / "run.json", RECORD)
    write_json(folder.path / RECORD["teachers"][0] / "run.json", TEACHER)
    (folder.path / RUN / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    torch.manual_seed(0)
    network = build_model(meddet_d2.load_config(str(folder.path / RUN / "config.yaml")))
    torch.save({"model": network.state_dict()}, folder.weights(RUN))
    return folder


def test_its_tables_and_pictures_are_written(old):
    write_report(old)
    text = (old.path / "tables.md").read_text()
    assert "| KD + nmODE2 | 50.0   | 1   | 12.5 | 90.0     | 2.34 M       | 85.0" in text
    assert "| resnet10t | 1848   | 50.0   |" in text and "812ff408577dd7939f50b4d16db4be319523017c" in text
    assert {path.stem for path in draw_all(old, {})} >= {"ap50_by_method", "learning_curves"}


def test_its_networks_are_loaded_and_run(old):
    """Of a teacher there is a record alone: what it was trained by is no longer where its config was."""
    (old.path / TEACHER["kind"]).mkdir(exist_ok=True)
    write_json(old.path / RECORD["teachers"][0] / "run.json", {**TEACHER, "status": "interrupted"})
    assert measure_latency(old, rounds=3)[RUN]["median"] > 0
    (network,), _ = from_results(old)
    network.load()
    assert network.record["nmode"] == "nmode2"


def test_a_new_run_of_the_row_does_not_mix_with_it(old, plan, made_by):
    (run,) = plan(names=["Alone"])
    run.rows[:] = [("III", "KD + nmODE2")]
    with pytest.raises(ValueError, match=r"holds results of other sources: .*commit 812ff4085"):
        old.refuse_mixing([run], made_by)
    with pytest.raises(ValueError, match=r"KD \+ nmODE2, seed 1 with another config \(DATASETS\."):
        old.refuse_mixing([run], made_by, allow_mixed=True)

"""The registered names, and that a config decides which phantom they mean."""

import pytest

from meddet_d2 import add_meddet_config
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from meddet_d2.data import datasets_root, register_datasets

NAMES = {
    f"{name}_{split}"
    for name, splits in {
        "cdh1848": ("train", "val", "test"),
        "spider_lumbar": ("train", "val"),
        "cdh_phantom": ("train", "test"),
    }.items()
    for split in splits
}


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """Small phantoms under tmp_path; what was registered before is put back afterwards."""
    before = {name: (DatasetCatalog[name], MetadataCatalog.get(name)) for name in NAMES}
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    cfg = get_cfg()
    add_meddet_config(cfg)
    phantom = cfg.DATASETS.PHANTOM
    phantom.SIZE, phantom.TRAIN_PATIENTS, phantom.TEST_PATIENTS = 64, 2, 1
    yield cfg
    for name, (load, metadata) in before.items():
        DatasetCatalog[name], MetadataCatalog[name] = load, metadata


def test_all_names_are_known_after_import():
    assert set(DatasetCatalog.keys()) >= NAMES


def test_the_phantom_is_made_on_first_use_and_stays(cfg, tmp_path):
    register_datasets(cfg)
    register_datasets(cfg)
    assert not (tmp_path / "cdh_phantom").exists()
    assert len(DatasetCatalog.get("cdh_phantom_train")) == 4
    records = DatasetCatalog.get("cdh_phantom_test")
    assert len(records) == 2 and len(list((tmp_path / "cdh_phantom").iterdir())) == 1
    assert records[0]["height"] == 64 and records[0]["patient_id"] == "test-0001"
    assert all(record["file_name"].startswith(str(tmp_path)) for record in records)
    assert {annotation["category_id"] for record in records for annotation in record["annotations"]} <= {0, 1}


def test_another_config_means_another_phantom(cfg):
    register_datasets(cfg)
    first = MetadataCatalog.get("cdh_phantom_train").json_file
    cfg.DATASETS.PHANTOM.ZOOM = 1.4
    register_datasets(cfg)
    assert MetadataCatalog.get("cdh_phantom_train").json_file != first
    assert len(DatasetCatalog.get("cdh_phantom_train")) == 4


def test_the_root_is_detectron2s(monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "some/where")
    assert str(datasets_root()) == "some/where"
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert str(datasets_root()) == "datasets"


def test_a_bad_key_is_named(cfg):
    cfg.DATASETS.PHANTOM.NOISE = (0.3, 0.1)
    with pytest.raises(ValueError, match=r"DATASETS\.PHANTOM\.NOISE"):
        register_datasets(cfg)

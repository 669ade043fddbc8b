"""The registered names, and that a config decides which phantom they mean."""

import pytest
from class_sets import write_coco

from detectron2.data import DatasetCatalog, MetadataCatalog
from meddet_d2.data import register_datasets
from meddet_d2.places import datasets_root

NAMES = {
    f"{name}_{split}"
    for name, splits in {
        "cdh1848": ("train", "val", "test"),
        "spider_lumbar": ("train", "val"),
        "spider_bulging": ("train", "val"),
        "spider_pfirrmann": ("train", "val"),
        "cdh_phantom": ("train", "test"),
        "cdh_phantom_landmarks": ("train", "test"),
    }.items()
    for split in splits
}


@pytest.fixture
def cfg(cfg, tmp_path, monkeypatch):
    """Small phantoms under tmp_path; what was registered before is put back afterwards."""
    before = {name: (DatasetCatalog[name], MetadataCatalog.get(name)) for name in NAMES}
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
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


def test_the_phantom_s_landmarks_are_made_on_first_use_and_share_its_images(cfg, tmp_path):
    register_datasets(cfg)
    names = MetadataCatalog.get("cdh_phantom_landmarks_train").keypoint_names
    assert not list(tmp_path.iterdir()) and len(names) == 29
    records = DatasetCatalog.get("cdh_phantom_landmarks_test")
    boxes = DatasetCatalog.get("cdh_phantom_test")
    assert [one["file_name"] for one in records] == [one["file_name"] for one in boxes]
    for record in records:
        (annotation,) = record["annotations"]
        assert annotation["category_id"] == 0 and len(annotation["landmarks"]) == 87
        assert [len(polygons) > 5 for polygons in annotation["structures"]] == [True, True]
        assert record["spacing"] == [pytest.approx(230 / 64, abs=1e-6)] * 2 and record["patient_id"] == "test-0001"
    metadata = MetadataCatalog.get("cdh_phantom_landmarks_test")
    assert metadata.keypoint_names == names and metadata.keypoint_flip_map == []
    assert all(one in names and other in names for one, other, _ in metadata.keypoint_connection_rules)


def graded(folder, grades):
    """spider_lumbar's train.json, with gradings as SPIDER's annotations carry them."""
    keys = {"original": grades, "level": "L4/5"}
    path = write_coco(folder / "spider_lumbar", "train", categories={1: "protrusion", 2: "non-protrusion"},
                      patients="patient_id", **keys)  # fmt: skip
    (path.parent / "slices").rename(path.parent / "images")


def test_gradings_of_the_same_files_are_other_classes(cfg, tmp_path):
    graded(tmp_path, lambda count: {"Disc bulging": count % 2, "Pfirrman grade": 1 + count % 5})
    register_datasets(cfg)
    found = {}
    for name in ("spider_lumbar", "spider_bulging", "spider_pfirrmann"):
        records = DatasetCatalog.get(f"{name}_train")
        classes = MetadataCatalog.get(f"{name}_train").thing_classes
        found[name] = [classes[box["category_id"]] for record in records for box in record["annotations"]]
        assert len(records) == 5 and records[0]["annotations"][0]["level"] == "L4/5"
    assert found["spider_lumbar"][:2] == ["protrusion", "non-protrusion"]
    assert found["spider_bulging"][:3] == ["not bulging", "bulging", "not bulging"]
    assert found["spider_pfirrmann"][:6] == [*(f"grade {grade}" for grade in range(1, 6)), "grade 1"]
    assert MetadataCatalog.get("spider_pfirrmann_train").data_set.findings == ("grade 4", "grade 5")


def test_discs_without_a_grading_are_not_background(cfg, tmp_path):
    graded(tmp_path, lambda count: {"Disc bulging": None if count == 4 else 1})
    register_datasets(cfg)
    with pytest.raises(ValueError, match=r"1 annotations have no original.Disc bulging \(annotation 4 of 2.png\)"):
        DatasetCatalog.get("spider_bulging_train")
    assert len(DatasetCatalog.get("spider_lumbar_train")) == 5


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

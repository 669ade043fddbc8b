"""DATASETS.REGISTER: what it takes, what it refuses, and that all agree on the classes."""

from pathlib import Path

import pytest
from class_sets import FIVE_NAMES, write_coco
from landmark_sets import NAMES, LandmarkSet

import meddet_d2
from detectron2.data import DatasetCatalog, MetadataCatalog
from meddet_d2.config.class_names import class_count, class_names
from meddet_d2.data import register_datasets
from meddet_d2.data.registration import NO_PATIENTS, data_note
from meddet_d2.evaluation import DetectionEvaluator
from meddet_d2.modeling.weights import check_classes

QUICK = """_BASE_: "{base}"
DATASETS:
  TRAIN: ("own_train",)
  TEST: ("own_test",)
"""


@pytest.fixture
def sets(tmp_path):
    """Two jsons of five classes; what a test registers is taken out again."""
    before = set(DatasetCatalog.keys())
    yield write_coco(tmp_path, "a"), write_coco(tmp_path, "b", first=20)
    for name in set(DatasetCatalog.keys()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def config(folder, *options, register=""):
    base = meddet_d2.__file__.replace("meddet_d2/__init__.py", "configs/quickstart/Base-Quickstart.yaml")
    path = folder / "own.yaml"
    path.write_text(QUICK.format(base=base) + register)
    return meddet_d2.load_config(str(path), options)


def text_of(sets) -> str:
    return repr(
        tuple(f"own_{name}={path},{path.parent / 'slices'}" for name, path in zip(("train", "test"), sets, strict=True))
    )


def test_a_text_and_a_table_register_the_same(sets, tmp_path):
    cfg = config(tmp_path, "DATASETS.REGISTER", text_of(sets), "DATASETS.PATIENT_KEY", "case")
    register_datasets(cfg)
    first = MetadataCatalog.get("own_train").data_set
    table = "".join(
        f'    - {{name: own_{name}, json: "{path}", images: "{path.parent / "slices"}", patient_key: case}}\n'
        for name, path in zip(("train", "test"), sets, strict=True)
    )
    cfg = config(tmp_path, register=f"  REGISTER:\n{table}")
    load = DatasetCatalog["own_train"]
    register_datasets(cfg)
    assert MetadataCatalog.get("own_train").data_set == first and DatasetCatalog["own_train"] is load
    assert class_names(cfg) == tuple(FIVE_NAMES) and class_count(cfg) == 5
    records = DatasetCatalog.get("own_train")
    assert [box["category_id"] for box in records[0]["annotations"]] == [0, 1, 2]
    assert records[1]["patient_id"] == "p1" and len(MetadataCatalog.get("own_train").thing_colors) == 5


def test_a_config_with_data_sets_is_the_same_when_it_is_written_and_read(sets, tmp_path):
    rule = {"class_from": "original.grade", "class_names": {1: "mild", "2": "severe"}, "findings": ["severe"]}
    entry = {"name": "own_train", "json": str(sets[0]), "patient_key": "", **rule}
    cfg = config(tmp_path, "DATASETS.REGISTER", repr([entry]))
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again = meddet_d2.load_config(str(tmp_path / "config.yaml"))
    assert again.DATASETS.REGISTER == cfg.DATASETS.REGISTER == (entry,)
    register_datasets(again)
    data_set = MetadataCatalog.get("own_train").data_set
    assert data_set.class_names == (("1", "mild"), ("2", "severe")) and data_set.findings == ("severe",)
    assert data_set.images == sets[0].parent / "images"


def test_home_and_variables_are_known_in_paths(sets, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINE", str(tmp_path))
    register_datasets(config(tmp_path, "DATASETS.REGISTER", "('own_train=~/a.json,$MINE/slices',)"))
    data_set = MetadataCatalog.get("own_train").data_set
    assert (data_set.json_file, data_set.images) == (sets[0], tmp_path / "slices")


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (["own_train"], "has no json"),
        (["=a.json"], "has no name"),
        ([7], "7 is no data set"),
        ([{"name": "own_train"}], "has no json"),
        ([{"name": "own_train", "json": "a.json", "image": "x"}], "'image' is no key of a data set"),
        (["own=a.json", "own=b.json"], "own is there already"),
        (["cdh1848_train=a.json"], "cdh1848_train is there already"),
        ([{"name": "own", "json": "a.json", "class_from": "grade"}], "own: class_from and class_names belong together"),
        ([{"name": "own", "json": "a.json", "class_names": ["a"]}], "class_names is a table"),
    ],
)
def test_an_entry_that_is_none_is_told_in_one_line(tmp_path, entries, words):
    with pytest.raises(ValueError, match=words) as caught:
        register_datasets(config(tmp_path, "DATASETS.REGISTER", repr(entries)))
    assert "\n" not in str(caught.value) and "DATASETS.REGISTER" in str(caught.value)


def test_a_name_of_others_is_not_taken(sets, tmp_path):
    DatasetCatalog.register("theirs", list)
    with pytest.raises(ValueError, match="theirs is a data set of"):
        register_datasets(config(tmp_path, "DATASETS.REGISTER", f"('theirs={sets[0]}',)"))


def test_other_classes_in_the_test_set_are_told_with_both_lists(sets, tmp_path):
    write_coco(tmp_path, "b", categories={1: "cyst", 2: "mass"}, first=20)
    with pytest.raises(ValueError, match=r"own_test are \['cyst', 'mass'\], but those of own_train are \['cyst', 'l"):
        register_datasets(config(tmp_path, "DATASETS.REGISTER", text_of(sets)))


def test_another_number_of_classes_is_refused_and_the_same_is_taken(sets, tmp_path):
    options = ["DATASETS.REGISTER", text_of(sets), "MODEL.GFL.NUM_CLASSES"]
    register_datasets(config(tmp_path, *options, 5))
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 2, but own_train has 5 classes, \['cyst'"):
        register_datasets(config(tmp_path, *options, 2))


def test_a_finding_that_is_no_class_is_refused_before_anything_runs(sets, tmp_path):
    with pytest.raises(ValueError, match=r"TEST.FINDINGS: 'tumour' is no class .* cyst, lymph node"):
        register_datasets(config(tmp_path, "DATASETS.REGISTER", text_of(sets), "TEST.FINDINGS", "('tumour',)"))


def test_a_json_that_is_not_there_is_an_error_when_its_classes_are_needed(tmp_path, sets):
    cfg = config(tmp_path, "DATASETS.REGISTER", "('own_train=nowhere.json', 'own_test=nowhere.json')")
    register_datasets(cfg)
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 0.*nowhere.json is not there"):
        class_count(cfg)


def test_a_network_by_itself_has_two_classes_and_cdh1848_needs_no_file(tmp_path):
    assert class_count(config(tmp_path, "DATASETS.TRAIN", (), "DATASETS.TEST", ())) == 2
    assert class_names(config(tmp_path, "DATASETS.TRAIN", ("cdh1848_train",)))[0] == "protrusion"


def test_tables_say_that_patients_are_not_known(tmp_path, sets):
    register_datasets(config(tmp_path, "DATASETS.REGISTER", text_of(sets), "DATASETS.PATIENT_KEY", ""))
    assert data_note("own_test") == NO_PATIENTS and data_note("cdh1848_test") == ""


def test_annotation_0_and_gaps_in_the_ids_count_in_the_evaluation(tmp_path, sets):
    register_datasets(config(tmp_path, "DATASETS.REGISTER", text_of(sets), "DATASETS.PATIENT_KEY", "case"))
    records = DatasetCatalog.get("own_test")
    evaluator = DetectionEvaluator("own_test", distributed=False)
    evaluator.reset()
    for record in records:
        for number, box in enumerate(record["annotations"]):
            found = {"image_id": record["image_id"], "category_id": box["category_id"], "bbox": box["bbox"]}
            evaluator._predictions += [
                {"image_id": record["image_id"], "instances": [{**found, "score": 0.9 - 0.1 * number}]}
            ]
    metrics = evaluator.evaluate()["bbox"]
    assert {name: metrics[f"AP50-{name}"] for name in FIVE_NAMES} == pytest.approx(dict.fromkeys(FIVE_NAMES, 100.0))


def test_a_checkpoint_of_other_classes_is_refused_with_both_lists():
    check_classes("x.pth", ["a"], ("a",))
    check_classes("x.pth", None, ("a",))
    with pytest.raises(ValueError, match=r"x.pth: its network knows \['a'\], the data set has \['b'\]"):
        check_classes("x.pth", ["a"], ["b"])


def two_sides(folder, *, test: str = "sub/b", **keys):
    """Jsons that share the patient p2, in one folder or in two, registered for both sides."""
    paths = write_coco(folder, "a"), write_coco(folder / Path(test).parent, Path(test).name, first=5, **keys)
    cfg = config(folder, "DATASETS.REGISTER", text_of(paths), "DATASETS.PATIENT_KEY", "case")
    register_datasets(cfg)
    return paths


@pytest.mark.parametrize(("test", "where"), [("b", r"b\.json"), ("sub/b", r"\S+/sub/b\.json")])
def test_a_patient_on_both_sides_of_a_config_is_refused_whatever_the_jsons_are_called(sets, tmp_path, test, where):
    train, _ = two_sides(tmp_path, test=test)
    with pytest.raises(
        ValueError, match=rf"a\.json: 1 patients are also in {where} \(p2\); split by patient"
    ) as caught:
        DatasetCatalog.get("own_train")
    assert "\n" not in str(caught.value) and str(train) in str(caught.value)
    with pytest.raises(ValueError, match=r"b\.json: 1 patients are also in \S*a\.json \(p2\)"):
        DatasetCatalog.get("own_test")
    # Another config that does not set them against each other.
    register_datasets(config(tmp_path, "DATASETS.TEST", ()))
    assert DatasetCatalog.get("own_train")


def test_a_validation_set_is_a_side_too_and_each_side_has_its_own_key(sets, tmp_path):
    other = write_coco(tmp_path / "sub", "b", first=5, patients="person")
    entries = [
        {"name": "own_train", "json": str(sets[0]), "images": str(sets[0].parent / "slices"), "patient_key": "case"},
        {"name": "own_test", "json": str(other), "images": str(other.parent / "slices"), "patient_key": "person"},
    ]
    options = "DATASETS.REGISTER", repr(entries), "DATASETS.TEST", (), "VALIDATION.DATASETS", ("own_test",)
    register_datasets(config(tmp_path, *options))
    with pytest.raises(ValueError, match=r"\(p2\); split by patient.* or give different people different ids"):
        DatasetCatalog.get("own_train")


def test_without_patients_files_of_one_name_in_two_folders_are_two_images(sets, tmp_path):
    other = write_coco(tmp_path / "sub", "b", first=5)
    options = "DATASETS.PATIENT_KEY", ""
    register_datasets(config(tmp_path, "DATASETS.REGISTER", text_of((sets[0], other)), *options))
    assert DatasetCatalog.get("own_train")
    other.rename(tmp_path / "c.json")
    register_datasets(config(tmp_path, "DATASETS.REGISTER", text_of((sets[0], tmp_path / "c.json")), *options))
    with pytest.raises(ValueError, match=r"1 images are also in c\.json \(5\.png\); leave each image on one side"):
        DatasetCatalog.get("own_train")


def test_one_json_on_both_sides_is_named(sets, tmp_path, caplog):
    register_datasets(
        config(tmp_path, "DATASETS.REGISTER", text_of((sets[0], sets[0])), "DATASETS.PATIENT_KEY", "case")
    )
    assert "own_test of DATASETS.TEST is what DATASETS.TRAIN trains on" in caplog.text
    assert DatasetCatalog.get("own_test")


def marks(folder, name: str = "marks") -> str:
    return repr(tuple(f"{name}_{split}={folder}/{split}.json" for split in ("train", "test")))


def test_a_landmark_set_keeps_points_spacing_and_patients(sets, tmp_path):
    made = LandmarkSet(tmp_path / "set", flip_pairs=[["left horn", "right horn"]])
    options = ["DATASETS.TRAIN", ("marks_train",), "DATASETS.TEST", ("marks_test",)]
    cfg = config(tmp_path, "DATASETS.REGISTER", marks(made.folder), *options)
    register_datasets(cfg)
    # Known before a record is read: a network is built from it.
    metadata = MetadataCatalog.get("marks_test")
    assert metadata.keypoint_names == tuple(NAMES)
    assert metadata.keypoint_flip_map == [("left horn", "right horn")]
    ((one, other, color),) = metadata.keypoint_connection_rules
    assert (one, other) == ("front", "back") and all(0 <= value <= 255 for value in color)
    record = DatasetCatalog.get("marks_train")[2]
    assert record["spacing"] == [0.5, 0.4] and record["patient_id"] == "p2"
    (annotation,) = record["annotations"]
    assert annotation["landmarks"] == [13.5, 20.25, 2, 60, 30, 2, 30, 12, 1, 35, 50, 2]
    assert annotation["category_id"] == 0 and MetadataCatalog.get("marks_train").thing_classes == ["beetle"]
    # Without flip_pairs nobody has said it, which is something else than that there are none.
    for name in ("train", "test"):
        made.change(lambda content: content["categories"][0].pop("flip_pairs"), name)
    register_datasets(cfg)
    assert MetadataCatalog.get("marks_train").get("keypoint_flip_map") is None
    DatasetCatalog.get("marks_train")
    assert MetadataCatalog.get("marks_train").get("keypoint_flip_map") is None


def test_data_sets_of_one_config_have_the_same_landmarks(sets, tmp_path):
    one = LandmarkSet(tmp_path / "one")
    other = LandmarkSet(tmp_path / "other", keypoints=["front", "back", "right horn", "left horn"])
    register = marks(one.folder)[:-1] + ", " + marks(other.folder, "others")[1:]
    options = ["DATASETS.TRAIN", ("marks_train",), "DATASETS.TEST", ("others_test",)]
    with pytest.raises(ValueError, match=r"marks_train and others_test differ: landmark 3 is 'left horn'") as caught:
        register_datasets(config(tmp_path, "DATASETS.REGISTER", register, *options))
    assert "\n" not in str(caught.value)


def test_a_landmark_without_annotation_stops_the_loading_by_name(sets, tmp_path):
    made = LandmarkSet(tmp_path / "set")
    options = ["DATASETS.TRAIN", ("marks_train",), "DATASETS.TEST", ("marks_test",)]
    register_datasets(config(tmp_path, "DATASETS.REGISTER", marks(made.folder), *options))
    made.change(lambda content: content["annotations"].pop())
    with pytest.raises(ValueError, match=r"image 4\.png has no annotations"):
        DatasetCatalog.get("marks_train")

"""A json of five classes in a folder, by config keys alone: trained, evaluated, exported, predicted, shown."""

import csv
import json
from pathlib import Path

import pytest
import torch
from class_sets import FIVE, FIVE_NAMES, write_coco
from tiny_runs import ROOT, load_tool

from detectron2.data import DatasetCatalog, MetadataCatalog

CONFIG = str(ROOT / "configs" / "quickstart" / "Base-Quickstart.yaml")
NAMES = ("five_train", "five_test")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The options that name the data, and the folder of everything."""
    folder = tmp_path_factory.mktemp("own")
    write_coco(folder, "a", images=6)
    write_coco(folder, "b", first=20)
    entries = tuple(f"{name}={folder / json}.json,{folder / 'slices'}" for name, json in zip(NAMES, "ab", strict=True))
    data = ["DATASETS.REGISTER", str(entries), "DATASETS.PATIENT_KEY", "case"]
    data += ["DATASETS.TRAIN", f"('{NAMES[0]}',)", "DATASETS.TEST", f"('{NAMES[1]}',)"]
    small = ["INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MIN_SIZE_TEST", "96", "MODEL.DEVICE", "cpu"]
    yield folder, [*data, *small, "TEST.FINDINGS", "('mass', 'cyst')"]
    for name in NAMES:
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)


def train(options, *arguments) -> dict:
    tool = load_tool("train_net")
    return tool.run(tool.parse_args(["--config-file", CONFIG, *arguments, *options]))


@pytest.fixture(scope="module")
def trained(own):
    """The checkpoint of three iterations, and the metrics."""
    folder, options = own
    run = ["SOLVER.MAX_ITER", "3", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.WARMUP_ITERS", "1"]
    results = train([*options, *run, "OUTPUT_DIR", str(folder / "run")])
    return folder / "run" / "model_final.pth", results


@pytest.fixture(scope="module")
def exported(own, trained):
    folder, options = own
    arguments = ["--config-file", CONFIG, "--weights", str(trained[0]), "--output", str(folder / "exported")]
    assert load_tool("export_model").main([*arguments, *options, "MODEL.GFL.SCORE_THRESH_TEST", "0.0"]) == 0
    return folder / "exported"


def test_training_and_its_checkpoint_name_the_classes(trained):
    path, results = trained
    assert {f"AP50-{name}" for name in FIVE_NAMES} <= results["bbox"].keys()
    content = torch.load(path, weights_only=True)
    assert content["classes"] == FIVE_NAMES and content["model"]["head.cls_predictor.weight"].shape[0] == 5
    record = json.loads((path.parent / "inference" / NAMES[1] / "evaluation.json").read_text())
    assert list(record["classes"]) == FIVE_NAMES
    detections = json.loads((path.parent / "inference" / NAMES[1] / "coco_instances_results.json").read_text())
    assert {box["category_id"] for box in detections} <= set(FIVE)


def test_the_clinical_page_has_the_classes_and_the_findings(own, trained, capsys):
    folder, options = own
    arguments = ["--config-file", CONFIG, "--weights", str(trained[0]), "--output", str(folder / "reading")]
    assert load_tool("evaluate").main([*arguments, "--bootstrap", "5", *options]) == 0
    record = json.loads((folder / "reading" / "clinical.json").read_text())
    assert record["subject"]["findings"] == ["cyst", "mass"] and record["confusion"]["rows"][:5] == FIVE_NAMES
    assert record["patients"]["sensitivity"]["of"] == 3 and list(record["froc"]) == ["cyst or mass", "any object"]
    page = (folder / "reading" / "report.html").read_text()
    assert all(f"<td>{name}</td>" in page for name in FIVE_NAMES) and "is there cyst or mass?" in page
    assert "protrusion" not in page and "disc" not in page.replace("discarded", "")
    assert "cyst or mass found at 1 false box" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["checkpoint", "onnx"])
def test_predictions_have_the_names(own, trained, exported, source, capsys):
    folder, options = own
    output = folder / f"found_{source}"
    network = ["--onnx", str(exported / "model.onnx")]
    if source == "checkpoint":
        network = ["--config-file", CONFIG, "--weights", str(trained[0])]
        # Without the data set: its names come from the checkpoint.
        network += ["--opts", *options[-8:-2], "MODEL.GFL.SCORE_THRESH_TEST", "0.0"]
    picture = str(folder / "slices" / "20.png")
    assert load_tool("predict").main([picture, *network, "--threshold", "0", "--output", str(output)]) == 0
    categories = json.loads((output / "predictions.json").read_text())["categories"]
    assert categories == [{"id": number, "name": name} for number, name in enumerate(FIVE_NAMES, start=1)]
    with open(output / "findings.csv") as file:
        labels = {line["label"] for line in csv.DictReader(file)}
    assert labels and labels <= set(FIVE_NAMES)
    told = capsys.readouterr().out
    assert all(name in told for name in FIVE_NAMES) and "class 0" not in told


def test_card_and_safetensors_have_the_names(own, exported):
    card = json.loads((exported / "card.json").read_text())
    assert card["classes"] == FIVE_NAMES and card["trained_on"] == [NAMES[0]] and "disc" not in card["intended_use"]
    folder, options = own
    arguments = [str(folder / "slices" / "20.png"), "--config-file", CONFIG, "--output", str(folder / "safe")]
    weights = ["--weights", str(exported / "model.safetensors"), "--opts", *options[-8:-2]]
    assert load_tool("predict").main([*arguments, *weights]) == 0
    categories = json.loads((folder / "safe" / "predictions.json").read_text())["categories"]
    assert [category["name"] for category in categories] == FIVE_NAMES


@pytest.mark.parametrize("command", ["train", "resume", "evaluate"])
def test_other_classes_than_the_checkpoint_s_are_told_with_both_lists(own, trained, tmp_path, command, capsys):
    _, options = own
    for name, first in (("a", 1), ("b", 20)):
        write_coco(tmp_path, name, first=first, categories={**FIVE, 3: "bone"})
    entries = tuple(
        f"{name}={tmp_path / json}.json,{tmp_path / 'slices'}" for name, json in zip(NAMES, "ab", strict=True)
    )
    changed = [options[0], str(entries), *options[2:], "SOLVER.MAX_ITER", "4", "SOLVER.IMS_PER_BATCH", "2"]
    path = str(trained[0])
    if command == "evaluate":
        arguments = ["--config-file", CONFIG, "--weights", path, "--output", str(tmp_path / "out"), *changed]
        assert load_tool("evaluate").main(arguments) == 1
    else:
        where = ["OUTPUT_DIR", str(tmp_path / "run"), "MODEL.WEIGHTS", path]
        if command == "resume":
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "model_final.pth").write_bytes(Path(path).read_bytes())
            where = where[:2]
        arguments = ["--config-file", CONFIG, *(["--resume"] if command == "resume" else []), *changed, *where]
        with pytest.raises(SystemExit, match="1"):
            load_tool("train_net").main(arguments)
    message = capsys.readouterr().err.splitlines()[-1]
    assert str(FIVE_NAMES) in message and str(["cyst", "bone", *FIVE_NAMES[2:]]) in message
    assert message.startswith("error: ")


def test_another_number_of_classes_than_the_checkpoint_s_is_told_with_its_names(own, trained, tmp_path, capsys):
    folder, options = own
    network = ["--config-file", CONFIG, "--weights", str(trained[0]), "--output", str(tmp_path / "out")]
    keys = ["--opts", *options[-8:-2], "MODEL.GFL.NUM_CLASSES", "2"]
    assert load_tool("predict").main([str(folder / "slices" / "20.png"), *network, *keys]) == 2
    message = capsys.readouterr().err
    assert "error: MODEL.GFL.NUM_CLASSES is 2, but" in message and str(FIVE_NAMES) in message

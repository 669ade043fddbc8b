"""MRI noise on trained networks: what is measured once, what is measured again, and the arithmetic of the tables."""

import json
import statistics

import pytest
import small_landmarks
import torch

from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from meddet_d2.benchmark import robustness, robustness_report
from meddet_d2.benchmark import trained_networks as choice
from meddet_d2.benchmark.trained_networks import Network
from meddet_d2.data.mri_noise import corrupt, image_seed
from meddet_d2.files import write_json

PAIR = ("rician", "gibbs")


# --- which networks --------------------------------------------------------------------------------------------------


def finished(folder, *entries):
    """Write a results folder: entries of (table, row, seed, run, status)."""
    plan = [
        {"table": table, "row": row, "seed": seed, "run": f"students/{run}", "paper": {}}
        for table, row, seed, run, _ in entries
    ]
    write_json(folder.path / "plan.json", {"entries": plan, "invocations": []})
    for *_, run, status in entries:
        record = {"status": status, "error": "no", "commit": "c", "sources": "s", "hardware": {}}
        write_json(folder.path / "students" / run / "run.json", record)


def test_every_finished_run_once_and_by_its_name(folder):
    finished(
        folder,
        ("I", "MedDet", 1, "a1", "done"),
        ("I", "MedDet", 2, "a2", "done"),
        ("III", "MedDet", 1, "a1", "done"),
        ("III", "MedDet", 2, "a2", "done"),
        ("III", "KD", 1, "b1", "done"),
        ("III", "KD", 2, "b2", "failed"),
        ("III", "KD", 3, "b3", "interrupted"),
        ("III+G", "KD", 1, "c1", "done"),
        ("IV", "none yet", 1, "d1", "failed"),
    )
    found, left_out = choice.from_results(folder)
    assert [(network.label, network.trained["run"]) for network in found] == [
        ("MedDet, seed 1", "students/a1"),
        ("MedDet, seed 2", "students/a2"),
        ("KD, seed 1", "students/b1"),
        ("KD (III+G), seed 1", "students/c1"),
    ]
    assert left_out == ["KD, seed 2", "KD, seed 3", "none yet, seed 1"]
    assert found[2].weights == folder.path / "students/b1/model_final.pth"
    found, _ = choice.from_results(folder, tables=["III+G"])
    assert [network.label for network in found] == ["KD, seed 1"]


def test_what_is_not_there_is_named(folder):
    with pytest.raises(ValueError, match="holds no benchmark"):
        choice.from_results(folder)
    finished(folder, ("I", "A", 1, "a", "done"), ("I", "B", 1, "b", "failed"))
    with pytest.raises(ValueError, match="no row 'C'; it has A, B"):
        choice.from_results(folder, names=["A", "C"])
    with pytest.raises(ValueError, match="no table 'II'; it has I"):
        choice.from_results(folder, tables=["II"])
    with pytest.raises(ValueError, match=r"no finished run of B; finish it with: meddet benchmark run"):
        choice.from_results(folder, names=["A", "B"])


def test_files_of_one_name_are_its_seeds():
    found = choice.from_files([("mine", "a", "b"), ("other", "c", "d"), ("mine", "e", "f")])
    assert [network.label for network in found] == ["mine, seed 1", "other, seed 1", "mine, seed 2"]
    assert str(found[2].weights) == "f"


# --- measuring -------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path, tiny_cfg) -> list[Network]:
    """Two untrained networks that differ in nmODE^2, with their files."""
    found = []
    for name, kind in (("without", "none"), ("with", "nmode2")):
        cfg = tiny_cfg("MODEL.NMODE.KIND", kind, "OUTPUT_DIR", str(tmp_path / name), "DATASETS.PHANTOM.SEED", 77)
        files = tmp_path / f"{name}.yaml", tmp_path / f"{name}.pth"
        files[0].write_text(cfg.dump())
        torch.manual_seed(0)
        torch.save({"model": build_model(cfg).state_dict()}, files[1])
        found.append(Network(name, 1, *files))
    return found


@pytest.fixture
def output(tmp_path):
    return tmp_path / "output"


class ByPixels:
    """In place of the evaluator: an "AP" that tells the images a network saw."""

    evaluations = 0

    def __init__(self, dataset, distributed):
        assert dataset == "cdh_phantom_test" and distributed is False

    def reset(self):
        self.images = []

    def process(self, inputs, outputs):
        assert len(inputs) == len(outputs) and all("instances" in output for output in outputs)
        self.images += [(record["image_id"], float(record["image"].double().mean())) for record in inputs]

    def evaluate(self):
        type(self).evaluations += 1
        assert [image for image, _ in self.images] == [1, 2, 3, 4]
        mean = statistics.fmean(value for _, value in self.images)
        return {"bbox": {"AP50": mean, "AP": mean / 2, "recall50": 100.0, "AP75": 0.0}}


@pytest.fixture
def by_pixels(monkeypatch):
    monkeypatch.setattr(robustness, "evaluator_for", lambda cfg: ByPixels)
    monkeypatch.setattr(ByPixels, "evaluations", 0)
    return ByPixels


def measure(found, output, made_by, corruptions=PAIR, severities=(2,), **options):
    options = {"batch": 3, "command": "python x", "made_by": made_by, **options}
    return robustness.measure(found, output, corruptions=corruptions, severities=severities, **options)


def test_all_networks_see_the_same_images_each_corrupted_once(pair, output, made_by, by_pixels, monkeypatch):
    calls = []
    monkeypatch.setattr(robustness, "corrupt", lambda image, *rest: calls.append(rest) or corrupt(image, *rest))
    content = measure(pair, output, made_by)
    assert calls == [(kind, 2, image_seed(kind, 2, image)) for kind in PAIR for image in (1, 2, 3, 4)]
    one, other = (record["measured"] for record in content["networks"])
    assert one == other and list(one) == ["clean", "rician/2", "gibbs/2"]
    assert len({metrics["AP50"] for metrics in one.values()}) == 3
    records = DatasetCatalog.get("cdh_phantom_test")
    images = [robustness.read_image(record["file_name"]) for record in records]
    assert one["clean"]["AP50"] == pytest.approx(statistics.fmean(float(image.mean()) for image in images))
    noisy = [
        corrupt(image, "rician", 2, image_seed("rician", 2, record["image_id"]))
        for image, record in zip(images, records, strict=True)
    ]
    assert one["rician/2"] == {
        "AP50": pytest.approx(statistics.fmean(float(image.mean()) for image in noisy)),
        "AP": pytest.approx(one["rician/2"]["AP50"] / 2),
        "recall50": 100.0,
    }
    assert json.loads((output / "robustness.json").read_text()) == content
    assert content["images"] == 4 and content["commit"] == made_by["commit"] and content["commands"] == ["python x"]
    assert content["networks"][0]["config_but_nmode"] == content["networks"][1]["config_but_nmode"]
    assert [record["nmode"] for record in content["networks"]] == ["none", "nmode2"]


def test_a_stopped_run_goes_on(pair, output, made_by, by_pixels, monkeypatch):
    def stopped(image, kind, *rest):
        if kind == "gibbs":
            raise KeyboardInterrupt
        return corrupt(image, kind, *rest)

    monkeypatch.setattr(robustness, "corrupt", stopped)
    with pytest.raises(KeyboardInterrupt):
        measure(pair, output, made_by)
    content = json.loads((output / "robustness.json").read_text())
    assert [list(record["measured"]) for record in content["networks"]] == [["clean", "rician/2"]] * 2
    with pytest.raises(ValueError, match="no network that is measured in full"):
        robustness_report.write(content, output)

    monkeypatch.setattr(robustness, "corrupt", corrupt)
    by_pixels.evaluations = 0
    content = measure(pair, output, made_by)
    assert by_pixels.evaluations == 2, "the one condition that was not measured, of two networks"
    again = measure(pair, output, made_by, command="python y")
    assert by_pixels.evaluations == 2 and again["networks"] == content["networks"]
    assert again["commands"] == ["python x", "python y"]


def test_a_network_can_be_added(pair, output, made_by, by_pixels):
    measure(pair[:1], output, made_by)
    assert by_pixels.evaluations == 3
    content = measure(pair[1:], output, made_by)
    assert by_pixels.evaluations == 6 and [record["row"] for record in content["networks"]] == ["without", "with"]


def test_what_does_not_belong_together_is_refused(pair, output, made_by, by_pixels):
    measure(pair, output, made_by)
    for options, words in (
        ({"severities": (3,)}, r"the severities \[2\], now it is \[3\]"),
        ({"corruptions": ("rician",)}, "the corruptions .*gibbs.*, now it is"),
        ({"made_by": {**made_by, "sources": "x"}}, "the sources .*, now it is x"),
        ({"made_by": {**made_by, "engine": "x"}}, "the engine .*, now it is x"),
    ):
        with pytest.raises(ValueError, match=words):
            measure(pair, output, **{"made_by": made_by, **options})


def test_other_weights_under_the_same_name_are_refused(pair, output, made_by, by_pixels):
    measure(pair, output, made_by)
    weights = torch.load(pair[0].weights)["model"]
    first = next(iter(weights))
    torch.save({"model": {**weights, first: weights[first] + 1}}, pair[0].weights)
    with pytest.raises(ValueError, match="without, seed 1 with other weights"):
        measure(pair, output, made_by)


def test_networks_of_other_data_are_refused(pair, output, made_by):
    text = pair[1].config.read_text()
    pair[1].config.write_text(text.replace("SEED: 77", "SEED: 78"))
    with pytest.raises(ValueError, match="without, seed 1 and with, seed 1 have different test sets"):
        measure(pair, output, made_by)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": 0}, "--batch is 0"),
        ({"severities": (0,)}, "severity 0"),
        ({"severities": (1, 1)}, "each of them once"),
        ({"corruptions": ("fog",)}, "'fog'"),
    ],
)
def test_bad_numbers_and_names(pair, output, made_by, options, words):
    with pytest.raises(ValueError, match=words):
        measure(pair, output, made_by, **options)
    assert not output.exists()


def test_missing_and_damaged_files_are_named(pair, output, made_by):
    pair[1].weights.write_bytes(b"no")
    with pytest.raises(ValueError, match=r"with, seed 1: .*with\.pth cannot be read"):
        measure(pair, output, made_by)
    pair[1].weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"with, seed 1: .*with\.pth does not exist"):
        measure(pair, output, made_by)
    assert not output.exists()


# --- arithmetic ------------------------------------------------------------------------------------------------------

# By hand: two corruptions, two severities; AP is half of AP50.
VALUES = {
    ("KD", 1): (90, (80, 60), (50, 30)),  # means 70 and 40, mPC 55, rPC 61.11
    ("KD", 2): (80, (70, 50), (40, 20)),  # 60 and 30, 45, 56.25
    ("KD + nmODE2", 1): (91, (82, 62), (54, 30)),  # 72 and 42, 57
    ("KD + nmODE2", 2): (80, (70, 44), (40, 20)),  # 57 and 30, 43.5
    ("KD + nmODE2", 3): (60, (50, 40), (30, 20)),  # 45 and 25, 35
}


def record(row, seed, clean, first, second) -> dict:
    values = {"clean": clean, "motion/1": first[0], "motion/4": first[1], "spike/1": second[0], "spike/4": second[1]}
    return {
        "row": row,
        "seed": seed,
        "nmode": "nmode2" if "nmODE2" in row else "none",
        "config_but_nmode": "same",
        "trained": {"commit": "0123"},
        "measured": {name: {"AP50": v, "AP": v / 2, "recall50": 100.0} for name, v in values.items()},
    }


@pytest.fixture
def content() -> dict:
    return {
        "dataset": "cdh_phantom_test",
        "images": 4,
        "corruptions": ["motion", "spike"],
        "severities": [1, 4],
        "hardware": {"cpu": "a processor", "threads": 1},
        "engine": "e",
        "torch": "t",
        "commit": "c",
        "dirty": False,
        "sources": "s",
        "commands": ["python tools/benchmark.py robustness"],
        "networks": [record(*place, *values) for place, values in VALUES.items()],
    }


def test_means_ratios_and_spreads_by_hand(content):
    kd, nmode = robustness_report.summary(content)["AP50"]["rows"]
    assert (kd["row"], kd["seeds"], nmode["seeds"]) == ("KD", [1, 2], [1, 2, 3])
    columns = kd["columns"]
    assert list(columns) == ["clean", "motion", "spike", "mPC", "rPC"]
    assert columns["motion"]["values"] == [70, 60] and columns["spike"]["values"] == [40, 30]
    assert columns["mPC"] == {"values": [55, 45], "mean": 50, "sd": pytest.approx(50**0.5)}
    assert columns["rPC"]["values"] == [pytest.approx(5500 / 90), 56.25]
    assert columns["rPC"]["mean"] == pytest.approx((5500 / 90 + 56.25) / 2), "the mean of the ratios"
    assert nmode["columns"]["mPC"]["mean"] == pytest.approx((57 + 43.5 + 35) / 3)
    half = robustness_report.summary(content)["AP"]["rows"][0]["columns"]
    assert half["mPC"]["mean"] == 25 and half["rPC"] == columns["rPC"]


def test_the_paired_difference_by_hand(content):
    (pair,) = robustness_report.summary(content)["AP50"]["pairs"]
    assert (pair["with"], pair["without"], pair["seeds"]) == ("KD + nmODE2", "KD", [1, 2])
    differences = {name: column["values"] for name, column in pair["columns"].items()}
    assert differences["clean"] == [1, 0] and differences["motion"] == [2, -3] and differences["spike"] == [2, 0]
    assert differences["mPC"] == [2, -1.5]
    assert pair["columns"]["mPC"]["mean"] == 0.25 and pair["columns"]["mPC"]["sd"] == pytest.approx(3.5 / 2**0.5)


def test_rows_that_differ_in_more_are_no_pair(content):
    content["networks"][0]["config_but_nmode"] = content["networks"][1]["config_but_nmode"] = "another"
    assert robustness_report.summary(content)["AP50"]["pairs"] == []


def test_nothing_found_on_clean_images_has_no_ratio(content):
    content["networks"] = [record("KD", 1, 0.0, (0.0, 0.0), (0.0, 0.0))]
    (row,) = robustness_report.summary(content)["AP50"]["rows"]
    assert row["columns"]["rPC"] == {"values": [None], "mean": None, "sd": None}
    assert row["columns"]["mPC"] == {"values": [0.0], "mean": 0.0, "sd": None}


def test_the_files(content, output):
    del content["networks"][4]["measured"]["spike/4"]
    robustness_report.write(content, output)
    text = (output / "robustness.md").read_text()
    assert "synthetic phantom, not patients" in text.splitlines()[0]
    assert "A phantom is a phantom" in text.splitlines()[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert ["KD", "2", "85.0 ± 7.1", "65.0 ± 7.1", "35.0 ± 7.1", "50.0 ± 7.1", "58.7 ± 3.4"] in cells
    assert ["seed 2", "+0.00", "-3.00", "+0.00", "-1.50", "-1.88"] in cells
    assert ["mean", "+0.50 ± 0.71", "-0.50 ± 3.54", "+1.00 ± 1.41", "+0.25 ± 2.47"] in [row[:5] for row in cells]
    assert "Not measured in full, and in no table:** KD + nmODE2, seed 3." in text
    assert json.loads((output / "robustness.json").read_text())["summary"]["AP50"]["rows"][0]["seeds"] == [1, 2]
    lines = (output / "robustness.csv").read_text().splitlines()
    assert lines[0] == "row,seed,nmode,corruption,severity,AP50,AP,recall50" and len(lines) == 1 + 5 * 5 - 1
    assert lines[1] == "KD,1,none,clean,0,90,45.0,100.0" and lines[3] == "KD,1,none,motion,4,60,30.0,100.0"
    assert (output / "robustness.png").stat().st_size > 10_000


def test_a_network_of_landmarks_is_refused(output, made_by, tmp_path, monkeypatch):
    item = Network("landmarks", 1, tmp_path / "a.yaml", tmp_path / "a.pth")
    item.model = small_landmarks.network()
    monkeypatch.setattr(Network, "load", lambda self: None)
    with pytest.raises(ValueError, match=r"^landmarks, seed 1 finds landmarks, but this table is [^\n]*$"):
        measure([item], output, made_by)

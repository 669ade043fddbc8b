"""tools/evaluate.py as it is typed, its page in a real browser, and mistakes told in one line."""

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from clinical_sets import SIZE, make_case, random_cases, write_set
from PIL import Image
from tiny_runs import TINY_DATA, TINY_RUN, load_tool, make_cfg

import meddet_d2  # noqa: F401
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from meddet_d2.deploy import ModelCard
from meddet_d2.engine import evaluate as engine_evaluate
from meddet_d2.files import checksum

ROOT = Path(__file__).resolve().parents[2]
FILES = {"clinical.json", "froc.csv", "precision_recall.csv", "patients.csv", "report.html"}
A, B, C = (10, 10, 20, 10), (50, 10, 20, 10), (10, 50, 20, 10)
# Three ill patients, of whom one is missed; two healthy ones, of whom one is flagged.
CASES = [
    make_case(1, 1, [(*A, 0), (*B, 1)], [(*A, 0, 0.9), (*B, 1, 0.8)], levels=["C5/6", "C7/T1"]),
    make_case(2, 1, [(*A, 1)], [(*A, 1, 0.7), (*C, 0, 0.45)], levels=["C5/6"]),
    make_case(3, 2, [(*A, 0)], [(*A, 1, 0.6), (*A, 0, 0.2)], levels=["C5/6"]),
    make_case(4, 3, [(*C, 0)], [(*C, 0, 0.5)], levels=["C5/6"]),
    make_case(5, 4, [(*A, 1)], [(*A, 1, 0.9), (*B, 0, 0.4)], levels=["C6/7"]),
    make_case(6, 5),
]
CARD = {
    "name": "net<script>alert(1)</script>",
    "classes": ("protrusion", "non-protrusion"),
    "image": {"order": "BGR", "min_size": 96, "max_size": 96, "min_side": 32},
    "thresholds": {"score": 0.05},
    "network": {"parameters": 7},
    "made_by": {"version": "0"},
    "trained_on": ("somewhere",),
}


@pytest.fixture(scope="module")
def tool():
    return load_tool("evaluate")


@pytest.fixture
def evaluate(tool, tmp_path):
    """``evaluate(cases, *options, **of_the_set)`` runs the tool on files; gives its status and the folder."""

    def run(cases, *options, output="out", **keywords):
        truth, images, detections = write_set(tmp_path / "set", cases, **keywords)
        arguments = ["--ground-truth", truth, "--images", images, "--detections", detections]
        if "--bootstrap" not in options:
            options = ("--bootstrap", "30", *options)
        status = tool.main([*map(str, arguments), "--output", str(tmp_path / output), *map(str, options)])
        return status, tmp_path / output

    return run


@pytest.fixture
def opened(browser_page):
    """``opened(path)`` is the page in a browser, with what it asked for and complained of in ``.noted``."""
    browser_page.noted = []
    browser_page.on("console", lambda message: browser_page.noted.append(message.text))
    browser_page.on("pageerror", lambda error: browser_page.noted.append(str(error)))
    browser_page.on("dialog", lambda dialog: (browser_page.noted.append("dialog"), dialog.dismiss()))
    browser_page.on("requestfailed", lambda request: browser_page.noted.append(request.url))

    def ask(request):
        if not request.url.startswith("data:"):
            browser_page.asked.append(request.url)

    browser_page.asked = []
    browser_page.on("request", ask)

    def visit(path):
        browser_page.goto(path.as_uri())
        return browser_page

    return visit


def percent(value):
    """As the page writes a share."""
    return f"{100 * value:.1f}\u00a0%"


def test_files_and_figures(evaluate, capsys):
    status, folder = evaluate(CASES, "--threshold", "0.3")
    assert status == 0 and {path.name for path in folder.iterdir()} == FILES
    record = json.loads((folder / "clinical.json").read_text())
    assert record["settings"] == {
        "iou": 0.5, "threshold": 0.3, "threshold_given": True, "resamples": 30, "seed": 0,
    }  # fmt: skip
    sensitivity, specificity = (record["patients"][key] for key in ("sensitivity", "specificity"))
    assert (sensitivity["right"], sensitivity["of"]) == (2, 3) and (specificity["right"], specificity["of"]) == (1, 2)
    assert record["data"]["name"] == "a test set" and record["data"]["note"] == ""
    assert record["made_by"]["detectron2"] is None and "commit" not in json.dumps(record)
    files = {
        "ground_truth": folder.parent / "set" / "test.json",
        "detections": folder.parent / "set" / "detections.json",
    }
    assert all(record["data"][f"{name}_sha256"] == checksum(path) for name, path in files.items())
    assert "2 of 3, 66.7\u00a0%" in capsys.readouterr().out

    rows = list(csv.DictReader((folder / "patients.csv").open()))
    assert [row["patient"] for row in rows] == [f"patient {number}" for number in range(1, 6)]
    assert [row["flagged"] for row in rows] == ["1", "0", "1", "1", "0"]
    assert [row["images"] for row in rows] == ["2", "1", "1", "1", "1"]
    points = [row for row in csv.DictReader((folder / "froc.csv").open()) if row["target"] == "protrusion"]
    assert [float(row["threshold"]) for row in points] == [math.inf, 0.9, 0.5, 0.45, 0.4, 0.2]
    assert float(points[-1]["false_boxes_per_image"]) == pytest.approx(2 / 6)
    curve = [row for row in csv.DictReader((folder / "precision_recall.csv").open()) if row["class"] == "protrusion"]
    assert [float(row["recall"]) for row in curve] == pytest.approx([1 / 3, 2 / 3, 2 / 3, 2 / 3, 1])


def test_the_page_in_a_browser(evaluate, opened, tmp_path):
    ModelCard(**CARD)  # its fields are a card's
    (tmp_path / "card.json").write_text(ModelCard(**CARD).to_json())
    status, folder = evaluate(CASES, "--card", tmp_path / "card.json", "--name", "<script>alert(1)</script>")
    assert status == 0
    record = json.loads((folder / "clinical.json").read_text())
    page = opened(folder / "report.html")
    assert page.noted == [] and page.asked == [(folder / "report.html").as_uri()]

    assert page.locator("h1").inner_text() == "What the detector finds: <script>alert(1)</script>"
    assert page.title() == "What the detector finds: <script>alert(1)</script>"
    titles = page.locator("h2").all_inner_texts()
    assert titles[0] == "In a minute" and len(titles) == 11
    for link in page.locator("nav a").all():
        assert page.locator(link.get_attribute("href")).count() == 1
    assert "Research use only" in page.locator("[role=note]").first.inner_text()
    assert "net<script>alert(1)</script>" in page.locator("#model").inner_text()

    patients = record["patients"]
    assert page.locator("#patient-sensitivity").inner_text() == "2 of 3"
    assert page.locator("#patient-specificity").inner_text() == "1 of 2"
    at_one = record["froc"]["protrusion"]["sensitivity_at"][3]
    assert at_one["rate"] == 1.0 and page.locator("#froc-at-one").inner_text() == percent(at_one["value"])
    mean = record["average_precision"]["mean"]
    assert page.locator("#average-precision").inner_text() == percent(mean["value"])
    tiles = page.locator(".tiles").inner_text()
    low, high = patients["sensitivity"]["low"], patients["sensitivity"]["high"]
    assert f"sensitivity {percent(patients['sensitivity']['value'])}" in tiles
    assert f"range {100 * low:.1f} to {percent(high)}" in tiles
    rows = page.locator("#froc tbody tr").all_inner_texts()
    for row, point in zip(rows, record["froc"]["any disc"]["sensitivity_at"], strict=False):
        assert percent(point["value"]) in row
    cells = page.locator(".confusion tbody tr")
    for row, values in zip(cells.all(), record["confusion"]["boxes"], strict=True):
        texts = [text.split("\n")[0] for text in row.locator("td").all_inner_texts()]
        assert texts == ["–" if value is None else str(value) for value in values]
    assert ["C5/6", "4 of 4", "3 of 4", "2 of 3"] in [
        row.locator("td").all_inner_texts() for row in page.locator("#levels tbody tr").all()
    ]

    widths = page.evaluate("[...document.images].map(image => image.complete && image.naturalWidth)")
    assert len(widths) == 1 + 2 * 6 and min(widths) > 100, "the legend, and two panels for each case that is shown"
    assert page.locator("svg").count() == 4
    for width in (400, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.noted == []


def test_nobody_is_named_in_any_output(evaluate, opened, tmp_path):
    script = "<script>alert(1)</script>"
    cases = [make_case(number, number, [(*A, 0)], [(*B, 0, 0.9)], levels=[f"CANARY{script}"]) for number in (1, 2)]
    status, folder = evaluate(
        cases,
        names=["CANARY <b>Mustermann<b>.png", "CANARY' onerror='alert(1).png"],
        patients=[f"CANARY{script}", "CANARY-1848"],
        extra={"info": {"description": f"CANARY{script}"}, "licenses": [f"CANARY{script}"]},
    )
    assert status == 0
    for path in folder.iterdir():
        text = path.read_text()
        assert "CANARY" not in text and "alert(" not in text and str(tmp_path) not in text, path.name
    page = opened(folder / "report.html")
    assert page.noted == [] and page.asked == [(folder / "report.html").as_uri()]
    assert "with a name that is no disc level" in page.locator("#levels").inner_text()
    assert page.locator(".case").count() == 2


EDGES = {
    "The detector found nothing on any image.": [make_case(1, 1, [(*A, 0)]), make_case(2, 2, [(*A, 1)])],
    "No patient with protrusion is in this set": [make_case(n, n, found=[(*A, 0, 0.5)]) for n in (1, 2)],
    "No patient without protrusion is in this set": [make_case(n, n, [(*A, 0)]) for n in (1, 2)],
    "One patient cannot be resampled": [make_case(1, 1, [(*A, 0)], [(*A, 0, 0.5)]), make_case(2, 1)],
    "No detection has a score below 0.50": [make_case(n, n, [(*A, n % 2)], [(*A, 0, 0.5)]) for n in (1, 2)],
    "Only 2 patients with protrusion and 1 patient without": [
        make_case(n, n, [(*A, 0)] * (n > 1), [(*A, 0, 0.1)]) for n in (1, 2, 3)
    ],
}


def test_the_page_says_what_cannot_be_said(evaluate, opened):
    for number, (said, cases) in enumerate(EDGES.items()):
        status, folder = evaluate(cases, output=f"out{number}")
        assert status == 0
        page = opened(folder / "report.html")
        assert any(said in text for text in page.locator("[role=note]").all_inner_texts()), said
        assert page.noted == [] and "nan" not in page.locator("main").inner_text().lower(), said


def test_more_than_a_hundred_detections_of_an_image(evaluate):
    rng = np.random.default_rng(0)
    found = [(*rng.integers(0, 60, 2), 20, 20, n % 2, rng.random()) for n in range(250)]
    _, folder = evaluate([make_case(1, 1, [(*A, 0)], found), make_case(2, 2)])
    record = json.loads((folder / "clinical.json").read_text())
    assert record["counts"]["left_out"] == {
        "beyond_100_of_a_class_in_an_image": 50,
        "beyond_100_of_any_class_in_an_image": 150,
        "on_crowd_boxes": 0,
    }
    assert "50 beyond the 100 best of a class" in (folder / "report.html").read_text()


def test_an_image_that_cannot_be_shown_costs_its_picture_only(evaluate, tool, tmp_path):
    evaluate(CASES)
    images = tmp_path / "set" / "images"
    (images / "3.png").write_bytes(b"no picture")
    Image.new("L", (SIZE, SIZE + 1)).save(images / "5.png")
    write = tmp_path / "again"
    arguments = ["--ground-truth", images.parent / "test.json", "--images", images, "--bootstrap", "0"]
    arguments += ["--detections", images.parent / "detections.json", "--output", write]
    assert tool.main(list(map(str, arguments))) == 0
    text = (write / "report.html").read_text()
    assert "its image cannot be read" in text and f"its image is {SIZE} x {SIZE + 1}, not {SIZE} x {SIZE}" in text
    assert "No intervals were asked for." in text


def test_a_seed_is_a_result(evaluate):
    cases = random_cases(np.random.default_rng(5), images=9, patients=5)
    texts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        _, folder = evaluate(cases, "--seed", seed, output=name)
        texts.append([(folder / file).read_text() for file in sorted(FILES)])
    assert texts[0] == texts[1] and texts[0][0] != texts[2][0]


@pytest.mark.parametrize(
    ("folder", "extra", "note"),
    [
        ("cdh_phantom/0123456789", {}, "synthetic phantom, not patients"),
        ("copied", {"info": {"phantom": True}}, "synthetic phantom, not patients"),
        ("spider_lumbar", {}, "lumbar spines of SPIDER, not cervical and not CDH-1848"),
        ("ours", {"info": None}, ""),
    ],
)
def test_known_data_is_called_what_it_is_whatever_its_name(tool, tmp_path, folder, extra, note):
    truth, images, detections = write_set(tmp_path / folder, CASES[:1], extra=extra)
    arguments = ["--ground-truth", truth, "--images", images, "--detections", detections, "--bootstrap", 0]
    assert tool.main([*map(str, arguments), "--output", str(tmp_path / "out"), "--name", "our necks"]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert json.loads((tmp_path / "out" / "clinical.json").read_text())["data"]["note"] == note
    assert (f"About the data: {note}." in page) == bool(note)


def test_nothing_is_replaced_without_force(evaluate, capsys):
    _, folder = evaluate(CASES)
    before = (folder / "report.html").read_bytes()
    status, _ = evaluate(CASES[:3], "--seed", "1")
    assert status == 1 and (folder / "report.html").read_bytes() == before
    assert "holds clinical.json, froc.csv, precision_recall.csv, patients.csv, report.html already; add --force" in (
        capsys.readouterr().err
    )
    status, _ = evaluate(CASES[:3], "--force")
    assert status == 0 and (folder / "report.html").read_bytes() != before


def test_a_mistake_is_one_line_and_leaves_nothing(evaluate, tool, tmp_path, capsys):
    def told(arguments):
        capsys.readouterr()
        assert tool.main(["--output", str(tmp_path / "none"), *map(str, arguments)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and not (tmp_path / "none").exists()
        return line

    truth, images, detections = write_set(tmp_path / "set", CASES)
    files = ["--ground-truth", truth, "--images", images, "--detections", detections]
    assert "Give either --config-file, or" in told([])
    assert "Give either --config-file, or" in told(files[:4])
    assert "Give either --config-file, or" in told([*files, "--config-file", "configs/quickstart.yaml"])
    assert "belong to --config-file" in told([*files, "--weights", "model.pth"])
    both = ["--config-file", "configs/quickstart.yaml", "--detections", detections]
    assert "leave one of them out" in told([*both, "--weights", "model.pth"])
    assert f"{truth} is a file; give --output a folder" in told([*files, "--output", truth])
    assert "The overlap is 0.0" in told([*files, "--iou", "0"])
    assert "The operating point is 2.0" in told([*files, "--threshold", "2"])
    assert "no such model card" in told([*files, "--card", tmp_path / "card.json"])
    (tmp_path / "card.json").write_text(ModelCard(**{**CARD, "classes": ("disc",)}).to_json())
    assert "a card of a network for ['disc']" in told([*files, "--card", tmp_path / "card.json"])
    detections.write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "score": NaN}]')
    assert "has score nan" in told(files)
    assert "No weights to evaluate" in told(["--config-file", "configs/quickstart.yaml"])
    assert "configs/none.yaml does not exist" in told(["--config-file", "configs/none.yaml"])


def test_a_network_and_its_detections_give_the_same_report(tool, use_datasets_root, tmp_path, capsys):
    options = [*TINY_DATA, *TINY_RUN, "MODEL.GFL.SCORE_THRESH_TEST", 0.005]
    cfg = make_cfg([*options, "MODEL.BOTTOM_UP.PRETRAINED", False, "OUTPUT_DIR", str(tmp_path / "engine")])
    torch.manual_seed(0)
    weights = tmp_path / "model.pth"
    torch.save({"model": build_model(cfg).state_dict()}, weights)
    card = {**CARD, "trained_on": ("cdh_phantom_test",), "files": {"model.pth": checksum(weights)}}
    (tmp_path / "card.json").write_text(ModelCard(**card).to_json())
    common = ["--bootstrap", "10", "--card", str(tmp_path / "card.json")]
    arguments = ["--config-file", str(ROOT / "configs" / "quickstart.yaml"), "--weights", str(weights)]
    assert tool.main([*arguments, "--output", str(tmp_path / "a"), *common, *map(str, options)]) == 0
    assert {path.name for path in (tmp_path / "a").iterdir()} == FILES | {"coco_instances_results.json"}
    record = json.loads((tmp_path / "a" / "clinical.json").read_text())
    assert record["data"]["name"] == "cdh_phantom_test" and record["data"]["note"]
    assert record["counts"]["images"] == 4 and record["counts"]["detections"] > 0
    assert len(record["model"]["weights_sha256"]) == 64 and record["model"]["config"] == "quickstart.yaml"
    page = (tmp_path / "a" / "report.html").read_text()
    assert "trained on this very data set" in page and "are those of this card, by their checksum" in page

    metrics = engine_evaluate(make_cfg([*options, "MODEL.WEIGHTS", str(weights), "OUTPUT_DIR", str(tmp_path / "e")]))
    for name, key in (("mean", "AP50"), ("protrusion", "AP50-protrusion")):
        value = record["average_precision"][name]["value"]
        expected = metrics["bbox"][key] / 100
        assert value is None if math.isnan(expected) else value == pytest.approx(expected, abs=1e-9)

    folder = Path(MetadataCatalog.get("cdh_phantom_test").json_file).parent
    arguments = ["--ground-truth", folder / "test.json", "--images", folder / "images", "--output", tmp_path / "b"]
    arguments += ["--detections", tmp_path / "a" / "coco_instances_results.json", *common]
    assert tool.main(list(map(str, arguments))) == 0
    again = json.loads((tmp_path / "b" / "clinical.json").read_text())
    for key in ("counts", "patients", "images", "average_precision", "froc", "confusion", "calibration", "levels"):
        assert again[key] == record[key], key

    (tmp_path / "card.json").write_text(ModelCard(**{**card, "files": {"model.pth": "0" * 64}}).to_json())
    arguments = ["--config-file", str(ROOT / "configs" / "quickstart.yaml"), "--weights", str(weights), *common]
    assert tool.main([*arguments, "--output", str(tmp_path / "c")]) == 1
    assert "not the file that its model card was written for" in capsys.readouterr().err


def test_given_detections_are_judged_by_the_classes_of_a_registered_set(tool, tmp_path):
    """Its classes are an attribute's: by the json's categories every box would be the wrong one of two."""
    truth, images, detections = write_set(tmp_path / "set", CASES[:4])
    content = json.loads(truth.read_text())
    for image in content["images"]:
        image["person"] = image.pop("patient_id")
    for box in content["annotations"]:
        box["graded"] = {"by us": box["category_id"] % 2}
    truth.write_text(json.dumps(content))
    entry = {"name": "necks_test", "json": str(truth), "images": str(images), "patient_key": "person"}
    entry |= {"class_from": "graded.by us", "class_names": {1: "grade 1", 0: "grade 0"}, "findings": ["grade 1"]}
    arguments = ["--config-file", ROOT / "configs" / "quickstart.yaml", "--detections", detections, "--bootstrap", 0]
    arguments += ["--output", tmp_path / "out", "DATASETS.REGISTER", [{**entry, "thing": "joint"}]]
    arguments += ["DATASETS.TRAIN", "()", "DATASETS.TEST", "('necks_test',)", "VALIDATION.DATASETS", "()"]
    assert tool.main(list(map(str, arguments))) == 0
    record = json.loads((tmp_path / "out" / "clinical.json").read_text())
    assert record["subject"]["classes"] == ["grade 1", "grade 0"] and record["subject"]["findings"] == ["grade 1"]
    assert record["subject"]["thing"] == "joint" and record["counts"]["patients"] == 3
    assert record["average_precision"]["grade 0"]["value"] == pytest.approx(1.0)
    assert record["model"]["config"] is None and record["data"]["name"] == "necks_test"
    assert not (tmp_path / "out" / "coco_instances_results.json").exists()


def test_given_detections_are_judged_on_a_set_that_somebody_registered_by_its_json(tool, tmp_path):
    truth, images, detections = write_set(tmp_path / "set", CASES)
    DatasetCatalog.register("somebodys_necks", list)
    MetadataCatalog.get("somebodys_necks").set(json_file=str(truth), image_root=str(images))
    arguments = ["--config-file", ROOT / "configs" / "quickstart.yaml", "--detections", detections, "--bootstrap", 0]
    arguments += ["--output", tmp_path / "out", "DATASETS.TEST", "('somebodys_necks',)"]
    try:
        assert tool.main(list(map(str, arguments))) == 0
    finally:
        DatasetCatalog.remove("somebodys_necks")
        MetadataCatalog.remove("somebodys_necks")
    record = json.loads((tmp_path / "out" / "clinical.json").read_text())
    assert record["counts"]["images"] == 6 and record["patients"]["sensitivity"]["of"] == 4


def test_real_images_and_a_reader_who_agrees_with_himself(tool, opened, tmp_path):
    """SPIDER's slices, if they are at hand, with the annotated boxes as detections."""
    folder = Path(os.environ.get("MEDDET_SPIDER_LUMBAR", "absent"))
    if not folder.is_dir():
        pytest.skip("MEDDET_SPIDER_LUMBAR names no folder with SPIDER's slices")
    annotations = json.loads((folder / "val.json").read_text())["annotations"]
    found = [{key: box[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for box in annotations]
    (tmp_path / "found.json").write_text(json.dumps(found))
    arguments = ["--ground-truth", folder / "val.json", "--images", folder / "images", "--bootstrap", 20]
    arguments += ["--detections", tmp_path / "found.json", "--output", tmp_path / "out"]
    assert tool.main(list(map(str, arguments))) == 0
    record = json.loads((tmp_path / "out" / "clinical.json").read_text())
    assert record["average_precision"]["mean"]["value"] == pytest.approx(1.0)
    assert record["patients"]["auc"]["value"] == record["froc"]["any disc"]["mean"]["value"] == 1.0
    assert "SPIDER" in record["data"]["note"]
    page = opened(tmp_path / "out" / "report.html")
    assert page.noted == [] and page.locator(".case img").count() == 8

"""``tools/predict.py`` from the command line: what it writes, what it refuses, and that nobody's name gets out."""

import csv
import json
import os
import shutil
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import highdicom as hd
import numpy as np
import onnx
import pytest
from dicom_files import CANARIES, canary_dicom, write_dicom
from PIL import Image
from pydicom.uid import MRImageStorage
from tiny_runs import ROOT, bare_environment, load_tool, smooth_noise

from meddet_d2.deploy import Predictor, prediction_run
from meddet_d2.files import checksum

# Without those of five and six digits, which numbers contain by chance.
CANARY_TEXTS = [*(text for text in CANARIES if not (text.isdigit() and len(text) < 7)), "271828.18", "2718281"]


@pytest.fixture(scope="module")
def predict():
    return load_tool("predict")


@pytest.fixture(autouse=True)
def salt(monkeypatch):
    monkeypatch.setenv("MEDDET_SALT", "salt of the tests")


@pytest.fixture(scope="module")
def onnx_model(exported):
    return ["--onnx", str(exported[0] / "model.onnx")]


@pytest.fixture(scope="module")
def torch_model(exported):
    _, _, (arguments, opts) = exported
    return [*arguments[:4], "--device", "cpu", "--opts", *opts]


@pytest.fixture
def run(predict, tmp_path, onnx_model, capsys):
    """``run(*inputs and options)`` gives exit status, output and error text; the results are in tmp_path / "out"."""

    def command(*arguments, model=onnx_model):
        status = predict.main([*map(str, arguments), "--output", str(tmp_path / "out"), *model])
        return status, *capsys.readouterr()

    return command


def deep(seed=0, **size) -> np.ndarray:
    """The same as a scanner gives it: grey, 12 bits."""
    return smooth_noise(seed=seed, **size)[:, :, 0].astype(np.uint16) * 16


def save(path: Path, seed=0, mode="RGB", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(smooth_noise(seed=seed)).convert(mode).save(path, **options)
    return path


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def coco(folder: Path) -> dict:
    return json.loads((folder / "predictions.json").read_text())


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what it writes --------------------------------------------------------------------------------------------------


def test_pictures_in_readings_out(run, tmp_path):
    names = ("Müller Hans/Schnitt 1.png", "Müller Hans/切片.tif", "Müller Hans/more/c.jpg")
    for seed, name in enumerate(names):
        save(tmp_path / "in" / name, seed)
    (tmp_path / "in" / "Müller Hans" / "Brief an Hans.txt").write_text("Dear Hans")
    status, out, err = run(tmp_path / "in")
    assert status == 0
    assert err.count("problem: ") == 1 and "Brief an Hans.txt" in err
    images, discs = table(tmp_path / "out" / "images.csv"), table(tmp_path / "out" / "findings.csv")
    assert len(images) == 3 and sum(int(line["findings"]) for line in images) == len(discs) > 3
    assert sorted(path.stem for path in (tmp_path / "out" / "overlays").iterdir()) == sorted(
        line["image_id"] for line in images
    )
    assert "3 images read" in out and "1 problem" in out and "Research use only" in out and "findings.csv" in out
    (problem,) = table(tmp_path / "out" / "problems.csv")
    assert problem["file"].startswith("i") and problem["reason"]
    content = coco(tmp_path / "out")
    assert content["info"]["thresholds"] == {"protrusion": 0.3, "non-protrusion": 0.3}
    assert content["info"]["model"]["name"] == "quickstart" and len(content["info"]["model"]["sha256"]) == 64
    for name, data in files_of(tmp_path / "out").items():
        for secret in ("Müller", "Hans", "Schnitt", "切片", str(tmp_path)):
            assert secret.encode() not in data and secret not in name


def test_both_detectors_say_the_same(run, tmp_path, torch_model):
    for seed in range(4):
        save(tmp_path / "in" / f"{seed}.png", seed)
    # Of another size than the network's, which both must resize alike.
    write_dicom(tmp_path / "in" / "a.dcm", deep(9, height=150, width=111))
    found = []
    for model in ({}, {"model": torch_model}):
        assert run(tmp_path / "in", "--force", "--no-overlays", **model)[0] == 0
        found.append(coco(tmp_path / "out"))
    by_onnx, by_torch = found
    assert by_onnx["images"] == by_torch["images"] and len(by_onnx["images"]) == 5
    assert by_onnx["categories"] == by_torch["categories"]
    assert len(by_onnx["annotations"]) == len(by_torch["annotations"]) > 5
    for one, other in zip(by_onnx["annotations"], by_torch["annotations"], strict=True):
        assert (one["image_id"], one["category_id"], one["disc"]) == (
            other["image_id"],
            other["category_id"],
            other["disc"],
        )
        np.testing.assert_allclose(one["bbox"], other["bbox"], rtol=0, atol=0.05)
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_a_second_run_writes_the_same_bytes(run, tmp_path):
    for seed in range(2):
        save(tmp_path / "in" / f"{seed}.png", seed)
    assert run(tmp_path / "in")[0] == 0
    first = files_of(tmp_path / "out")
    assert run(tmp_path / "in", "--force")[0] == 0
    assert files_of(tmp_path / "out") == first and len(first) == 6


@pytest.mark.parametrize("slices, images", [("middle", 3), ("all", 9)])
def test_a_folder_of_mixed_series(run, tmp_path, slices, images):
    (tmp_path / "in").mkdir()
    for series, count in ((5, 5), (6, 3)):
        for number in range(count):
            write_dicom(
                tmp_path / "in" / f"{series}_{number}.dcm", deep(10 * series + number),
                SeriesInstanceUID=f"1.2.{series}", SOPInstanceUID=f"1.2.{series}.{number}",
                ImagePositionPatient=[4.0 * number, 0.0, 0.0], InstanceNumber=number + 1, PixelSpacing=[0.5, 0.25],
            )  # fmt: skip
    save(tmp_path / "in" / "a.png")
    status, *_ = run(tmp_path / "in", "--slices", slices)
    assert status == 0 and len(table(tmp_path / "out" / "images.csv")) == images
    scanned = [line for line in table(tmp_path / "out" / "findings.csv") if line["patient_id"]]
    assert scanned
    for line in scanned:
        assert (line["row_spacing_mm"], line["column_spacing_mm"]) == ("0.5", "0.25")
        assert float(line["width_mm"]) == pytest.approx(0.25 * (float(line["x1_px"]) - float(line["x0_px"])), abs=0.02)
        assert float(line["height_mm"]) == pytest.approx(0.5 * (float(line["y1_px"]) - float(line["y0_px"])), abs=0.02)


def test_thresholds(run, tmp_path):
    source = save(tmp_path / "a.png")
    counts = []
    for options in ([], ["--threshold", "0.45"], ["--threshold", "1", "--class-threshold", "protrusion=0.45"]):
        assert run(source, "--force", *options)[0] == 0
        discs = table(tmp_path / "out" / "findings.csv")
        counts.append([sum(line["label"] == name for line in discs) for name in ("protrusion", "non-protrusion")])
        assert all(float(line["score"]) >= 0.45 for line in discs) or not options
    assert sum(counts[0]) > sum(counts[1]) > 0 and counts[2] == [counts[1][0], 0]


def test_no_overlays(run, tmp_path):
    assert run(save(tmp_path / "a.png"), "--no-overlays")[0] == 0
    assert sorted(files_of(tmp_path / "out")) == ["findings.csv", "images.csv", "predictions.json", "problems.csv"]


def test_the_key_leads_back(run, tmp_path):
    source, broken = save(tmp_path / "Hans 1.png"), tmp_path / "broken.png"
    broken.write_bytes(b"")
    assert run(source, broken, "--key", tmp_path / "key.csv")[0] == 0
    key = {line["pseudonym"]: line["source"] for line in table(tmp_path / "key.csv")}
    assert stat.S_IMODE((tmp_path / "key.csv").stat().st_mode) == 0o600
    (image,) = table(tmp_path / "out" / "images.csv")
    (problem,) = table(tmp_path / "out" / "problems.csv")
    assert key == {image["image_id"]: str(source), problem["file"]: str(broken)}


def test_real_lumbar_images(run, tmp_path):
    folder = os.environ.get("MEDDET_SPIDER_LUMBAR")
    if not folder:
        pytest.skip("MEDDET_SPIDER_LUMBAR, the folder of the SPIDER images, is not set")
    sources = sorted((Path(folder) / "images").iterdir())[:4]
    assert run(*sources, "--strict")[0] == 0
    lines = table(tmp_path / "out" / "images.csv")
    sizes = []
    for source in sources:
        with Image.open(source) as image:
            sizes.append(image.size)
    assert [(int(line["width_px"]), int(line["height_px"])) for line in lines] == sizes
    assert not [name for name, data in files_of(tmp_path / "out").items() if b"spider" in name.encode() + data]


# --- without torch ---------------------------------------------------------------------------------------------------


def test_neither_torch_nor_detectron2_is_needed(onnx_model, tmp_path, run):
    save(tmp_path / "in" / "a.png")
    write_dicom(tmp_path / "in" / "b.dcm", deep(1))
    needed = ("numpy", "PIL", "cv2", "onnxruntime", "flatbuffers", "google", "packaging", "tqdm", "tabulate")
    environment = bare_environment(tmp_path, (*needed, "pydicom", "typing_extensions", "gdcm", "_gdcm"))
    code = (
        "import runpy, sys\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n"
        "    assert not {'torch', 'detectron2', 'torchvision', 'highdicom'} & set(sys.modules)\n"
    )
    tool = str(ROOT / "tools" / "predict.py")

    def bare(*arguments):
        launch = f"import sys; sys.argv = {[tool, *map(str, arguments)]!r}\n{code}"
        command = [sys.executable, "-S", "-c", launch]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)

    done = bare(tmp_path / "in", *onnx_model, "--output", tmp_path / "bare")
    assert done.returncode == 0, done.stderr
    assert run(tmp_path / "in")[0] == 0
    assert files_of(tmp_path / "bare") == files_of(tmp_path / "out")
    for options, message in (
        (["--config-file", ROOT / "configs" / "quickstart.yaml"], "--config-file needs torch"),
        ([*onnx_model, "--dicom", "sr"], 'pip install -c constraints.txt -e ".[dicom]"'),
    ):
        done = bare(tmp_path / "in", *options, "--output", tmp_path / "no")
        assert done.returncode == 2 and done.stderr.startswith("error: ") and message in done.stderr
        assert done.stderr.count("\n") == 1 and not (tmp_path / "no").exists()


# --- bad input -------------------------------------------------------------------------------------------------------


def enormous(path: Path) -> None:
    """A PNG that says it has 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")))


def truncated(path: Path) -> None:
    whole = save(path.with_name("whole.png"))
    path.write_bytes(whole.read_bytes()[:2000])
    whole.unlink()


def animated(path: Path) -> None:
    frames = [Image.fromarray(smooth_noise(seed=seed)) for seed in range(3)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


BAD = {
    "truncated": truncated,
    "animated": animated,
    "empty": lambda path: path.write_bytes(b""),
    "no image": lambda path: path.write_text("what is this"),
    "enormous": enormous,
    "no pixels": lambda path: write_dicom(path, deep(), PixelData=None, Rows=None),
    "too small": lambda path: Image.fromarray(smooth_noise(31, 40)).save(path, "PNG"),
    "missing": lambda path: None,
    "a broken link": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_and_the_rest_is_read(run, tmp_path, kind):
    good, bad = save(tmp_path / "good.png"), tmp_path / "Müller 1.png"
    BAD[kind](bad)
    status, out, err = run(bad, good, "--no-overlays")
    assert status == 0 and "1 image read" in out and "1 problem" in out
    assert err.count("problem: ") == 1 and f"problem: {bad}: " in err and "Traceback" not in err
    (problem,) = table(tmp_path / "out" / "problems.csv")
    assert len(problem["reason"]) > 10 and "Müller" not in str(problem) and "\n" not in problem["reason"]
    assert len(table(tmp_path / "out" / "images.csv")) == 1
    # Strict: the same results, another exit status. Alone: nothing is written.
    assert run(bad, good, "--strict", "--force", "--no-overlays")[0] == 1
    assert len(table(tmp_path / "out" / "images.csv")) == 1
    before = files_of(tmp_path / "out")
    status, out, err = run(bad, "--force")
    assert status == 1 and "error: Not one image could be read; nothing was written." in err
    assert files_of(tmp_path / "out") == before


@pytest.mark.parametrize("mode, suffix", [("CMYK", "jpg"), ("RGBA", "png"), ("LA", "png"), ("P", "gif"), ("L", "tif")])
def test_odd_colours_are_read(run, tmp_path, mode, suffix):
    assert run(save(tmp_path / f"a.{suffix}", mode=mode), "--strict")[0] == 0


def test_dicom_without_spacing_has_no_millimetres(run, tmp_path):
    status, out, _ = run(write_dicom(tmp_path / "a.dcm", deep(), PixelSpacing=None))
    assert status == 0 and "Remark on 1 image: " in out and "spacing" in out
    (image,), discs = table(tmp_path / "out" / "images.csv"), table(tmp_path / "out" / "findings.csv")
    assert "spacing" in image["warnings"] and image["row_spacing_mm"] == ""
    assert discs and all(line["width_mm"] == "" == line["x0_mm"] for line in discs)


def test_nan_is_a_problem_of_its_image(run, tmp_path, exported, monkeypatch):
    folder = shutil.copytree(exported[0], tmp_path / "model")
    model = onnx.load(folder / "model.onnx")
    constant = next(c for c in model.graph.initializer if c.name.endswith("cls_predictor.bias"))
    constant.CopyFrom(onnx.numpy_helper.from_array(np.full(2, np.nan, np.float32), constant.name))
    onnx.save(model, folder / "model.onnx")
    card = json.loads((folder / "card.json").read_text())
    card["files"] = {"model.onnx": checksum(folder / "model.onnx")}
    (folder / "card.json").write_text(json.dumps(card))
    good, bad = save(tmp_path / "good.png"), save(tmp_path / "bad.png", 1)
    status, _, err = run(good, bad, model=["--onnx", str(folder / "model.onnx")])
    assert status == 1 and err.count("problem: ") == 2 and "NaN" in err and not (tmp_path / "out").exists()
    # One image alone: the other is read, and the first is not among those without a finding.
    broken, whole = (Predictor(exit_[0] / "model.onnx") for exit_ in ((folder,), (exported[0],)))
    monkeypatch.setattr(
        Predictor, "__call__", lambda self, image: (broken if image[0, 0, 0] == smooth_noise(seed=1)[0, 0, 0] else
                                                            whole).predict_batch([image])[0]
    )  # fmt: skip
    status, out, err = run(good, bad)
    assert status == 0 and f"problem: {bad}: The network predicts NaN" in err and "1 image read" in out
    (image,), (problem,) = table(tmp_path / "out" / "images.csv"), table(tmp_path / "out" / "problems.csv")
    assert problem["image_id"] not in ("", image["image_id"])


# --- wrong commands --------------------------------------------------------------------------------------------------


def test_a_wrong_command_is_told_in_one_line_and_changes_nothing(run, tmp_path, exported, torch_model, onnx_model):
    source = save(tmp_path / "in" / "a.png")
    config = ["--config-file", str(ROOT / "configs" / "quickstart.yaml"), "--device", "cpu"]
    weights = ["--weights", str(exported[0].parent / "weights.pth")]
    other = tmp_path / "other"
    shutil.copytree(exported[0], other)
    card = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps({**card, "format": 99}))
    cases = (
        ([*config, "--weights", "no.pth"], [], "no.pth does not exist"),
        ([*config, *weights], [], "weights of another architecture"),
        (["--config-file", "no.yaml"], [], "no.yaml does not exist"),
        (["--onnx", "no.onnx"], [], "no.onnx: no such model"),
        (["--onnx", str(other / "model.onnx")], [], "format 99"),
        (["--onnx", str(source)], [], "no such model card"),
        (onnx_model, ["--threshold", "0.1"], "no score below 0.3"),
        (onnx_model, ["--threshold", "3"], "must be in 0..1"),
        (onnx_model, ["--class-threshold", "hernia=0.4"], "class 'hernia'"),
        (onnx_model, ["--device", "tpu"], "--device tpu"),
        (onnx_model, ["--weights", "no.pth"], "go with --config-file"),
        ([*torch_model[:4], "--device", "tpu"], [], "The device tpu is not here"),
        (onnx_model, ["--key", tmp_path / "out" / "key.csv"], "which is to be passed on"),
        (onnx_model, ["--key", source], "add --force"),
    )
    for model, options, message in cases:
        status, out, err = run(source, *options, model=model)
        assert (status, out) == (2, ""), message
        assert err.startswith("error: ") and message in err and err.count("\n") == 1, err
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["a.png", "--output", "out"], "one of the arguments --onnx --config-file is required"),
        (["a.png", "--output", "out", "--onnx", "a", "--config-file", "b"], "not allowed with argument --onnx"),
        (["a.png", "--output", "out", "--onnx", "a", "--dicom-identified"], "--dicom sr, sc or both"),
        (["a.png", "--output", "out", "--onnx", "a", "--class-threshold", "0.4"], "give NAME=SCORE"),
        (["a.png", "--output", "out", "--onnx", "a", "--class-threshold", "a=b"], "give NAME=SCORE"),
        (["--output", "out", "--onnx", "a"], "INPUT"),
    ],
)
def test_usage(predict, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        predict.main(arguments)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_nothing_is_overwritten_without_force(run, tmp_path):
    source = save(tmp_path / "in" / "a.png")
    assert run(source)[0] == 0
    before = files_of(tmp_path / "out")
    status, _, err = run(save(tmp_path / "in" / "b.png", 1))
    assert status == 2 and "add --force" in err and files_of(tmp_path / "out") == before
    assert run(tmp_path / "in" / "b.png", "--force")[0] == 0
    assert len(files_of(tmp_path / "out")) == len(before), "the first image's overlay is gone"


def test_results_in_the_input_folder_would_be_read_next_time(run, tmp_path):
    save(tmp_path / "a.png")
    status, _, err = run(tmp_path)
    assert status == 2 and "lies in the input folder" in err


def test_an_interrupted_run_leaves_nothing_half(run, tmp_path, monkeypatch):
    for seed in range(3):
        save(tmp_path / "in" / f"{seed}.png", seed)
    assert run(tmp_path / "in" / "0.png")[0] == 0
    before, real = files_of(tmp_path / "out"), prediction_run.reading_of
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(prediction_run, "reading_of", interrupted)
    status, _, err = run(tmp_path / "in", "--force")
    assert status == 130 and "Stopped after 2 images" in err and "as it was" in err
    assert files_of(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


# --- whose they are --------------------------------------------------------------------------------------------------


@pytest.fixture
def canaries(tmp_path):
    """A folder of DICOM files with a canary in every tag, readable or not, and in the files' names."""
    folder = tmp_path / "CANARY Petunia"
    folder.mkdir()
    canary_dicom(
        folder / "canary 0.dcm", deep(), SOPClassUID=MRImageStorage, SOPInstanceUID="1.2.0", PixelSpacing=[0.5, 0.5]
    )
    canary_dicom(folder / "canary as it is.dcm")
    (folder / "canary broken.dcm").write_bytes((folder / "canary 0.dcm").read_bytes()[:-3000])
    return folder


def canaries_in(data: bytes) -> list[str]:
    return [text for text in CANARY_TEXTS if text.lower().encode() in data.lower()]


def test_no_canary_gets_out(run, tmp_path, canaries, predict, monkeypatch, recwarn, caplog):
    # The new objects' ids are random; these are the same each time.
    monkeypatch.setattr("meddet_d2.deploy.dicom_report.token_hex", lambda count: "run")
    status, out, err = run(canaries, "--slices", "all", "--dicom", "both", "--key", tmp_path / "key.csv")
    assert status == 0
    # The terminal names a file by its path, as the person typed it.
    said = (out + err).replace(str(canaries), "").replace(str(tmp_path), "").replace("/canary ", "") + caplog.text
    assert not canaries_in(said.encode()), said
    assert not [warning for warning in recwarn if canaries_in(str(warning.message).encode())]
    written = files_of(tmp_path / "out")
    kinds = {Path(name).suffixes[-1] if "." in name else name for name in written}
    assert kinds == {".json", ".csv", ".png", ".dcm"}
    assert sum(name.endswith(".sr.dcm") for name in written) == 1
    assert sum(name.endswith(".sc.dcm") for name in written) == 2
    for name, data in written.items():
        assert not canaries_in(name.encode()) and not canaries_in(data), name
    assert len(table(tmp_path / "out" / "problems.csv")) == 2


def test_boxes_of_the_report_are_those_of_the_table(run, tmp_path):
    status, *_ = run(write_dicom(tmp_path / "a.dcm", deep(), PatientName="Hans"), "--dicom", "sr")
    assert status == 0
    ((name, _),) = [item for item in files_of(tmp_path / "out").items() if item[0].endswith(".sr.dcm")]
    report = hd.sr.srread(tmp_path / "out" / name)
    lines = table(tmp_path / "out" / "findings.csv")
    groups = report.content.get_planar_roi_measurement_groups()
    assert len(groups) == len(lines) > 0
    for group, line in zip(groups, lines, strict=True):
        box = [float(line[f"{side}_px"]) for side in ("x0", "y0", "x1", "y1")]
        np.testing.assert_allclose([*group.roi.value.min(axis=0), *group.roi.value.max(axis=0)], box, atol=0.006)
        assert group.tracking_identifier == f"disc {line['disc']}, {line['label']}"


def test_identity_is_in_its_own_folder_and_warned_of(run, tmp_path):
    source = write_dicom(tmp_path / "a.dcm", deep(), PatientName="Petunia", StudyDate="19040229")
    status, _, err = run(source, save(tmp_path / "b.png"), "--dicom", "both", "--dicom-identified")
    assert status == 0 and "warning: " in err and "patients' names" in err
    assert f"problem: {tmp_path / 'b.png'}: SR: the source is no DICOM image" in err
    named = {name for name, data in files_of(tmp_path / "out").items() if b"Petunia" in data or b"19040229" in data}
    assert len(named) == 2 and all(name.startswith("dicom_identified") for name in named)
    assert len(files_of(tmp_path / "out" / "dicom_identified")) == 3
    (problem,) = table(tmp_path / "out" / "problems.csv")
    assert problem["image_id"] in {line["image_id"] for line in table(tmp_path / "out" / "images.csv")}
    assert run(source, tmp_path / "b.png", "--dicom", "sr", "--strict", "--force")[0] == 1
    assert not (tmp_path / "out" / "dicom_identified").exists()

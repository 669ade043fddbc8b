"""``tools/predict.py`` from the command line: what it writes, with torch and without."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image
from prediction_files import coco, deep, files_of, save, table
from tiny_runs import ROOT, bare_environment


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


def test_levels_by_an_exported_landmark_network(run, tmp_path, landmark_export):
    """The network has one disc's centre at a place without meaning; the picture's spacing is not known."""
    exported = landmark_export[0] / "model.onnx"
    save(tmp_path / "in" / "a.png", 1)
    status, out, _ = run(tmp_path / "in", "--levels", exported, "--levels-threshold", 0)
    assert status == 0 and "finding" in out and f"with a level, by {exported.name}" in out
    levels = coco(tmp_path / "out")["info"]["levels"]
    assert levels["levels"] == ["C2/3"] and levels["threshold"] == 0 and len(levels["model"]["sha256"]) == 64
    assert "one disc centre and no spacing" in table(tmp_path / "out" / "images.csv")[0]["warnings"]
    assert {line["level"] for line in table(tmp_path / "out" / "findings.csv")} == {""}
    assert (tmp_path / "out" / "measures.csv").read_text().startswith("image_id,patient_id,level,height_front_mm")


def test_levels_need_a_landmark_network(run, tmp_path, exported):
    save(tmp_path / "in" / "a.png", 1)
    status, _, err = run(tmp_path / "in", "--levels", exported[0] / "model.onnx")
    assert status == 2 and "finds boxes; give a network of landmarks" in err and not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        run(tmp_path / "in", "--levels-weights", "x.pth")

"""``tools/predict.py`` on files that cannot be read, on commands that make no sense, and stopped half-way."""

import json
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from dicom_files import write_dicom
from PIL import Image
from prediction_files import deep, files_of, save, table
from tiny_runs import ROOT, smooth_noise

from meddet_d2.deploy import Predictor
from meddet_d2.deploy.result_kinds import RESULT_KINDS
from meddet_d2.files import checksum


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
    before, real = files_of(tmp_path / "out"), RESULT_KINDS["boxes"]
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real.read(*args, **kwargs)

    monkeypatch.setitem(RESULT_KINDS, "boxes", replace(real, read=interrupted))
    status, _, err = run(tmp_path / "in", "--force")
    assert status == 130 and "Stopped after 2 images" in err and "as it was" in err
    assert files_of(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]

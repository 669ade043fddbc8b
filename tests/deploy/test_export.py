"""A detector written to files and run without torch: the same detections, and errors for what does not belong."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from tiny_runs import ROOT, bare_environment, make_cfg, smooth_noise, tiny_options

from detectron2.modeling import build_model
from meddet_d2.deploy import Predictor
from meddet_d2.deploy.gfl_export import network_graph
from meddet_d2.deploy.predictor import resized
from meddet_d2.modeling.weights import load_detector_weights


def by_torch(detector, predictor, image):
    inputs = {"image": torch.from_numpy(predictor.prepare(image)), "height": image.shape[0], "width": image.shape[1]}
    with torch.inference_mode():
        return detector([inputs])[0]["instances"].to("cpu")


@pytest.mark.parametrize("size", [(96, 96), (150, 111), (64, 300), (300, 40)])
def test_same_detections_as_torch(exported, size):
    folder, detector, _ = exported
    predictor = Predictor(folder / "model.onnx")
    image = smooth_noise(*size)
    found, expected = predictor(image), by_torch(detector, predictor, image)
    assert len(found) == len(expected) >= 5
    np.testing.assert_allclose(found.boxes, expected.pred_boxes.tensor, rtol=0, atol=0.01)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found.classes, expected.pred_classes)


def test_a_batch_is_its_images(exported):
    folder, _, _ = exported
    predictor = Predictor(folder / "model.onnx", threads=1)
    images = [smooth_noise(96, 120, seed) for seed in range(3)]
    together = predictor.predict_batch(images)
    assert len({len(found) for found in together}) > 1 and predictor.predict_batch([]) == []
    for found, image in zip(together, images, strict=True):
        alone = predictor(image)
        np.testing.assert_allclose(found.boxes, alone.boxes, rtol=0, atol=1e-3)
        np.testing.assert_allclose(found.scores, alone.scores, rtol=0, atol=1e-5)


def test_resizing_is_detectron2s():
    from detectron2.data import transforms as T

    generator = np.random.default_rng(0)
    for height, width, shortest, longest in generator.integers(20, 900, (300, 4)).tolist():
        augmentation = T.ResizeShortestEdge(shortest, longest)
        expected = augmentation.get_transform(np.zeros((height, width, 3), np.uint8))
        assert resized(height, width, shortest, longest) == (expected.new_h, expected.new_w)


def test_int8_is_smaller_and_close(exported):
    folder, detector, _ = exported
    quantised = Predictor(folder / "model.int8.onnx")
    assert (folder / "model.int8.onnx").stat().st_size < 0.6 * (folder / "model.onnx").stat().st_size
    image = smooth_noise(96, 96)
    found, expected = quantised(image), by_torch(detector, quantised, image)
    # The best detection of the one is among those of the other.
    distance = np.abs(expected.pred_boxes.tensor.numpy() - found.boxes[0]).max(axis=1)
    assert distance.min() < 3


def test_safetensors_are_the_students_weights(exported):
    folder, detector, _ = exported
    weights = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    with torch.no_grad():
        detector.head.cls_predictor.bias.add_(1)
    load_detector_weights(detector, str(folder / "model.safetensors"))
    for name, tensor in detector.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_the_card_says_what_a_user_must_know(exported):
    folder, detector, _ = exported
    card = json.loads((folder / "card.json").read_text())
    assert card["classes"] == ["protrusion", "non-protrusion"]
    assert card["trained_on"] == ["cdh_phantom_train"]
    assert card["image"] == {
        "order": "RGB",
        "min_size": 96,
        "max_size": 160,
        "min_side": 32,
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "divisor": 32,
    }
    assert card["thresholds"] == {
        "score": 0.3, "nms": 0.6, "nms_across_classes": False, "topk": 1000, "max_detections": 100
    }  # fmt: skip
    assert card["network"]["nmode"] == {"kind": "nmode2", "t_end": 1.0, "solver": "flow_map"}
    assert card["network"]["parameters"] == sum(parameter.numel() for parameter in detector.parameters())
    assert "Research only" in card["intended_use"] and card["made_by"]["commit"]
    assert set(card["files"]) == {"model.onnx", "model.int8.onnx", "model.safetensors"}
    text = (folder / "card.json").read_text() + str(onnx.load(folder / "model.onnx").graph)
    assert str(ROOT) not in text and str(folder) not in text, "paths of the machine it was made on"


def test_no_torch_and_no_detectron2_are_needed(exported, tmp_path):
    """The predictor and the image reader, in a Python that has their packages alone."""
    folder, _, _ = exported
    needed = ("numpy", "PIL", "cv2", "onnxruntime", "flatbuffers", "google", "packaging")
    environment = bare_environment(tmp_path, needed)
    Image.fromarray(smooth_noise(96, 96)).save(tmp_path / "slice.png")
    code = (
        "import sys\n"
        "from meddet_d2.data import read_image\n"
        "from meddet_d2.deploy import Predictor\n"
        f"found = Predictor({str(folder / 'model.onnx')!r})(read_image({str(tmp_path / 'slice.png')!r}))\n"
        "assert not {'torch', 'detectron2', 'torchvision'} & set(sys.modules)\n"
        "print(len(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == len(Predictor(folder / "model.onnx")(smooth_noise(96, 96)))


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(exported, tmp_path):
    shutil.copytree(exported[0], tmp_path / "copy")
    return tmp_path / "copy"


def change_card(folder: Path, **changes) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **changes}))


def refusal(folder: Path, kind: type[Exception] = ValueError) -> str:
    with pytest.raises(kind) as caught:
        Predictor(folder / "model.onnx")
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


def test_weights_of_another_card(copied):
    with open(copied / "model.onnx", "ab") as file:
        file.write(b" ")
    assert "not the file that its model card was written for" in refusal(copied)
    change_card(copied, files={"other.onnx": "0"})
    assert "belongs to other.onnx" in refusal(copied)


def test_a_card_that_is_none(copied):
    change_card(copied, format=99)
    assert "format 99" in refusal(copied)
    change_card(copied, format=1, wings=2)
    assert "wings" in refusal(copied)
    (copied / "card.json").write_text("{")
    assert "is no json" in refusal(copied)
    (copied / "card.json").write_text("[]")
    assert "not an object" in refusal(copied)
    (copied / "card.json").unlink()
    assert "meddet export" in refusal(copied, FileNotFoundError)
    (copied / "model.onnx").unlink()
    assert "meddet export" in refusal(copied, FileNotFoundError)


@pytest.mark.parametrize("field, value", [("classes", []), ("image", {"order": "RGB"}), ("thresholds", {})])
def test_a_card_without_what_is_needed(copied, field, value):
    change_card(copied, **{field: value})
    assert field in refusal(copied)


def test_an_onnx_file_of_another_version(copied):
    from meddet_d2.files import checksum

    model = onnx.load(copied / "model.onnx")
    model.metadata_props[0].value = "0"
    onnx.save(model, copied / "model.onnx")
    change_card(copied, files={"model.onnx": checksum(copied / "model.onnx")})
    assert "onnx file of format 0" in refusal(copied)
    (copied / "model.onnx").write_bytes(b"no model")
    change_card(copied, files={"model.onnx": checksum(copied / "model.onnx")})
    assert "onnxruntime cannot load it" in refusal(copied)


def test_images_that_cannot_be_served(exported):
    predictor = Predictor(exported[0] / "model.onnx")
    with pytest.raises(ValueError, match=r"^The image is 40 x 31 pixels; its sides must be at least 32\.$"):
        predictor(smooth_noise(31, 40))
    for image, found in (
        (smooth_noise(96, 96)[:, :, 0], "uint8 of shape"),
        (smooth_noise(96, 96) / 255, "float64"),
        ("x", "str"),
    ):
        with pytest.raises(ValueError, match=f"^An image must be uint8 of shape .* but this is {found}"):
            predictor(image)
    with pytest.raises(
        ValueError, match=r"^A batch must be of one size, but these pictures come to 96 x 96, 144 x 96 "
    ):
        predictor.predict_batch([smooth_noise(96, 96), smooth_noise(96, 144)])


def test_nan_is_no_healthy_patient(exported, export_model, copied):
    from meddet_d2.files import checksum

    model = onnx.load(copied / "model.onnx")
    constant = next(c for c in model.graph.initializer if c.name.endswith("cls_predictor.bias"))
    constant.CopyFrom(onnx.numpy_helper.from_array(np.full(2, np.nan, np.float32), constant.name))
    onnx.save(model, copied / "model.onnx")
    change_card(copied, files={"model.onnx": checksum(copied / "model.onnx")})
    with pytest.raises(FloatingPointError, match="NaN for 1 of 1"):
        Predictor(copied / "model.onnx")(smooth_noise(96, 96))


def test_the_command_refuses_in_one_line(exported, export_model, use_datasets_root, capsys, tmp_path):
    _, _, (arguments, opts) = exported
    assert export_model.main([*arguments, *opts]) == 1
    assert "add --force" in capsys.readouterr().err
    cases = {
        "No weights to export": [*arguments[:2], "--output", str(tmp_path / "a"), *opts],
        "does not exist": [*arguments[:2], "--weights", "no.pth", "--output", str(tmp_path / "b"), *opts],
        "--calibration-images is 0": [*arguments, "--force", "--int8", "--calibration-images", "0", *opts],
    }
    for message, command in cases.items():
        assert export_model.main(command) == 1
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ") and message in error and "\n" not in error
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


def tiny_detector(tmp_path, *changes):
    cfg = make_cfg([*tiny_options(tmp_path, tmp_path), "MODEL.DEVICE", "cpu", *changes])
    torch.manual_seed(0)
    return build_model(cfg).eval()


@pytest.mark.slow
def test_a_student_of_three_levels_and_separable_towers(tmp_path):
    levels = ("MODEL.GFL.IN_FEATURES", ("p3", "p4", "p5"), "DISTILL.MEDDET.LEVEL_WEIGHTS", (1.0, 0.25, 0.0))
    detector = tiny_detector(tmp_path, *levels, "MODEL.GFL.TOWER_CONV", "separable")
    network = network_graph(detector)
    names = [output.name for output in network.graph.output]
    assert names == ["cls_0", "cls_1", "cls_2", "box_0", "box_1", "box_2"]
    images = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = detector.backbone(images)
        expected = [x for kind in detector.head([maps[name] for name in detector.in_features]) for x in kind]
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    for found, wanted in zip(session.run(None, {"normalised": images.numpy()}), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    # The places in nmODE^2's tables: all of them int32, which torch cannot write by itself.
    typed = onnx.shape_inference.infer_shapes(network, strict_mode=True)
    kinds = {value.name: value.type.tensor_type.elem_type for value in typed.graph.value_info}
    places = {kinds[node.input[1]] for node in network.graph.node if node.op_type == "GatherElements"}
    assert places == {onnx.TensorProto.INT32}


@pytest.mark.slow
def test_a_solver_that_no_graph_can_hold_is_refused(tmp_path):
    detector = tiny_detector(tmp_path, "MODEL.NMODE.SOLVER", "odeint")
    with pytest.raises(ValueError, match=r"torch cannot write this network as ONNX .*MODEL\.NMODE\.SOLVER"):
        network_graph(detector)

"""A landmark network written to files: the same points as torch's, with and without int8, and its card."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from landmark_exports import LANDMARKS, OPTIONS
from small_landmarks import K, config
from tiny_runs import smooth_noise

from meddet_d2.deploy import Predictor
from meddet_d2.deploy.export import largest_difference
from meddet_d2.deploy.graph_writing import without_paths, write_module
from meddet_d2.deploy.heatmap_export import OUTPUTS, MapDecoder, landmark_graph, network_graph
from meddet_d2.deploy.quantize import quantized
from meddet_d2.deploy.torch_predictor import TorchPredictor
from meddet_d2.modeling.heatmap.gaussian_targets import gaussian_maps
from meddet_d2.modeling.heatmap.peaks import DECODINGS, decode_maps
from meddet_d2.modeling.image_batch import inside


@pytest.fixture(scope="module")
def predictors(landmark_export):
    folder, _, _ = landmark_export
    cfg = config(*OPTIONS, "MODEL.LANDMARK.NUM_KEYPOINTS", 0)
    return Predictor(folder / "model.onnx"), TorchPredictor(cfg, str(folder.parent / "weights.pth"))


@pytest.mark.parametrize("size", [(96, 96), (150, 111), (64, 300), (300, 70)])
def test_same_points_as_torch(predictors, size):
    by_onnx, by_torch = predictors
    assert by_onnx.result == by_torch.result == "landmarks" and by_onnx.classes == by_torch.classes == LANDMARKS
    assert by_onnx.least_score == by_torch.least_score == 0
    image = smooth_noise(*size)
    found, expected = by_onnx(image), by_torch(image)
    assert found.points.shape == (K, 3) and len({tuple(point) for point in expected.points.tolist()}) == K
    np.testing.assert_allclose(found.points[:, :2], expected.points[:, :2], rtol=0, atol=0.05)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-4)
    assert (found.points[:, :2] <= size[::-1]).all() and np.ptp(found.points[:, :2]) > 10


def test_a_batch_is_its_images(predictors):
    by_onnx, _ = predictors
    images = [smooth_noise(70, 120, seed) for seed in range(3)]
    together = by_onnx.predict_batch(images)
    assert not np.array_equal(together[0].points, together[1].points)
    for found, image in zip(together, images, strict=True):
        np.testing.assert_allclose(found.points, by_onnx(image).points, rtol=0, atol=1e-3)


def test_the_card_says_what_a_number_means(landmark_export):
    folder, network, _ = landmark_export
    card = json.loads((folder / "card.json").read_text())
    assert (card["result"], card["classes"]) == ("landmarks", list(LANDMARKS)) and "0.5" in card["coordinates"]
    assert card["network"]["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert largest_difference(network, Predictor(folder / "model.onnx")).startswith("landmarks differ by at most ")


@pytest.mark.slow
@pytest.mark.parametrize("decoding", DECODINGS)
def test_the_graph_decodes_as_the_network(decoding):
    """Maps as trained networks give them, in one size that was not the example's and with padding."""
    generator = torch.Generator().manual_seed(0)
    size, shape = (75, 130), (24, 40)
    centers = torch.rand(2, K, 2, generator=generator) * torch.tensor([33.0, 19.0])
    maps = gaussian_maps(centers, torch.ones(2, K, dtype=torch.bool), shape, 2.0)
    maps += 0.02 * torch.randn(maps.shape, generator=generator)
    maps[..., 19:, :] += 2  # padding, which nothing may be found in
    dim = torch.export.Dim
    shapes = {0: dim("N", min=1), 2: dim("rows", min=1, max=99), 3: dim("columns", min=1, max=99)}
    example = {"maps": torch.zeros(3, K, 8, 12), "size": torch.tensor([30, 40])}
    model = write_module(MapDecoder(decoding, 2.0).eval(), example, list(OUTPUTS), (shapes, None))
    session = onnxruntime.InferenceSession(without_paths(model).SerializeToString())
    points, scores, sound = session.run(None, {"maps": maps.numpy(), "size": np.array(size)})
    cells, values = decode_maps(maps, inside([(19, 33)] * 2, *shape, "cpu"), decoding, 2.0)
    expected = (4 * (cells + 0.5)).clamp(min=0).minimum(torch.tensor([130.0, 75.0]))
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-3)
    np.testing.assert_allclose(scores, values, rtol=0, atol=1e-6)
    assert sound.all() and points.max() <= 130
    maps[1, 0, 3, 3] = torch.nan
    assert session.run(["sound"], {"maps": maps.numpy(), "size": np.array(size)})[0].tolist() == [True, False]


def test_int8_finds_the_same_points(landmark_export, predictors):
    _, network, _ = landmark_export
    by_onnx, _ = predictors
    images = [smooth_noise(96, 96, seed) for seed in range(6)]
    batches = [network.preprocess_image([{"image": torch.from_numpy(by_onnx.prepare(image))}]) for image in images]
    inputs = ({"normalised": batch.tensor.contiguous().numpy()} for batch in batches)
    int8 = landmark_graph(network, quantized(network_graph(network), inputs))
    session = onnxruntime.InferenceSession(int8.SerializeToString())
    assert any(node.op_type == "DequantizeLinear" for node in int8.graph.node)
    distances = []
    for image in images:
        points, _, sound = session.run(None, {"images": by_onnx.prepare(image)[None]})
        assert sound.all()
        distances.append(np.linalg.norm(points[0] - by_onnx(image).points[:, :2], axis=1))
    # Cells are 4 pixels. Of maps with several peaks of one height another one may win.
    assert np.median(distances) < 2


def test_nan_is_refused_by_both(landmark_export, predictors):
    _, by_torch = predictors
    bias = by_torch.model.head.predictor.bias
    with torch.no_grad():
        before = bias.clone()
        bias[1] = torch.nan
        try:
            with pytest.raises(FloatingPointError, match="NaN"):
                by_torch(smooth_noise(96, 96))
        finally:
            bias.copy_(before)


@pytest.mark.parametrize("count", [2, K + 1])
def test_another_number_of_landmarks_is_refused(landmark_export, count):
    weights = str(landmark_export[0].parent / "weights.pth")
    with pytest.raises(
        ValueError, match=rf"NUM_KEYPOINTS is {count}, but .*weights\.pth knows {K} landmarks"
    ) as caught:
        TorchPredictor(config(*OPTIONS, "MODEL.LANDMARK.NUM_KEYPOINTS", count), weights)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_names_needs_the_data_set(landmark_export, tmp_path):
    torch.save({"model": landmark_export[1].state_dict()}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="does not name its landmarks") as caught:
        TorchPredictor(config(*OPTIONS, "MODEL.LANDMARK.NUM_KEYPOINTS", 0), str(tmp_path / "weights.pth"))
    assert "\n" not in str(caught.value)

"""The meta-architecture: losses, padding, points in pixels, several tasks, and the number of landmarks."""

import logging

import numpy as np
import pytest
import torch
from small_landmarks import ALL_TASKS, HOURGLASS, PYRAMID, K, batch, config, network, picture

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model, detector_postprocess
from meddet_d2.modeling.heatmap.gaussian_targets import STRIDE, gaussian_maps, to_cells
from meddet_d2.modeling.weights import set_weights

BOTH = pytest.mark.parametrize("kind", [PYRAMID, HOURGLASS], ids=["pyramid", "hourglass"])

# The test's backbone makes P6 and P7 in any case.
NOT_READ = ("backbone.layers.5", "backbone.layers.6")


def heatmap_loss(model, heatmaps, inputs):
    return model.losses([], heatmaps, model.ground_truth(inputs))["loss_heatmap"].item()


def test_the_loss_is_the_mean_over_landmarks_and_cells_and_the_sum_over_stacks():
    """Fast Pose Distillation's, but for its missing landmarks, which it counts in the mean."""
    model = network()
    inputs = [picture(landmarks=[[9.0, 33.3, 2], [50.0, 60.0, 1], [0.0, 0.0, 0]]), picture((40, 52), seed=1)]
    heatmaps = torch.rand(2, 2, K, 16, 16, generator=torch.Generator().manual_seed(0))
    total = number = 0
    for n, (rows, columns) in enumerate([(16, 16), (10, 13)]):
        for k, (x, y, v) in enumerate(inputs[n]["instances"].gt_landmarks[0].tolist()):
            if v > 0:
                centre = to_cells(torch.tensor([[[x, y]]]), STRIDE)
                target = gaussian_maps(centre, torch.tensor([[True]]), (rows, columns), 2.0)[0, 0]
                total += sum((0.5 * (stack[n, k, :rows, :columns] - target) ** 2).mean().item() for stack in heatmaps)
                number += 1
    assert number == 5
    assert heatmap_loss(model, list(heatmaps), inputs) == pytest.approx(total / number, rel=1e-5)


def test_padding_takes_no_part():
    model, inputs = network(), [picture((40, 52)), picture(seed=1)]
    heatmaps = torch.rand(2, K, 16, 16)
    spoilt = heatmaps.clone()
    spoilt[0, :, 10:], spoilt[0, :, :, 13:] = 1e6, 1e6
    assert heatmap_loss(model, [heatmaps], inputs) == heatmap_loss(model, [spoilt], inputs)
    model.head.last = lambda features: spoilt
    ours = model.predict([], [(40, 52), (64, 64)])[0].pred_keypoints
    model.head.last = lambda features: heatmaps
    assert torch.equal(ours, model.predict([], [(40, 52), (64, 64)])[0].pred_keypoints)


@pytest.mark.parametrize("loss", ["mse", "adaptive_wing"])
@pytest.mark.parametrize("reduction", ["mean", "relative"])
def test_right_maps_cost_nothing_and_wrong_ones_do(loss, reduction):
    model, inputs = network("MODEL.LANDMARK.LOSS", loss, "MODEL.LANDMARK.REDUCTION", reduction), batch()
    truth = model.ground_truth(inputs)
    right = gaussian_maps(to_cells(truth.points, STRIDE), truth.present, (16, 16), 2.0)
    assert heatmap_loss(model, [right], inputs) == pytest.approx(0, abs=1e-6)
    assert heatmap_loss(model, [torch.zeros_like(right)], inputs) > 1e-3


@pytest.mark.parametrize("size, output", [((64, 64), (64, 64)), ((60, 52), (120, 26)), ((64, 33), (640, 99))])
def test_points_are_in_pixels_of_the_output(size, output):
    model = network().eval()
    inputs = {**picture(size), "height": output[0], "width": output[1]}
    points = inputs["instances"].gt_landmarks[..., :2]
    maps = gaussian_maps(to_cells(points, STRIDE), torch.ones(1, K, dtype=torch.bool), (16, 16), 2.0)
    model.head.last = lambda features: 0.5 * maps
    found = model([inputs])[0]["instances"]
    assert tuple(found.image_size) == output and len(found) == 1
    scale = torch.tensor([output[1] / size[1], output[0] / size[0]])
    assert ((found.pred_keypoints[..., :2] / scale - points).norm(dim=2) < 0.05).all()
    assert (found.pred_keypoints[0, :, :2] >= 0).all()
    assert (found.pred_keypoints[0, :, :2] <= torch.tensor([output[1], output[0]])).all()
    assert found.scores.tolist() == [pytest.approx(found.pred_keypoints[0, :, 2].mean().item())]
    assert found.pred_classes.tolist() == [0] and (found.pred_keypoints[0, :, 2] <= 0.5).all()


@BOTH
def test_the_network_alone_can_be_recorded(kind):
    """As a CUDA graph is: one memory for the outputs of all batches of a size."""
    model, first, second = network(kind=kind).eval(), batch(1), batch(2)[1:]
    expected = [model(inputs)[0]["instances"].pred_keypoints for inputs in (first, second)]
    memory, run = torch.empty(1, K, 16, 16), model.network
    model.network = lambda images: memory.copy_(run(images))
    with torch.no_grad():
        found = [model(inputs)[0]["instances"].pred_keypoints for inputs in (first, second)]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@BOTH
def test_an_images_points_are_the_same_alone_and_in_a_batch(kind):
    model = network(kind=kind).eval()
    inputs = batch(3)
    together = [one["instances"].pred_keypoints for one in model(inputs)]
    for one, found in zip(inputs, together, strict=True):
        torch.testing.assert_close(model([one])[0]["instances"].pred_keypoints, found, rtol=1e-3, atol=1e-3)


@BOTH
@pytest.mark.parametrize("tasks", [[], ALL_TASKS], ids=["plain", "tasks"])
@pytest.mark.parametrize("what", ["landmarks", "all missing", "none annotated"])
def test_every_weight_has_a_finite_gradient(kind, tasks, what):
    model, inputs = network(*tasks, kind=kind).train(), batch()
    if what == "all missing":
        for one in inputs:
            one["instances"].gt_landmarks[..., 2] = 0
    elif what == "none annotated":
        inputs = [picture(landmarks=[]), picture(landmarks=[], seed=1)] if not tasks else inputs
    losses = model(inputs)
    expected = {"loss_heatmap", "loss_offset", "loss_structure"} if tasks else {"loss_heatmap"}
    assert set(losses) == expected and all(torch.isfinite(loss) for loss in losses.values())
    if what == "all missing":
        assert losses["loss_heatmap"] == 0 and losses.get("loss_offset", 0) == 0
    sum(losses.values()).backward()
    used = [n for n, _ in model.named_parameters() if not n.startswith(NOT_READ)]
    gradients = {name: model.get_parameter(name).grad for name in used}
    assert [name for name, x in gradients.items() if x is None or not torch.isfinite(x).all()] == []


@BOTH
def test_no_images_cost_nothing(kind):
    model, truth = network(kind=kind), network(kind=kind).ground_truth(batch())[:0]
    features = [torch.zeros(0, 16, 16, 16, requires_grad=True)]
    losses = model.losses(features, model.head(features), truth)
    assert losses["loss_heatmap"] == 0
    losses["loss_heatmap"].backward()
    assert model.predict(features, []) == []


def test_a_few_steps_find_the_landmarks_of_two_images():
    model, inputs = network("MODEL.LANDMARK.REDUCTION", "relative").train(), batch()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        model(inputs)["loss_heatmap"].backward()
        optimizer.step()
    found = torch.cat([one["instances"].pred_keypoints for one in model.eval()(inputs)])
    truth = torch.cat([one["instances"].gt_landmarks for one in inputs])
    assert (found[..., :2] - truth[..., :2]).norm(dim=2).max() < 2.0


def test_auxiliary_heads_can_be_left_out(caplog):
    plain, rich = network().eval(), network(*ALL_TASKS).eval()
    weights = rich.state_dict()
    extra = set(weights) - set(plain.state_dict())
    assert extra and all(name.startswith("auxiliary.") for name in extra)
    plain.load_state_dict({name: value for name, value in weights.items() if name not in extra})
    # A file with them is taken as well, and the log says so; one without them does not fit a network with them.
    other = network("SEED", 1).eval()
    with caplog.at_level(logging.INFO):
        set_weights(other, weights, "teacher.pth")
    assert "teacher.pth: 4 weights that training alone needs are left out" in caplog.text
    inputs = batch()
    for a, b in zip(rich(inputs), other(inputs), strict=True):
        assert torch.equal(a["instances"].pred_keypoints, b["instances"].pred_keypoints)
    with pytest.raises(ValueError, match=r"plain\.pth holds the weights of another.*missing \(first: auxiliary\."):
        set_weights(rich, plain.state_dict(), "plain.pth")
    rich.drop_auxiliary()
    assert set(rich.state_dict()) == set(plain.state_dict()) and rich.train()(inputs).keys() == {"loss_heatmap"}


def test_nan_is_no_prediction():
    model = network().eval()
    model.head.predictor.bias.data.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="predicts NaN"):
        model(batch())


@pytest.fixture
def points_of_four():
    name = "points_of_four"
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(keypoint_names=["a", "b", "c", "d"], thing_classes=["hand"])
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@BOTH
def test_as_many_landmarks_as_the_data_has(kind, points_of_four):
    cfg = config("DATASETS.TRAIN", (points_of_four,), "MODEL.LANDMARK.NUM_KEYPOINTS", 0, kind=kind)
    model = build_model(cfg)
    assert model.num_keypoints == 4 and model.keypoint_names == ("a", "b", "c", "d")
    cfg.MODEL.LANDMARK.NUM_KEYPOINTS = 5
    with pytest.raises(ValueError, match=r"MODEL\.LANDMARK\.NUM_KEYPOINTS is 5, but the data set has 4 landmarks"):
        build_model(cfg)
    # A file of another number of landmarks.
    with pytest.raises(
        ValueError,
        match=r"^three\.pth holds the weights of another architecture.*\b3,.*in the file.*\b4,.*in the model",
    ) as one:
        set_weights(model, network(kind=kind).state_dict(), "three.pth")
    assert "\n" not in str(one.value)


def test_a_number_that_nothing_says(points_of_four):
    with pytest.raises(ValueError, match=r"NUM_KEYPOINTS is 0.*landmarks of DATASETS\.TRAIN, but none is named"):
        network("MODEL.LANDMARK.NUM_KEYPOINTS", 0)
    MetadataCatalog.remove(points_of_four)
    MetadataCatalog.get(points_of_four).set(thing_classes=["hand"])
    with pytest.raises(ValueError, match=r"NUM_KEYPOINTS is 0.*but points_of_four has none; register"):
        network("MODEL.LANDMARK.NUM_KEYPOINTS", 0, "DATASETS.TRAIN", (points_of_four,))


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("LOSS", "l1", "one of: mse, adaptive_wing"),
        ("REDUCTION", "sum", "one of: mean, relative"),
        ("DECODING", "votes", "one of: argmax, quarter, dark, soft_argmax"),
        ("TASKS", ("offset",), "some of heatmap, offset, structure, heatmap among them"),
        ("TASKS", ("heatmap", "depth"), "some of heatmap, offset, structure"),
        ("TASKS", ("heatmap", "structure"), "NUM_STRUCTURES is 0; it must be at least 1"),
        ("ADAPTIVE_WING", (2.1, 14.0), "four numbers above 0"),
        ("SIGMA", 0.0, "above 0"),
        ("IN_FEATURES", ("p9",), "the backbone's outputs are"),
    ],
)
def test_settings_out_of_range_are_named(key, value, expected):
    with pytest.raises(ValueError, match=rf"MODEL\.LANDMARK\..*{expected}") as caught:
        network(f"MODEL.LANDMARK.{key}", value)
    assert "\n" not in str(caught.value)


FPN = [
    "MODEL.BACKBONE.NAME",
    "build_gfl_fpn_backbone",
    "MODEL.BOTTOM_UP.PRETRAINED",
    False,
    "MODEL.FPN.OUT_CHANNELS",
    16,
]


def test_without_in_features_the_levels_count_that_images_are_padded_to():
    """160 pixels are 2.5 cells of P6: what comes of that cannot be merged with P5's 5 cells."""
    model = network(kind=FPN).eval()
    assert model.in_features == ("p3", "p4", "p5") and {"p6", "p7"} <= set(model.backbone.output_shape())
    (found,) = model([picture((160, 160))])
    assert found["instances"].pred_keypoints.shape == (1, K, 3)
    with pytest.raises(ValueError, match=r"MODEL\.LANDMARK\.IN_FEATURES \('p5', 'p6'\): the backbone's outputs are"):
        network("MODEL.LANDMARK.IN_FEATURES", ("p5", "p6"), kind=FPN)


@pytest.mark.parametrize("number", [1, 3])
def test_detectron2_scales_and_draws_the_points(number):
    """Its postprocessing drops what has no box; its Visualizer is not in the embedded engine."""
    detector = network("MODEL.LANDMARK.NUM_KEYPOINTS", number).eval()
    (found,) = detector([{"image": torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)}])
    expected = found["instances"].pred_keypoints * torch.tensor([3.0, 2.0, 1.0])
    scaled = detector_postprocess(found["instances"], 128, 192)
    torch.testing.assert_close(scaled.pred_keypoints, expected)
    assert len(scaled) == 1 and scaled.image_size == (128, 192)
    visualizer = pytest.importorskip("detectron2.utils.visualizer")
    drawn = visualizer.Visualizer(np.zeros((128, 192, 3), np.uint8)).draw_instance_predictions(scaled.to("cpu"))
    assert drawn.get_image().any()

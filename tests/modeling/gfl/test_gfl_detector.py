"""The GFL detector whole: losses, padding, gradients, and what it refuses."""

import math

import pytest
import torch
from small_gfl import STRIDES, FixedHead, batch, detector, objects, picture
from torch.nn import functional as F
from torchvision.ops import box_iou

import meddet_d2.modeling.gfl.gfl_detector as gfl_module
from meddet_d2.modeling.gfl.anchors import sizes_of
from meddet_d2.modeling.gfl.ground_truth import GroundTruth


def slow_losses(model, features, gt):
    """GFL's three losses before their weights, level by level and location by location, without tensors."""
    with torch.no_grad():
        cls_maps, box_maps = model.head(features)
    bins = model.reg_max + 1
    location, objects, positive = model.assigner(model.anchors(sizes_of(features)), None, gt)
    owners_of = torch.full((len(gt), sum(f.shape[2] * f.shape[3] for f in features)), -1)
    for n in range(len(gt)):
        owners_of[n, location[n][positive[n]]] = objects[n][positive[n]]
    qfl = dfl = giou = total_weight = 0.0
    num_positive = 0
    for n, owners in enumerate(owners_of.tolist()):
        num_positive += max(sum(g >= 0 for g in owners), 1)
        index = 0
        for cls_map, box_map, stride in zip(cls_maps, box_maps, STRIDES, strict=True):
            for y in range(cls_map.shape[2]):
                for x in range(cls_map.shape[3]):
                    scores = [1 / (1 + math.exp(-v)) for v in cls_map[n, :, y, x].tolist()]
                    owner, label, iou = owners[index], -1, 0.0
                    index += 1
                    if owner >= 0:
                        label = int(gt.classes[n, owner])
                        gx0, gy0, gx1, gy1 = gt.boxes[n, owner].tolist()
                        target = [x - gx0 / stride, y - gy0 / stride, gx1 / stride - x, gy1 / stride - y]
                        sides = box_map[n, :, y, x].view(4, bins).softmax(dim=1).tolist()
                        found = [sum(i * p for i, p in enumerate(side)) for side in sides]
                        inter = (min(found[0], target[0]) + min(found[2], target[2])) * (
                            min(found[1], target[1]) + min(found[3], target[3])
                        )
                        hull = (max(found[0], target[0]) + max(found[2], target[2])) * (
                            max(found[1], target[1]) + max(found[3], target[3])
                        )
                        union = -inter + sum((d[0] + d[2]) * (d[1] + d[3]) for d in (found, target))
                        iou, weight = inter / union, max(scores)
                        total_weight += weight
                        giou += weight * (1 - iou + (hull - union) / hull)
                        for d, side in zip(target, sides, strict=True):
                            d = min(max(d, 0), model.reg_max - 0.1)
                            i = math.floor(d)
                            dfl -= weight / 4 * ((i + 1 - d) * math.log(side[i]) + (d - i) * math.log(side[i + 1]))
                    for channel, p in enumerate(scores):
                        t = iou if channel == label else 0.0
                        qfl -= (t * math.log(p) + (1 - t) * math.log(1 - p)) * (t - p) ** 2
    total_weight = max(total_weight, 1)
    return {"loss_qfl": qfl / num_positive, "loss_dfl": dfl / total_weight, "loss_giou": giou / total_weight}


def features_and_objects(model, inputs):
    with torch.no_grad():
        features = model.extract_features(model.preprocess_image(inputs))
    return features, model.ground_truth(inputs)


@pytest.mark.parametrize("keys", [{}, {"REG_MAX": 3, "NUM_CLASSES": 3, "PRIOR_PROB": 0.4}])
def test_default_losses_are_gfls_one_quarter_and_two(keys):
    model = detector(**keys)
    features, gt = features_and_objects(model, batch())
    losses = model.detection_losses(features, gt)
    slow = slow_losses(model, features, gt)
    for name, weight in {"loss_qfl": 1, "loss_dfl": 0.25, "loss_giou": 2}.items():
        assert losses[name].item() == pytest.approx(weight * slow[name], rel=2e-5), name


def test_equation_12_with_other_weights():
    features, gt = features_and_objects(detector(), batch())
    default = detector().detection_losses(features, gt)
    changed = detector(LOSS_LAMBDA=0.2, LOSS_MU=0.3, LOSS_GAIN=2.0).detection_losses(features, gt)
    for name, factor in {"loss_qfl": 0.4 / 1, "loss_dfl": 0.6 / 0.25, "loss_giou": 1.0 / 2}.items():
        torch.testing.assert_close(changed[name], factor * default[name])


def test_training_forward_gives_every_parameter_a_gradient():
    model = detector()
    losses = model(batch())
    assert set(losses) == {"loss_qfl", "loss_dfl", "loss_giou"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("boxes", [[], [[9.0, 9.0, 15.0, 15.0]]], ids=["healthy", "between the centres"])
def test_batch_without_positives_is_finite_and_reaches_every_parameter(boxes):
    model = detector()
    losses = model([picture(boxes, [0] * len(boxes)), picture(seed=2)])
    assert losses["loss_qfl"] > 0 and losses["loss_dfl"] == 0 and losses["loss_giou"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_totals_are_the_whole_batchs(monkeypatch):
    """The second process has 7 positives of weight 2.8, or none; what is one process's is at least 1 in all."""
    positive = torch.tensor([[True, True, False], [False, False, False]])
    weight = torch.tensor([[0.4, 0.3, 0.0], [0.0, 0.0, 0.0]])

    def totals(together=True):
        return gfl_module.GFL._totals(positive, weight, together).tolist()

    assert totals() == pytest.approx([3, 1])
    monkeypatch.setattr(gfl_module, "count_processes", lambda: 2)
    monkeypatch.setattr(gfl_module, "sum_over_processes", lambda own: own + torch.tensor([7.0, 2.8]))
    assert totals() == pytest.approx([5, 1.75])
    assert totals(together=False) == pytest.approx([3, 1])
    monkeypatch.setattr(gfl_module, "sum_over_processes", lambda own: own)
    assert totals() == pytest.approx([1.5, 0.5])


def test_no_image_at_all_has_losses_of_zero():
    """As on a process none of whose images teach the fusion; the maps still have gradients, of no length."""
    model = detector()
    maps = model.extract_features(model.preprocess_image([picture()]))
    features = [torch.zeros(0, *x.shape[1:], requires_grad=True) for x in maps]
    losses = model.detection_losses(features, model.ground_truth([picture()])[:0])
    assert [x.item() for x in losses.values()] == [0, 0, 0]
    sum(losses.values()).backward()
    assert all(x.grad.shape == x.shape for x in features)


def test_images_are_padded_to_what_is_asked():
    model = detector()
    inputs = [picture(), picture(seed=2)]
    plain = model.preprocess_image(inputs).tensor
    height, width = plain.shape[-2:]
    for item in inputs:
        item["padded_size"] = (height + 1, width)
    padded = model.preprocess_image(inputs)
    multiple = model.backbone.size_divisibility
    assert padded.tensor.shape[-2:] == (height + multiple, width)
    assert torch.equal(padded.tensor[:, :, :height], plain) and not padded.tensor[:, :, height:].any()
    assert padded.image_sizes == model.preprocess_image([picture(), picture(seed=2)]).image_sizes


def in_padding(maps, rows_and_columns, value):
    """Copies of maps (N, K, H, W) with a value in all cells right of and below so many pixels."""
    height, width = rows_and_columns
    copies = [x.clone() for x in maps]
    for stride, x in zip(STRIDES, copies, strict=True):
        x[..., -(-height // stride) :, :] = value
        x[..., -(-width // stride) :] = value
    return copies


# The disc at the lower right reaches the last cells: the padding's centres would be among its candidates.
SMALL, BOXES = (84, 100), [[3.0, 5.0, 44.0, 24.0], [40.0, 50.0, 100.0, 84.0]]


def test_an_images_losses_and_detections_do_not_depend_on_what_is_in_its_padding():
    model = detector(SCORE_THRESH_TEST=0.001).eval()
    features = model.extract_features(model.preprocess_image([picture(BOXES, [0, 1], SMALL)]))
    cls_logits, box_logits = (in_padding(x, SMALL, 0.0) for x in model.head(features))
    image, results = GroundTruth.of([objects(BOXES, [0, 1], SMALL)], "cpu"), []
    for beside, size in ((0.0, 128), (9.0, 128), (-5.0, 256)):
        grown = [math.ceil(size / s) for s in STRIDES]
        maps = [
            [F.pad(x, (0, n - x.shape[-1], 0, n - x.shape[-2])) for x, n in zip(levels, grown, strict=True)]
            for levels in (cls_logits, box_logits)
        ]
        model.head = FixedHead(*(in_padding(levels, SMALL, beside) for levels in maps))
        features = [torch.zeros(1, 32, n, n) for n in grown]
        (found,) = model.predict(features, [SMALL])
        results.append((model.detection_losses(features, image), found))
    (losses, found), *others = results
    assert min(losses.values()) > 0 and len(found) > 0
    for other_losses, other in others:
        torch.testing.assert_close(other_losses, losses, rtol=1e-6, atol=0)
        assert torch.equal(other.pred_boxes.tensor, found.pred_boxes.tensor) and torch.equal(other.scores, found.scores)


def test_instances_of_another_size_than_their_image_are_refused():
    item = picture(size=(64, 96))
    item["instances"] = objects([], [], (96, 64))
    with pytest.raises(ValueError, match=r"a\.png: the image is of size \(64, 96\) and its 'instances' of \(96, 64\)"):
        detector()([item])


def test_frozen_detector_passes_gradients_to_the_maps_only():
    model = detector().eval().requires_grad_(False)
    features, gt = features_and_objects(model, batch())
    features = [f.clone().requires_grad_() for f in features]
    sum(model.detection_losses(features, gt).values()).backward()
    assert all(f.grad is not None for f in features) and features[0].grad.abs().sum() > 0
    assert all(p.grad is None for p in model.parameters())


def test_nan_is_an_error_and_not_a_healthy_patient():
    model = detector()
    with torch.no_grad():
        model.head.box_predictor.bias[0] = math.nan
    # The trainer's guard looks at the losses.
    assert model(batch())["loss_giou"].isnan()
    with torch.no_grad():
        model.head.cls_predictor.bias[0] = math.nan
    with pytest.raises(FloatingPointError, match="NaN"):
        model.eval()(batch())


def test_images_are_normalised_and_padded():
    model = detector()
    images = model.preprocess_image([picture(size=(40, 70)), picture(size=(64, 33))])
    assert images.tensor.shape == (2, 3, 64, 96) and images.image_sizes == [(40, 70), (64, 33)]
    expected = (picture(size=(40, 70))["image"][1].float() - 110) / 60
    torch.testing.assert_close(images.tensor[0, 1, :40, :70], expected)
    assert (images.tensor[0, :, 40:] == 0).all()


def test_detections_are_scaled_to_the_wanted_size():
    model = detector(PRIOR_PROB=0.5).eval()
    inputs = batch()
    inputs[0].update(height=128, width=192)
    del inputs[1]["height"], inputs[1]["width"]
    with torch.no_grad():
        outputs = [x["instances"] for x in model(inputs)]
        features = model.extract_features(model.preprocess_image(inputs))
        raw = model.predict(features, [(64, 64), (64, 64)])
    assert [x.image_size for x in outputs] == [(128, 192), (64, 64)]
    assert len(outputs[0]) == len(raw[0]) > 0
    scale = torch.tensor([3.0, 2.0, 3.0, 2.0])
    torch.testing.assert_close(outputs[0].pred_boxes.tensor, raw[0].pred_boxes.tensor * scale)
    torch.testing.assert_close(outputs[1].pred_boxes.tensor, raw[1].pred_boxes.tensor)


def test_checkpoint_holds_weights_only():
    names = detector().state_dict()
    assert all(name.startswith(("backbone.", "head.")) for name in names)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"LOSS_LAMBDA": -0.1}, "MODEL.GFL.LOSS_LAMBDA"),
        ({"LOSS_MU": -0.1}, "MODEL.GFL.LOSS_MU"),
        ({"LOSS_LAMBDA": 0.8, "LOSS_MU": 0.3}, "MODEL.GFL.LOSS_MU"),
        ({"LOSS_GAIN": 0.0}, "MODEL.GFL.LOSS_GAIN"),
        ({"ANCHOR_SCALE": 0}, "MODEL.GFL.ANCHOR_SCALE"),
        ({"IN_FEATURES": ("p3", "p9")}, "MODEL.GFL.IN_FEATURES"),
    ],
)
def test_config_errors_name_the_key(keys, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")) as error:
        detector(**keys)
    assert "\n" not in str(error.value)


def test_input_errors_name_the_image():
    model = detector()
    with pytest.raises(ValueError, match=r"a\.png.*NUM_CLASSES"):
        model([picture([[3.0, 5.0, 44.0, 24.0]], [2])])
    with pytest.raises(ValueError, match=r"a\.png.*PIXEL_MEAN"):
        model([{**picture(), "image": torch.zeros(1, 64, 64, dtype=torch.uint8)}])
    unlabelled = picture()
    del unlabelled["instances"]
    with pytest.raises(ValueError, match=r"a\.png.*instances"):
        model([unlabelled])


def test_overfits_one_image():
    boxes = [[20.0, 10.0, 56.0, 26.0], [24.0, 38.0, 62.0, 54.0], [30.0, 66.0, 66.0, 84.0], [70.0, 96.0, 110.0, 114.0]]
    classes = [0, 1, 0, 1]
    inputs = [picture(boxes, classes, size=(128, 128))]
    model = detector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss = sum(model(inputs).values())
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        result = model.eval()(inputs)[0]["instances"]
    result = result[result.scores > 0.5]
    assert len(result) == 4
    best, index = box_iou(torch.tensor(boxes), result.pred_boxes.tensor).max(dim=1)
    assert best.min() > 0.85
    assert result.pred_classes[index].tolist() == classes


def test_weights_lie_in_memory_as_a_batch_does_and_are_loaded_so():
    model = detector()
    state = {name: value.clone(memory_format=torch.contiguous_format) for name, value in model.state_dict().items()}
    model.load_state_dict(state)
    weights = [weight for weight in model.parameters() if weight.dim() == 4 and weight.shape[1] * weight.shape[2] > 1]
    assert weights and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)

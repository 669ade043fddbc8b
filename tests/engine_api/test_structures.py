"""What this project relies on in ``detectron2.structures`` and ``detectron2.layers``, on either engine."""

import copy
import pickle

import numpy as np
import pytest
import torch

from detectron2.layers import Conv2d, FrozenBatchNorm2d, ShapeSpec, batched_nms, get_norm
from detectron2.structures import Boxes, BoxMode, ImageList, Instances


def test_box_modes_have_the_values_that_data_sets_store():
    assert (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS) == (0, 1)


@pytest.mark.parametrize("make", [list, tuple, lambda x: np.array([x]), lambda x: torch.tensor([x])])
def test_box_mode_conversion_keeps_type_and_input(make):
    box = make([10.0, 20.0, 3.0, 4.0])
    converted = BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert type(converted) is type(box)
    assert np.asarray(converted).ravel().tolist() == [10, 20, 13, 24]
    assert np.asarray(box).ravel().tolist() == [10, 20, 3, 4]
    back = BoxMode.convert(converted, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    assert np.asarray(back).ravel().tolist() == [10, 20, 3, 4]


@pytest.mark.parametrize("make", [list, tuple])
def test_a_single_box_of_fractions_is_rounded_to_float32(make):
    """Upstream's bits: with others two engines train two networks from the same boxes."""
    converted = BoxMode.convert(make([10.1, 20.2, 3.3, 4.4]), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert converted == make(np.float32([10.1, 20.2, np.float32(10.1) + np.float32(3.3), 24.6]).tolist())
    assert converted[0] != 10.1
    whole = BoxMode.convert(make([2**24 + 1, 2, 3, 4]), BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    assert whole == make([2**24 + 1, 2, 2**24 + 4, 6])


def test_boxes():
    boxes = Boxes(torch.tensor([[0.0, 0, 10, 5], [-3, 2, 8, 90], [4, 4, 4, 9]]))
    assert boxes.nonempty().tolist() == [True, True, False]
    assert len(boxes[1]) == 1 and len(boxes[torch.tensor([True, False, True])]) == 2 and len(boxes[:2]) == 2
    clipped = boxes.clone()
    clipped.clip((20, 6))
    assert clipped.tensor[1].tolist() == [0, 2, 6, 20] and boxes.tensor[1, 0] == -3
    clipped.scale(2.0, 0.5)
    assert clipped.tensor[1].tolist() == [0, 1, 12, 10]
    assert Boxes(np.zeros((0, 4))).tensor.shape == (0, 4) and Boxes([[1, 2, 3, 4]]).tensor.dtype == torch.float32


def test_clipping_refuses_nan():
    with pytest.raises(AssertionError):
        Boxes(torch.tensor([[0.0, 0, float("nan"), 1]])).clip((5, 5))


def make_instances(n: int = 3) -> Instances:
    boxes = Boxes(torch.arange(n * 4.0).reshape(n, 4))
    return Instances((30, 40), pred_boxes=boxes, scores=torch.linspace(0, 1, n), names=[f"n{k}" for k in range(n)][:n])


def test_instances_fields():
    instances = make_instances()
    assert len(instances) == 3 and instances.image_size == (30, 40)
    assert instances.has("scores") and not instances.has("pred_classes") and "scores" in instances.get_fields()
    instances.pred_classes = torch.tensor([0, 1, 1])
    assert instances.get("pred_classes") is instances.pred_classes
    with pytest.raises(AssertionError):
        instances.wrong = torch.zeros(2)
    with pytest.raises(AttributeError, match="missing"):
        _ = instances.missing


def test_instances_are_indexed_field_by_field():
    instances = make_instances()
    del_names = Instances(instances.image_size, pred_boxes=instances.pred_boxes, scores=instances.scores)
    assert del_names[del_names.scores > 0.4].scores.tolist() == [0.5, 1.0]
    assert instances[1].names == ["n1"] and instances[-1].scores.tolist() == [1.0] and len(instances[:2]) == 2
    with pytest.raises(IndexError):
        instances[3]


def test_instances_are_copied_and_moved():
    instances = make_instances()
    for copied in (copy.deepcopy(instances), pickle.loads(pickle.dumps(instances)), instances.to("cpu")):
        assert torch.equal(copied.pred_boxes.tensor, instances.pred_boxes.tensor) and copied.names == instances.names


def test_image_list_pads_right_and_below():
    images = ImageList.from_tensors([torch.ones(3, 5, 9), torch.ones(3, 8, 4)], size_divisibility=4, pad_value=7)
    assert images.tensor.shape == (2, 3, 8, 12) and images.image_sizes == [(5, 9), (8, 4)] and len(images) == 2
    assert images.tensor[0, :, 5:].eq(7).all() and images.tensor[1, :, :, 4:].eq(7).all()
    assert images[0].shape == (3, 5, 9) and images[1].eq(1).all()
    assert ImageList.from_tensors([torch.ones(3, 5, 9)]).tensor.shape == (1, 3, 5, 9)


def test_convolution_applies_norm_then_activation():
    torch.manual_seed(0)
    conv = Conv2d(2, 32, 3, padding=1, bias=False, norm=get_norm("GN", 32), activation=torch.nn.functional.relu)
    x = torch.randn(1, 2, 4, 4)
    plain = torch.nn.functional.conv2d(x, conv.weight, padding=1)
    torch.testing.assert_close(conv(x), torch.relu(torch.nn.functional.group_norm(plain, 32)))


def test_norms_by_name():
    assert get_norm("", 8) is None and get_norm(None, 8) is None
    assert isinstance(get_norm("BN", 8), torch.nn.BatchNorm2d) and get_norm("GN", 64).num_groups == 32
    assert get_norm(lambda channels: torch.nn.GroupNorm(2, channels), 8).num_groups == 2
    frozen = get_norm("FrozenBN", 8)
    assert isinstance(frozen, FrozenBatchNorm2d) and not list(frozen.parameters())
    assert {"weight", "bias", "running_mean", "running_var"} == set(frozen.state_dict())


def test_small_layers():
    assert ShapeSpec(channels=3) == ShapeSpec(channels=3, height=None, width=None, stride=None)
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10]])
    kept = batched_nms(boxes, torch.tensor([0.5, 0.9, 0.7]), torch.tensor([0, 0, 1]), 0.5)
    assert kept.tolist() == [1, 2], "only boxes of one group suppress each other"

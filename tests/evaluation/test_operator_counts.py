"""What is counted, and what a step and a prediction may cost: as much for many images as for few."""

from pathlib import Path

import pytest
import torch
from small_landmarks import ALL_TASKS, HOURGLASS, PYRAMID, network, picture
from torchvision.ops import nms

from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from meddet_d2.config import load_config
from meddet_d2.evaluation.operator_counts import OperatorCount

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "meddet.yaml")


def test_kernels_and_waits_by_hand():
    x, mask = torch.arange(6.0), torch.tensor([True, False] * 3)
    with OperatorCount() as count:
        y = (x + 1).view(2, 3).t()[0] * 2
        y.sum().item()
        x[mask]
        x[torch.tensor([0, 1])]
        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    assert count.waits == {"_local_scalar_dense": 1, "index": 1, "nms": 1}
    assert {"add", "mul", "sum", "index"} <= set(count.kernels) and count.kernels["index"] == 1
    assert not {"view", "t", "select", "slice"} & set(count.kernels)


def batch(images, size=160):
    """Images with six objects each."""
    found, generator = [], torch.Generator().manual_seed(0)
    for _ in range(images):
        top, left = torch.linspace(0.1, 0.8, 6) * size, torch.full((6,), 0.4 * size)
        boxes = Boxes(torch.stack([left, top, left + 20, top + 9], dim=1))
        instances = Instances((size, size), gt_boxes=boxes, gt_classes=torch.arange(6) % 2)
        image = torch.randint(0, 255, (3, size, size), generator=generator).to(torch.uint8)
        found.append({"image": image, "instances": instances, "height": size, "width": size})
    return found


def counts(model, inputs):
    model.train()
    model(inputs)  # anchors of this size are kept from here on
    with OperatorCount() as step:
        sum(model(inputs).values()).backward()
    model.zero_grad(set_to_none=True)
    model.eval()
    with torch.no_grad(), OperatorCount() as found:
        model(inputs)
    return step, found


def test_the_papers_student():
    cfg = load_config(CONFIG, ["MODEL.DEVICE", "cpu", "MODEL.BOTTOM_UP.PRETRAINED", False])
    torch.manual_seed(0)
    model = build_model(cfg)
    # Random scores are all below the threshold, and nothing would come to NMS. Of many boxes torchvision takes class by
    # class on a CPU.
    model.score_thresh, model.topk_candidates = 0.0, 10
    few, many = counts(model, batch(2)), counts(model, batch(16))
    for (small, large), kernels, waits in zip(zip(few, many, strict=True), (1350, 620), (3, 4), strict=True):
        assert large.kernels.total() <= min(kernels, 1.02 * small.kernels.total())
        assert large.waits.total() == small.waits.total() <= waits
    assert {"nonzero", "nms"} <= set(many[1].waits)


@pytest.mark.parametrize("kind, tasks", [(PYRAMID, ALL_TASKS), (HOURGLASS, [])], ids=["pyramid", "hourglass"])
def test_landmarks(kind, tasks):
    """One wait in a step, for what is annotated wrongly, and one in a prediction, for NaN."""
    model = network(*tasks, "MODEL.HOURGLASS.STACKS", 1, kind=kind)
    few, many = (counts(model, [picture(seed=seed) for seed in range(number)]) for number in (2, 16))
    for small, large in zip(few, many, strict=True):
        assert large.kernels.total() <= 1.02 * small.kernels.total()
        assert large.waits.total() == small.waits.total() == 1

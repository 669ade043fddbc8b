"""Offsets and structures, against slow loops."""

import math

import pytest
import torch

from meddet_d2.modeling.heatmap.auxiliary_tasks import UNKNOWN, offset_errors, structure_errors

GENERATOR = torch.Generator().manual_seed(0)


def test_offsets_by_hand():
    predicted = torch.randn(2, 4, 6, 7, generator=GENERATOR)
    centers = torch.tensor([[[2.3, 1.6], [5.9, 5.2]], [[4.0, 3.0], [-9.0, 90.0]]])
    present = torch.tensor([[True, True], [True, False]])
    radius = torch.tensor([2.0, 3.5])
    valid = torch.ones(2, 1, 6, 7, dtype=torch.bool)
    valid[1, :, :, 5:] = False
    total = number = 0
    for n in range(2):
        for k in range(2):
            for y in range(6):
                for x in range(7):
                    dx, dy = centers[n, k, 0].item() - x, centers[n, k, 1].item() - y
                    r = radius[n].item()
                    if present[n, k] and valid[n, 0, y, x] and math.hypot(dx, dy) <= r:
                        number += 1
                        total += abs(predicted[n, 2 * k, y, x].item() - dx / r)
                        total += abs(predicted[n, 2 * k + 1, y, x].item() - dy / r)
    found, cells = offset_errors(predicted, centers, radius, present, valid)
    assert cells == number > 20 and found.item() == pytest.approx(total, rel=1e-5)


def test_right_offsets_cost_nothing_and_no_landmark_has_a_gradient_of_zero():
    valid, radius = torch.ones(1, 1, 5, 5, dtype=torch.bool), torch.tensor([2.0])
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij")
    right = torch.stack([2.5 - x, 1.0 - y])[None] / 2
    here = torch.tensor([[[2.5, 1.0]]])
    assert offset_errors(right, here, radius, torch.tensor([[True]]), valid)[0].item() == pytest.approx(0, abs=1e-6)
    predicted = torch.randn(1, 2, 5, 5, requires_grad=True)
    total, cells = offset_errors(predicted, here, radius, torch.tensor([[False]]), valid)
    total.backward()
    assert cells == 0 and predicted.grad.abs().sum() == 0


def test_structures_by_hand():
    stride = 2
    logits = torch.randn(2, 2, 3, 4, generator=GENERATOR)
    masks = torch.randint(0, 2, (2, 2, 6, 7), generator=GENERATOR).to(torch.uint8)
    masks[0, 1, :2, :2] = UNKNOWN
    masks[1, 1] = UNKNOWN
    valid = torch.ones(2, 1, 3, 4, dtype=torch.bool)
    valid[0, :, 2:] = False
    total = number = 0
    for n in range(2):
        for s in range(2):
            entropy = both = either = cells = 0
            for y in range(3):
                for x in range(4):
                    pixels = masks[n, s, y * 2 : y * 2 + 2, x * 2 : x * 2 + 2]
                    if not valid[n, 0, y, x] or pixels.numel() < 4 or (pixels == UNKNOWN).any():
                        continue
                    t, p = pixels.float().mean().item(), logits[n, s, y, x].sigmoid().item()
                    entropy -= t * math.log(p) + (1 - t) * math.log(1 - p)
                    both, either, cells = both + p * t, either + p + t, cells + 1
            if cells:
                number += 1
                total += entropy / cells + 1 - (2 * both + 1) / (either + 1)
    found, known = structure_errors(logits, masks, stride, valid)
    assert known == number == 3 and found.item() == pytest.approx(total, rel=1e-5)


def test_nothing_known_is_zero_with_a_gradient():
    logits = torch.randn(1, 1, 2, 2, requires_grad=True)
    masks = torch.full((1, 1, 4, 4), UNKNOWN, dtype=torch.uint8)
    total, known = structure_errors(logits, masks, 2, torch.ones(1, 1, 2, 2, dtype=torch.bool))
    total.backward()
    assert (total.item(), known) == (0, 0) and logits.grad.abs().sum() == 0

"""What the methods share that compare feature maps: masks of the boxes and weights of the cells."""

import pytest
import torch
from box_truth import truth_of

from meddet_d2.distillation.methods.feature_losses import box_masks, cell_weights


def test_masks_of_a_box_drawn_by_hand():
    # x from 3 to 21 px at stride 8 are the columns 0 to 3, y from 10 to 14 the rows 1 and 2.
    foreground, background = box_masks(truth_of([[3.0, 10.0, 21.0, 14.0]], []), 8, (4, 5))
    expected = torch.zeros(4, 5)
    expected[1:3, 0:4] = 1 / 8
    torch.testing.assert_close(foreground[0, 0], expected)
    torch.testing.assert_close(background[0, 0], (expected == 0) / 12)
    assert foreground[1].sum() == 0 and torch.equal(background[1], torch.full((1, 4, 5), 1 / 20))


def test_a_box_over_the_whole_map_leaves_no_background():
    foreground, background = box_masks(truth_of([[-9.0, -9.0, 99.0, 99.0]]), 8, (4, 5))
    assert (foreground > 0).all() and background.sum() == 0


def test_cell_weights_by_hand():
    # At stride 8 the first box has 2 x 3 cells, the second 2 x 2; the second image is healthy.
    boxes = truth_of([[1.0, 1.0, 15.0, 7.0], [25.0, 17.0, 31.0, 23.0]], [])
    (weights,) = cell_weights(boxes, [8], [(4, 5)], 0.6)
    expected = torch.full((2, 4, 5), 0.4)
    # Half of the share goes to each box; 40 cells of mean 1 have a weight of 40 in all.
    expected[0, 0:2, 0:3] += 0.6 * 40 / 2 / 6
    expected[0, 2:4, 3:5] += 0.6 * 40 / 2 / 4
    torch.testing.assert_close(weights[:, 0], expected)
    assert weights.mean().item() == pytest.approx(1)


def test_cell_weights_without_a_box():
    (weights,) = cell_weights(truth_of([]), [8], [(4, 5)], 0.6)
    assert torch.equal(weights, torch.ones(1, 1, 4, 5))

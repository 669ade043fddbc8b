"""Losses over processes, and against another network's heat maps."""

import torch
from small_landmarks import K, batch, network

from meddet_d2.modeling.heatmap import landmark_criterion
from meddet_d2.modeling.heatmap.gaussian_targets import STRIDE, gaussian_maps, to_cells


def test_a_batch_over_two_processes_is_divided_by_its_own_landmarks(monkeypatch):
    """Here 6 landmarks, there 2: the gradients' mean over the processes is that of 8 landmarks."""
    model, heatmaps = network(), [torch.rand(2, K, 16, 16)]
    truth = model.ground_truth(batch())
    alone = model.losses([], heatmaps, truth)["loss_heatmap"]
    monkeypatch.setattr(landmark_criterion, "count_processes", lambda: 2)
    monkeypatch.setattr(landmark_criterion, "sum_over_processes", lambda totals: totals + 2)
    torch.testing.assert_close(model.losses([], heatmaps, truth)["loss_heatmap"], alone * 6 / (8 / 2))
    assert model.losses([], heatmaps, truth, together=False)["loss_heatmap"] == alone


def test_against_another_networks_heat_maps():
    model, inputs = network(), batch()
    inputs[0]["instances"].gt_landmarks[0, 1, 2] = 0
    truth, heatmaps = model.ground_truth(inputs), [torch.rand(2, K, 16, 16) for _ in range(2)]
    labels = gaussian_maps(to_cells(truth.points, STRIDE), truth.present, (16, 16), 2.0)
    own = model.losses([], heatmaps, truth)["loss_heatmap"]
    assert model.criterion.against(heatmaps, labels, truth) == own > 0
    # What is not annotated does not count, and what another network says of the rest does.
    teacher = labels.clone()
    teacher[0, 1] = 9.0
    assert model.criterion.against(heatmaps, teacher, truth) == own
    assert model.criterion.against([teacher], teacher, truth) == 0
    teacher[0, 0] = 9.0
    assert model.criterion.against(heatmaps, teacher, truth) > own

"""What the methods of heat maps share, against plain loops."""

from dataclasses import replace

import pytest
import torch
from small_landmarks import config, map_batch, network, slow_divergence
from tiny_gfl import student_config

from detectron2.modeling import build_model
from meddet_d2.distillation import TeacherBank, build_distiller
from meddet_d2.distillation.methods.heatmap_distiller import spatial_divergence, teacher_heatmaps


def test_the_divergence_is_that_of_each_landmarks_own_cells():
    batch = map_batch()
    ours, theirs = batch.student.outputs[-1], batch.heads.heatmaps[0]
    found = spatial_divergence(ours, theirs, batch.targets)
    assert found.item() == pytest.approx(slow_divergence(batch), rel=1e-9)
    assert spatial_divergence(ours, ours, batch.targets).item() == pytest.approx(0, abs=1e-12)
    # What lies in the padding, and what is not there, does not count.
    changed = ours.detach().clone()
    changed[1, :, 5:] += 7
    changed[1, 2] += torch.randn(6, 4)
    assert spatial_divergence(changed, theirs, batch.targets).item() == pytest.approx(found.item(), rel=1e-9)
    found.backward()
    assert ours.grad[1, :2, :5].abs().min() > 0 and not ours.grad[1, 2].any() and not ours.grad[1, :, 5:].any()


def test_without_a_landmark_there_is_nothing_to_learn():
    batch = map_batch()
    nobody = replace(batch.targets, present=torch.zeros_like(batch.targets.present))
    assert spatial_divergence(batch.student.outputs[-1], batch.heads.heatmaps[0], nobody).item() == 0


def test_heat_maps_of_another_size_are_refused():
    batch = map_batch()
    batch.heads.heatmaps[0] = batch.heads.heatmaps[0][..., 1:]
    with pytest.raises(ValueError, match=r"Teacher 0's heat map.*\(2, 3, 6, 3\).*DISTILL\.TEACHERS\.CONFIGS") as caught:
        list(teacher_heatmaps(batch))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["FSFLD", "FPD", "OKDHP", "DWPose"])
def test_a_network_of_boxes_is_refused(method, tmp_path):
    cfg = student_config(tmp_path)
    cfg.DISTILL.METHOD = method
    message = rf"MODEL\.META_ARCHITECTURE is 'GFL'; it must be one of heat maps for DISTILL\.METHOD {method}"
    with pytest.raises(ValueError, match=message) as caught:
        build_distiller(cfg, build_model(cfg), TeacherBank.from_config(cfg))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["LD", "FGD"])
def test_a_network_of_landmarks_is_refused_by_methods_for_boxes(method):
    message = rf"MODEL\.META_ARCHITECTURE is 'LandmarkDetector'; it must be one of boxes for DISTILL\.METHOD {method}"
    with pytest.raises(ValueError, match=message):
        build_distiller(config("DISTILL.METHOD", method), network(), TeacherBank([network()], ["the teacher"]))


@pytest.mark.parametrize("method", ["FSFLD", "FPD", "OKDHP", "DWPose"])
def test_an_unknown_schedule_is_refused(method):
    cfg = config("DISTILL.METHOD", method, "DISTILL.DIST_SCHEDULE", "step")
    with pytest.raises(ValueError, match=r"DISTILL\.DIST_SCHEDULE is 'step'"):
        build_distiller(cfg, network(), TeacherBank([network()], ["the teacher"]))

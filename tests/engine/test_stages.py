"""A run of a network of one's own, and one that is refused before it begins."""

import pytest

from detectron2.modeling import META_ARCH_REGISTRY
from meddet_d2.deploy.export import exporter_for
from meddet_d2.distillation import task_for
from meddet_d2.distillation.tasks import BoxesGFL
from meddet_d2.engine import run_distillation
from meddet_d2.engine.stages import check_distillation
from meddet_d2.modeling import GFL


@META_ARCH_REGISTRY.register()
class DescendedGFL(GFL):
    """GFL under a name that no task knows."""


@META_ARCH_REGISTRY.register()
class FaultyGFL(DescendedGFL):
    def extract_features(self, images):
        raise RuntimeError("the maps do not fit\nand more")


def test_a_class_made_of_gfl_has_its_task_by_name():
    assert type(task_for("DescendedGFL")) is type(task_for("FaultyGFL")) is BoxesGFL


@pytest.mark.slow
def test_a_class_made_of_gfl_is_distilled_evaluated_and_exported(distil_cfg, monkeypatch):
    trained = []
    monkeypatch.setattr("meddet_d2.engine.stages._report", lambda cfg, rows, student: trained.append(student))
    cfg = distil_cfg(
        *("MODEL.META_ARCHITECTURE", "DescendedGFL", "SOLVER.MAX_ITER", 1, "DISTILL.TEACHERS.EVALUATE", False)
    )
    assert "bbox" in run_distillation(cfg)
    (student,) = trained
    assert type(student) is DescendedGFL
    exporter = exporter_for(student.eval())
    graph = exporter.whole_graph(student, exporter.network_graph(student)).graph
    assert {"boxes", "scores"} <= {output.name for output in graph.output}


def test_a_student_that_cannot_run_is_refused_before_training(tiny_cfg):
    cfg = tiny_cfg("MODEL.META_ARCHITECTURE", "FaultyGFL")
    side = max(cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TEST)
    with pytest.raises(ValueError) as caught:
        check_distillation(cfg)
    assert str(caught.value) == f"The student does not run on images of {side}x{side} (the maps do not fit)."
    check_distillation(tiny_cfg("MODEL.META_ARCHITECTURE", "DescendedGFL"))

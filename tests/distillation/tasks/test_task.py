"""Which task speaks for a network."""

import pytest
from torch import nn

from meddet_d2.distillation import TASK_REGISTRY, task_for, task_of
from meddet_d2.distillation.tasks import BoxesGFL


@pytest.fixture
def register(monkeypatch):
    """``register(name, *architectures)`` registers a task for the time of a test."""
    monkeypatch.setattr(TASK_REGISTRY, "_obj_map", dict(TASK_REGISTRY._obj_map))
    return lambda name, *architectures: TASK_REGISTRY.register(
        type(name, (BoxesGFL,), {"architectures": architectures})
    )


def message(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_network_of_one_s_own_has_the_task_of_what_it_is_made_of(register):
    register("Points", "Hourglass")
    hourglass = type("Hourglass", (nn.Module,), {})
    deep = type("Deep", (hourglass,), {})
    assert type(task_of(hourglass())).__name__ == type(task_of(deep())).__name__ == "Points"
    register("DeepPoints", "Deep")
    assert type(task_of(deep())).__name__ == "DeepPoints"
    assert isinstance(task_for("GFL"), BoxesGFL)


def test_a_network_without_a_task_is_refused_by_its_name(register):
    for call in (lambda: task_of(nn.Identity()), lambda: task_for("Identity")):
        with pytest.raises(ValueError, match=r"MODEL\.META_ARCHITECTURE is Identity.*known are .*GFL.*--plugin"):
            call()


def test_two_tasks_for_one_architecture_are_both_named(register):
    register("Other", "GFL")
    with pytest.raises(ValueError, match="GFL has the tasks BoxesGFL and Other") as error:
        task_for("GFL")
    message(error)


def test_a_teacher_of_another_kind_is_told_by_its_architecture(register):
    register("Points", "Hourglass")
    teacher, student = (type(name, (nn.Module,), {})() for name in ("Hourglass", "GFL"))
    assert task_of(student).compatible(student, teacher) == "MODEL.META_ARCHITECTURE is Hourglass there and GFL"

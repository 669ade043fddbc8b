"""The task of a meta-architecture that a config names."""

from detectron2.modeling import META_ARCH_REGISTRY

from .tasks import Task, find_task


def task_for(architecture: str) -> Task:
    """The task of ``MODEL.META_ARCHITECTURE``, by its class or the nearest one above it.

    Raises:
        ValueError: as :func:`find_task`.
    """
    above = META_ARCH_REGISTRY.get(architecture).__mro__[1:] if architecture in META_ARCH_REGISTRY else ()
    return find_task([architecture, *(kind.__name__ for kind in above)])

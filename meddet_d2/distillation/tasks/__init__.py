"""The kinds of networks that can be distilled, one file each, under ``TASK_REGISTRY``."""

from .boxes_gfl import BoxesGFL
from .task import TASK_REGISTRY, LevelShape, Observation, Task, find_task, task_of

__all__ = ["TASK_REGISTRY", "BoxesGFL", "LevelShape", "Observation", "Task", "find_task", "task_of"]

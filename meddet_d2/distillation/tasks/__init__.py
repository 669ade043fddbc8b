"""The kinds of networks that can be distilled, one file each, under ``TASK_REGISTRY``."""

from .boxes_gfl import BoxesGFL
from .heatmap import Heatmap
from .task import TASK_REGISTRY, LevelShape, Observation, Task, find_task, task_of

__all__ = ["TASK_REGISTRY", "BoxesGFL", "Heatmap", "LevelShape", "Observation", "Task", "find_task", "task_of"]

# ruff: noqa: F401
from . import hooks
from .defaults import DefaultTrainer, default_argument_parser, default_setup, default_writers
from .launch import launch
from .train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase

# ruff: noqa: F401
from . import hooks
from .defaults import DefaultTrainer, default_argument_parser, default_setup
from .launch import launch
from .train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase

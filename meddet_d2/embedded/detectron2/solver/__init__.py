"""Optimizer and learning rate schedule."""
# ruff: noqa: F401

from .build import LRMultiplier, WarmupParamScheduler, build_lr_scheduler, build_optimizer, get_default_optimizer_params

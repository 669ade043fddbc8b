from .build import LRMultiplier, WarmupParamScheduler, build_lr_scheduler  # noqa: F401

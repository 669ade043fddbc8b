"""The default config, and the bridge from a config to constructor arguments."""

import functools
import inspect
from collections.abc import Callable

from fvcore.common.config import CfgNode


def get_cfg() -> CfgNode:
    """A fresh copy of the default config."""
    return _DEFAULTS.clone()


def configurable(init: Callable) -> Callable:
    """Let a constructor be called with a config as well as with explicit arguments.

    Its class's ``from_config`` takes ``cfg`` first and returns keyword arguments; those of the call that it does not
    take override what it returns.
    """

    @functools.wraps(init)
    def call(self, *args, **kwargs):
        if isinstance(args[0] if args else kwargs.get("cfg"), CfgNode):
            translate = type(self).from_config
            parameters = inspect.signature(translate).parameters
            takes_any = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
            taken = {name: value for name, value in kwargs.items() if takes_any or name in parameters}
            overrides = {name: value for name, value in kwargs.items() if name not in taken}
            args, kwargs = (), {**translate(*args, **taken), **overrides}
        return init(self, *args, **kwargs)

    return call


# Upstream's keys and values; its config reference says what each one means.
# fmt: off
_DEFAULTS = CfgNode({
    "VERSION": 2, "OUTPUT_DIR": "./output", "SEED": -1, "CUDNN_BENCHMARK": False, "FLOAT32_PRECISION": "",
    "VIS_PERIOD": 0,
    "MODEL": {
        "DEVICE": "cuda", "META_ARCHITECTURE": "GeneralizedRCNN", "WEIGHTS": "",
        "MASK_ON": False, "KEYPOINT_ON": False, "LOAD_PROPOSALS": False,
        "PIXEL_MEAN": [103.530, 116.280, 123.675], "PIXEL_STD": [1.0, 1.0, 1.0],  # in the order of INPUT.FORMAT
        "BACKBONE": {"NAME": "build_resnet_backbone", "FREEZE_AT": 2},
        "FPN": {"IN_FEATURES": [], "OUT_CHANNELS": 256, "NORM": "", "FUSE_TYPE": "sum"},
    },
    "INPUT": {
        "FORMAT": "BGR", "RANDOM_FLIP": "horizontal", "MASK_FORMAT": "polygon",
        "MIN_SIZE_TRAIN": (800,), "MIN_SIZE_TRAIN_SAMPLING": "choice", "MAX_SIZE_TRAIN": 1333,
        "MIN_SIZE_TEST": 800, "MAX_SIZE_TEST": 1333,  # a size of 0: no resizing
        "CROP": {"ENABLED": False, "TYPE": "relative_range", "SIZE": [0.9, 0.9]},
    },
    "DATASETS": {
        "TRAIN": (), "PROPOSAL_FILES_TRAIN": (), "PRECOMPUTED_PROPOSAL_TOPK_TRAIN": 2000,
        "TEST": (), "PROPOSAL_FILES_TEST": (), "PRECOMPUTED_PROPOSAL_TOPK_TEST": 1000,
    },
    "DATALOADER": {
        "NUM_WORKERS": 4, "ASPECT_RATIO_GROUPING": True, "SAMPLER_TRAIN": "TrainingSampler", "REPEAT_THRESHOLD": 0.0,
        "REPEAT_SQRT": True, "FILTER_EMPTY_ANNOTATIONS": True,
    },
    "SOLVER": {
        "MAX_ITER": 40000, "IMS_PER_BATCH": 16, "REFERENCE_WORLD_SIZE": 0, "CHECKPOINT_PERIOD": 5000,
        "BASE_LR": 0.001, "BASE_LR_END": 0.0, "BIAS_LR_FACTOR": 1.0, "MOMENTUM": 0.9, "NESTEROV": False,
        "WEIGHT_DECAY": 0.0001, "WEIGHT_DECAY_NORM": 0.0, "WEIGHT_DECAY_BIAS": None,
        "LR_SCHEDULER_NAME": "WarmupMultiStepLR", "GAMMA": 0.1, "STEPS": (30000,), "NUM_DECAYS": 3,
        "RESCALE_INTERVAL": False, "WARMUP_METHOD": "linear", "WARMUP_FACTOR": 1.0 / 1000, "WARMUP_ITERS": 1000,
        "CLIP_GRADIENTS": {"ENABLED": False, "CLIP_TYPE": "value", "CLIP_VALUE": 1.0, "NORM_TYPE": 2.0},
        "AMP": {"ENABLED": False},
    },
    "TEST": {
        "EVAL_PERIOD": 0, "EXPECTED_RESULTS": [], "KEYPOINT_OKS_SIGMAS": [], "DETECTIONS_PER_IMAGE": 100,
        "AUG": {"ENABLED": False, "FLIP": True, "MIN_SIZES": tuple(range(400, 1201, 100)), "MAX_SIZE": 4000},
        "PRECISE_BN": {"ENABLED": False, "NUM_ITER": 200},
    },
})
# fmt: on
# Sections of upstream's config whose model parts do not exist here. Configs that have them must load all the same.
_HEADS = ("ROI_HEADS", "ROI_BOX_HEAD", "ROI_BOX_CASCADE_HEAD", "ROI_MASK_HEAD", "ROI_KEYPOINT_HEAD", "SEM_SEG_HEAD")
for _section in ("ANCHOR_GENERATOR", "PROPOSAL_GENERATOR", "RETINANET", "RESNETS", "RPN", "PANOPTIC_FPN", *_HEADS):
    _DEFAULTS.MODEL[_section] = CfgNode(new_allowed=True)
_DEFAULTS.GLOBAL = CfgNode(new_allowed=True)

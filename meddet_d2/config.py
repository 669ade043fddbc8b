"""Every configuration key of this project, with its default and the reason for it."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import yaml

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg


def load_config(path: str, overrides: Sequence = ()) -> CN:
    """Read a config file of this project.

    The teachers' config files that it names are looked up beside it; one that is not there is left as it is, to be
    found from the working directory.

    Args:
        path: a yaml file.
        overrides: KEY, VALUE, KEY, VALUE, ...

    Returns:
        The whole config, not frozen.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a key does not exist, a value is of the wrong type, the overrides do not pair up, or the file is no
            yaml.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"The config file {path or '(none)'} does not exist; configs/ holds the project's.")
    if len(overrides) % 2:
        raise ValueError(f"The overrides must be KEY VALUE pairs, but the last one has no value: {overrides[-1]}.")
    cfg = get_cfg()
    add_meddet_config(cfg)
    try:
        cfg.merge_from_file(str(path))
        teachers = cfg.DISTILL.TEACHERS
        beside = [str(Path(path).parent / name) for name in teachers.CONFIGS]
        teachers.CONFIGS = tuple(
            near if Path(near).is_file() else name for near, name in zip(beside, teachers.CONFIGS, strict=True)
        )
        cfg.merge_from_list(list(overrides))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid yaml: {' '.join(str(error).split())}.") from error
    except (KeyError, AssertionError) as error:
        message = str(error.args[0]) if error.args else "a key that does not exist"
        raise ValueError(f"{path} with its overrides: {message}{_suggestion(cfg, message)}") from error
    return cfg


def _suggestion(cfg: CN, message: str) -> str:
    """The existing keys that look most like the one a message ends with."""
    close = difflib.get_close_matches(message.split()[-1], list(_keys(cfg)), n=2)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _keys(node: CN, prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        yield prefix + key
        if isinstance(value, CN):
            yield from _keys(value, f"{prefix}{key}.")


def add_meddet_config(cfg: CN) -> None:
    """Add MedDet's keys to a Detectron2 config.

    Args:
        cfg: the node returned by ``detectron2.config.get_cfg()``; changed in place.
    """
    _add_data(cfg)
    _add_detector(cfg)
    _add_nmode(cfg)
    _add_distillation(cfg)
    _add_solver(cfg)


def _add_data(cfg: CN) -> None:
    # The synthetic cervical MR images (data/phantom.py). A data set is a pure function of these keys.
    cfg.DATASETS.PHANTOM = CN()
    cfg.DATASETS.PHANTOM.SEED = 1848
    # Height and width of an image in pixels.
    cfg.DATASETS.PHANTOM.SIZE = 512
    # Magnification about the middle of the neck: 1.0 shows the whole field of view, 230 mm.
    cfg.DATASETS.PHANTOM.ZOOM = 1.0
    # Two slices are made of every patient; a patient is on one side of the split only.
    cfg.DATASETS.PHANTOM.TRAIN_PATIENTS = 150
    cfg.DATASETS.PHANTOM.TEST_PATIENTS = 40
    # How far a disc reaches backward, as a fraction of the field of view: protruding and healthy discs.
    # The two ranges are the difficulty of the classification; they stay as they are between experiments.
    cfg.DATASETS.PHANTOM.PROTRUSION_DEPTH = (0.007, 0.021)
    cfg.DATASETS.PHANTOM.HEALTHY_DEPTH = (0.0, 0.004)
    # Share of discs that protrude.
    cfg.DATASETS.PHANTOM.PROTRUSION_RATE = 0.35
    # Standard deviation of the Rician noise, as a fraction of the image's largest value: a range to draw from.
    cfg.DATASETS.PHANTOM.NOISE = (0.02, 0.05)

    # Greatest random change of brightness and contrast in training: 0.1 means factors in [0.9, 1.1].
    cfg.INPUT.INTENSITY_JITTER = 0.0


def _add_detector(cfg: CN) -> None:
    # Detectron2's default is cuda everywhere; most of this project's users have none.
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

    # The bottom-up network under the FPN (modeling/backbones.py).
    cfg.MODEL.BOTTOM_UP = CN()
    # "torchvision" (resnet50, resnet101, resnet152, mobilenet_v2) or "timm" (any features_only model).
    cfg.MODEL.BOTTOM_UP.LIBRARY = "torchvision"
    cfg.MODEL.BOTTOM_UP.NAME = "mobilenet_v2"
    # Channels relative to the published network; mobilenet_v2 only.
    cfg.MODEL.BOTTOM_UP.WIDTH_MULT = 1.0
    # Load ImageNet weights if the machine can reach them; it warns and starts from random weights otherwise.
    cfg.MODEL.BOTTOM_UP.PRETRAINED = True
    # "BN" as published, or "GN", which does not depend on the batch.
    cfg.MODEL.BOTTOM_UP.NORM = "BN"
    # Keep BatchNorm's running statistics as loaded (mmdetection's norm_eval). Only sensible with PRETRAINED.
    cfg.MODEL.BOTTOM_UP.NORM_EVAL = True

    cfg.MODEL.GFL = CN()
    cfg.MODEL.GFL.IN_FEATURES = ("p3", "p4", "p5", "p6", "p7")
    # Protrusion and non-protrusion.
    cfg.MODEL.GFL.NUM_CLASSES = 2
    # Convolutions in each of the two towers, and their channels.
    cfg.MODEL.GFL.NUM_CONVS = 4
    cfg.MODEL.GFL.CHANNELS = 256
    # Distances are distributions over the bins 0..REG_MAX, in units of the level's stride.
    cfg.MODEL.GFL.REG_MAX = 16
    # Initialisation of the towers: "normal" is GFL's N(0, 0.01); "he" trains faster from random weights.
    cfg.MODEL.GFL.TOWER_INIT = "normal"
    cfg.MODEL.GFL.PRIOR_PROB = 0.01
    # Side of the anchor square in strides, and where its centre lies in the cell (0.0: the upper left corner).
    cfg.MODEL.GFL.ANCHOR_SCALE = 8
    cfg.MODEL.GFL.ANCHOR_OFFSET = 0.0
    cfg.MODEL.GFL.ATSS_TOPK = 9
    cfg.MODEL.GFL.QFL_BETA = 2.0
    # Eq. 12: L_det = lambda L_QF + mu L_DF + (1 - lambda - mu) L_GIoU. The paper gives no values; 4/13 and 1/13
    # are GFL's own 1 : 0.25 : 2 divided by its sum 3.25, and the gain gives the sum back.
    cfg.MODEL.GFL.LOSS_LAMBDA = 4 / 13
    cfg.MODEL.GFL.LOSS_MU = 1 / 13
    cfg.MODEL.GFL.LOSS_GAIN = 3.25
    cfg.MODEL.GFL.SCORE_THRESH_TEST = 0.05
    cfg.MODEL.GFL.TOPK_CANDIDATES_TEST = 1000
    cfg.MODEL.GFL.NMS_THRESH_TEST = 0.6


def _add_nmode(cfg: CN) -> None:
    # The neural-memory ODE as an activation (modeling/nmode.py).
    cfg.MODEL.NMODE = CN()
    # "none", "nmode" (eq. 2) or "nmode2" (eq. 4).
    cfg.MODEL.NMODE.KIND = "none"
    # Any of "backbone", "fpn", "head" (Table IV).
    cfg.MODEL.NMODE.PLACES = ("head",)
    # What the next layer sees: "plain" y (figure 3), "residual" x + y, or "gated" x * y. Plain folds the sign of x
    # and hurts early training: docs/nmode.md has the measured comparison behind this default and the next.
    cfg.MODEL.NMODE.READOUT = "residual"
    # In a tower: "before" or "after" the last ReLU.
    cfg.MODEL.NMODE.RELU = "before"
    # Where gamma = w * x + b starts, per channel.
    cfg.MODEL.NMODE.INIT_W = 1.0
    cfg.MODEL.NMODE.INIT_B = 0.0
    # Integration runs over [0, T_END]. Near 1: the slope of y(gamma) is 1.4 at 1, 3.9 at 2, 15 at 5.
    cfg.MODEL.NMODE.T_END = 1.0
    # "rk4" (ours, one saved tensor) or "odeint" (torchdiffeq).
    cfg.MODEL.NMODE.SOLVER = "rk4"
    cfg.MODEL.NMODE.RK4_STEPS = 4
    cfg.MODEL.NMODE.ODEINT_METHOD = "dopri5"
    cfg.MODEL.NMODE.ODEINT_RTOL = 1e-3
    cfg.MODEL.NMODE.ODEINT_ATOL = 1e-3


def _add_distillation(cfg: CN) -> None:
    cfg.DISTILL = CN()
    # Train with teachers (engine/trainer.py, DistillationTrainer).
    cfg.DISTILL.ENABLED = False
    # A name in DISTILLER_REGISTRY.
    cfg.DISTILL.METHOD = "MedDet"

    cfg.DISTILL.TEACHERS = CN()
    # Config files and checkpoints, in the same order. A relative config path is looked up beside the config
    # that names it and then from the working directory; a weights path from the working directory.
    cfg.DISTILL.TEACHERS.CONFIGS = ()
    cfg.DISTILL.TEACHERS.WEIGHTS = ()
    # Train a teacher whose checkpoint does not exist; otherwise a missing one is an error.
    cfg.DISTILL.TEACHERS.TRAIN_MISSING = False
    # Overrides (KEY, VALUE, KEY, VALUE, ...) of the teachers' configs when they are trained for this run.
    cfg.DISTILL.TEACHERS.OPTS = ()
    # Evaluate every teacher before distillation, so that a broken one is noticed.
    cfg.DISTILL.TEACHERS.EVALUATE = True
    # Also train the student without teachers, to compare with, in OUTPUT_DIR/student_alone.
    cfg.DISTILL.TRAIN_ALONE = False

    # Eq. 14: L = gain * (sigma L_det + tau L_dist + (1 - sigma - tau) L_adv). The paper gives no values.
    # These stand for 1 : 0.5 : 0.1, and the gain 1 / sigma leaves L_det at its full size, so that a learning
    # rate found without distillation still fits.
    cfg.DISTILL.SIGMA = 0.625
    cfg.DISTILL.TAU = 0.3125
    cfg.DISTILL.GAIN = 1.6
    # Weight of P3..P7 in L_dist and L_adv. At 512 x 512 every positive of a disc lies on P3.
    cfg.DISTILL.LEVEL_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0)
    # Eq. 13's squared difference: its "sum" over a map per image, its "mean", or the mean "relative" to the fused
    # map's variance (so 1.0 is what predicting the mean gives, whatever the teachers' scale; a level's variance counts
    # as at least 1 % of the largest level's).
    cfg.DISTILL.DIST_REDUCTION = "relative"
    # How L_dist's weight goes over the run: "constant", or "linear" or "cosine" down to zero at the end.
    cfg.DISTILL.DIST_SCHEDULE = "constant"

    cfg.DISTILL.FUSION = CN()
    # A name in FUSION_REGISTRY: "LWFF", "Sum" or "Concat".
    cfg.DISTILL.FUSION.NAME = "LWFF"
    # After eq. 7's convolution: "sigmoid", "softmax" (across teachers) or "none" (as the equation is printed).
    cfg.DISTILL.FUSION.ACTIVATION = "sigmoid"
    # Index of the teacher that the fused map resembles at the start, and whose frozen head teaches AFA and the fusion.
    # (Through L_dist alone they would learn a constant.)
    cfg.DISTILL.FUSION.LEAD_TEACHER = 0
    cfg.DISTILL.FUSION.LOSS_WEIGHT = 1.0

    # The adversarial auxiliary teacher module.
    cfg.DISTILL.AATM = CN()
    cfg.DISTILL.AATM.ENABLED = True
    # Fraction of the run before L_adv acts on the student; the discriminator learns from the start.
    cfg.DISTILL.AATM.WARMUP = 0.2
    # The generator's loss: "non_saturating" -log D(G), or "minimax" log(1 - D(G)) as in eq. 1.
    cfg.DISTILL.AATM.GENERATOR_LOSS = "non_saturating"
    # Each map is pooled to POOL x POOL before the discriminator's three fully connected layers of these widths (and 1).
    cfg.DISTILL.AATM.POOL = 4
    cfg.DISTILL.AATM.HIDDEN = (256, 64)
    # Standardise both inputs per channel, so that the discriminator cannot win by scale alone.
    cfg.DISTILL.AATM.STANDARDIZE = True
    # Target for real maps (0.9: one-sided label smoothing).
    cfg.DISTILL.AATM.REAL_LABEL = 1.0
    cfg.DISTILL.AATM.LR = 2e-4
    cfg.DISTILL.AATM.BETAS = (0.5, 0.999)


def _add_solver(cfg: CN) -> None:
    # "SGD" (Detectron2's own) or "AdamW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    cfg.SOLVER.BETAS = (0.9, 0.999)

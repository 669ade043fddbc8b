"""Every configuration key of this project, with its default and the reason for it."""

import difflib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from .files import read_yaml

# A config and all the files under it.
MOST_BASES = 100
# What a config says of a value of another type; between these words it quotes both values, a whole section even.
_WRONG_TYPE = re.compile(
    r"Type mismatch \(<class '(?P<expected>[^']*)'> vs\. <class '(?P<given>[^']*)'>\) .* for config key: (?P<key>\S+)",
    re.DOTALL,
)


def load_config(path: str, overrides: Sequence = (), *, overlay: str | None = None) -> CN:
    """Read a config file of this project.

    The teachers' config files that it names are looked up beside it and then beside the files under it (``_BASE_``);
    one that is not there is left as it is, to be found from the working directory.

    Args:
        path: a yaml file.
        overrides: KEY, VALUE, KEY, VALUE, ...
        overlay: a second yaml file, read after the first and before the overrides.

    Returns:
        The whole config, not frozen.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a key does not exist, a value is of the wrong type, the overrides do not pair up, or the file is no
            yaml.
    """
    files = [path] if overlay is None else [path, overlay]
    folders = {}
    for file in files:
        if not Path(file).is_file():
            raise FileNotFoundError(f"The config file {file or '(none)'} does not exist; configs/ holds the project's.")
        folders[file] = _folders(Path(file))
    if len(overrides) % 2:
        raise ValueError(f"The overrides must be KEY VALUE pairs, but the last one has no value: {overrides[-1]}.")
    cfg = get_cfg()
    add_meddet_config(cfg)
    optional = {key for key, value in _entries(cfg) if value is None}
    try:
        for file in files:
            where = str(file)
            # Detectron2's default would build whatever object the file asks for (!!python).
            cfg.merge_from_file(str(file), allow_unsafe=False)
            _refuse_empty(cfg, optional, where)
            names = cfg.DISTILL.TEACHERS.CONFIGS
            if not all(isinstance(name, str) for name in names):
                raise ValueError(f"{file}: DISTILL.TEACHERS.CONFIGS must name config files, but it is {names}.")
            cfg.DISTILL.TEACHERS.CONFIGS = tuple(_find(name, folders[file]) for name in names)
        where = f"{file} with its overrides"
        cfg.merge_from_list(list(overrides))
        _refuse_empty(cfg, optional, where)
    except (KeyError, AssertionError) as error:
        message = str(error.args[0]) if error.args else "a key that does not exist"
        raise ValueError(f"{where}: {message}{_suggestion(cfg, message)}") from error
    except (MemoryError, RecursionError, TypeError) as error:
        # Texts are read as Python's literals, whose parser says these of brackets by the hundred and of lists as keys.
        raise ValueError(f"{where}: one of the values cannot be read, for its brackets; see configs/.") from error
    except ValueError as error:
        wrong = _WRONG_TYPE.fullmatch(str(error))
        if wrong is None:
            raise
        is_section = wrong["expected"].endswith("CfgNode")
        expected = "a section of keys" if is_section else f"of type {wrong['expected']}"
        given = "nothing" if wrong["given"] == "NoneType" else wrong["given"]
        raise ValueError(f"{where}: {wrong['key']} must be {expected}, not {given}.") from error
    return cfg


def _refuse_empty(cfg: CN, optional: set[str], where: str) -> None:
    """Raise a ValueError for a key without a value, which a config takes for any type."""
    empty = [key for key, value in _entries(cfg) if value is None and key not in optional]
    if empty:
        raise ValueError(f"{where}: {empty[0]} has no value; give it one, or leave it out.")


def _folders(path: Path) -> list[Path]:
    """The folder of a config file and those of the files that its ``_BASE_`` names, nearest first.

    Raises:
        FileNotFoundError: a file under it is not there.
        ValueError: one of the files is no yaml of keys and values, or there is no end to them.
    """
    folders, waiting = [], [path]
    while waiting:
        file = waiting.pop(0)
        folders.append(file.parent)
        if len(folders) > MOST_BASES:
            raise ValueError(f"{path} stands on more than {MOST_BASES} files; does a _BASE_ lead back to its own file?")
        content = read_yaml(file)
        if not isinstance(content, dict) or not _all_texts(content):
            raise ValueError(f"{file} holds no keys and values, or a key that is no text; see configs/.")
        bases = content.get("_BASE_", [])
        bases = [bases] if isinstance(bases, str) else bases
        if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
            raise ValueError(f"{file}: _BASE_ is {bases!r}; give the name of a config file, or a list of them.")
        below = [file.parent / Path(base).expanduser() for base in bases]
        for base in below:
            # A name that is too long for the system is no file either.
            if not os.path.isfile(base):
                raise FileNotFoundError(f"{file}: its _BASE_ {base} does not exist; correct it.")
        waiting[:0] = below
    return list(dict.fromkeys(folders))


def _all_texts(content: dict) -> bool:
    """Whether all keys of a table, and of the tables in it, are texts."""
    return all(
        isinstance(key, str) and (not isinstance(value, dict) or _all_texts(value)) for key, value in content.items()
    )


def _find(name: str, folders: Sequence[Path]) -> str:
    """The first of ``folders`` joined with ``name`` that is a file, or ``name`` itself."""
    places = (os.path.normpath(folder / name) for folder in folders)
    return next((place for place in places if os.path.isfile(place)), name)


def _suggestion(cfg: CN, message: str) -> str:
    """The existing keys that look most like the one a message ends with."""
    close = difflib.get_close_matches(message.split()[-1], [key for key, _ in _entries(cfg)], n=2)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _entries(node: CN, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key, by its whole name, with its value; sections too."""
    for key, value in node.items():
        yield prefix + key, value
        if isinstance(value, CN):
            yield from _entries(value, f"{prefix}{key}.")


def add_meddet_config(cfg: CN) -> None:
    """Add MedDet's keys to a Detectron2 config.

    Args:
        cfg: the node returned by ``detectron2.config.get_cfg()``; changed in place.
    """
    _add_data(cfg)
    _add_detector(cfg)
    _add_nmode(cfg)
    _add_distillation(cfg)
    _add_other_methods(cfg)
    _add_solver(cfg)
    _add_validation(cfg)


def _add_data(cfg: CN) -> None:
    # The synthetic cervical MR images (data/phantom). A data set is a pure function of these keys.
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
    # Scanner artefacts in training (data/mri_noise.py; the extra "noise"): how often an image gets one, which, and how
    # strong, 1 to 5. Off by default: what a network is to withstand is for its user to decide, and a network trained on
    # an artefact says nothing about the others.
    cfg.INPUT.MRI_NOISE = CN()
    cfg.INPUT.MRI_NOISE.PROB = 0.0
    cfg.INPUT.MRI_NOISE.KINDS = ("rician", "motion", "ghosting", "spike", "bias_field", "gibbs", "low_resolution")
    # The least and the greatest; 4 and 5 hide small protrusions, whose labels would then teach what cannot be seen.
    cfg.INPUT.MRI_NOISE.SEVERITY = (1, 3)


def _add_detector(cfg: CN) -> None:
    # Detectron2's default is cuda everywhere; most of this project's users have none.
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

    # The bottom-up network under the FPN (modeling/backbones.py).
    cfg.MODEL.BOTTOM_UP = CN()
    # "torchvision" (resnet50, resnet101, resnet152, mobilenet_v2, efficientnet_b0, efficientnet_b1,
    # shufflenet_v2_x1_0), "timm" (any features_only model) or "meddet_d2" (shufflenet_v1_g1, _g2, _g3, _g4, _g8).
    cfg.MODEL.BOTTOM_UP.LIBRARY = "torchvision"
    cfg.MODEL.BOTTOM_UP.NAME = "mobilenet_v2"
    # Channels relative to the published network; mobilenet_v2 and shufflenet_v1_* only.
    cfg.MODEL.BOTTOM_UP.WIDTH_MULT = 1.0
    # Load ImageNet weights if the machine can reach them; it warns and starts from random weights otherwise.
    cfg.MODEL.BOTTOM_UP.PRETRAINED = True
    # "BN" as published; "GN", which does not depend on the batch; or "SyncBN", BatchNorm by all processes' images.
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
    # "full" 3x3 convolutions in the towers, or "separable" ones: depth-wise 3x3 and 1x1, an eighth of the work.
    cfg.MODEL.GFL.TOWER_CONV = "full"
    # One tower for classes and boxes, as the lightest detectors have it.
    cfg.MODEL.GFL.SHARED_TOWER = False
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
    # In a tower: in place of the last ReLU ("before") or "after" it. In its place costs the head a nonlinearity.
    cfg.MODEL.NMODE.RELU = "after"
    # Where gamma = w * x + b starts, per channel. At pi / 2 y(gamma) has its lowest point, 0, so that the residual
    # form starts close to x; w is small enough for x + y to rise everywhere (the slope of y(gamma) is at most 1.4).
    cfg.MODEL.NMODE.INIT_W = 0.3
    cfg.MODEL.NMODE.INIT_B = 1.5708
    # Integration runs over [0, T_END]. Near 1: the slope of y(gamma) is 1.4 at 1, 3.9 at 2, 17 at 5.
    cfg.MODEL.NMODE.T_END = 1.0
    # "flow_map" (y(T_END) tabulated once, at about the price of an activation; T_END up to about 5), "rk4" (ours, fixed
    # steps) or "odeint" (torchdiffeq): the latter two as the reference, and for a y(0) other than 0.
    cfg.MODEL.NMODE.SOLVER = "flow_map"
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
    # Number format of the teachers and of what learns from them, not of the student: "fp32", "bf16", "fp16" (GPUs only,
    # and for the teachers only), or "auto", the fastest that the hardware computes in (distillation/precision.py).
    cfg.DISTILL.PRECISION = "auto"

    cfg.DISTILL.TEACHERS = CN()
    # Config files and checkpoints, in the same order. A relative config path is looked up beside the config
    # that names it (or inherits it by _BASE_) and then from the working directory; a weights path from the latter.
    cfg.DISTILL.TEACHERS.CONFIGS = ()
    cfg.DISTILL.TEACHERS.WEIGHTS = ()
    # Indices of the teachers to use, all if empty; one that is not used needs no checkpoint and costs nothing.
    cfg.DISTILL.TEACHERS.USE = ()
    # Train a teacher whose checkpoint does not exist; otherwise a missing one is an error.
    cfg.DISTILL.TEACHERS.TRAIN_MISSING = False
    # Resume although a teacher's file is another than the one the run began with, which a checkpoint remembers.
    cfg.DISTILL.TEACHERS.ACCEPT_CHANGED = False
    # Overrides (KEY, VALUE, KEY, VALUE, ...) of the teachers' configs when they are trained for this run.
    cfg.DISTILL.TEACHERS.OPTS = ()
    # GiB in which to remember the teachers' maps of images that come again unchanged, so that the frozen networks run
    # once for each image; 0: none. Of use where nothing is random in training's images (INPUT.INTENSITY_JITTER 0.0,
    # RANDOM_FLIP "none", one MIN_SIZE_TRAIN); three teachers at 512 x 512 need 16.8 MB an image.
    cfg.DISTILL.TEACHERS.CACHE_GIB = 0.0
    # A folder in which to keep these maps from run to run, "" for none, and how many GiB it may take. It is filled in
    # the first run over the data; a teacher that is trained again has files of its own.
    cfg.DISTILL.TEACHERS.CACHE_DIR = ""
    cfg.DISTILL.TEACHERS.CACHE_DIR_GIB = 100.0
    # Evaluate every teacher before distillation, so that a broken one is noticed.
    cfg.DISTILL.TEACHERS.EVALUATE = True
    # Also train the student without teachers, to compare with, in OUTPUT_DIR/student_alone.
    cfg.DISTILL.TRAIN_ALONE = False

    # MedDet alone; the methods at the end keep the detection loss as it is and weigh their own losses beside it.
    # Eq. 14: L = gain * (sigma L_det + tau L_dist + (1 - sigma - tau) L_adv). The paper gives no values.
    # These stand for 1 : 48.9 : 0.1, and the gain 1 / sigma leaves L_det at its full size, so that a learning rate
    # found without distillation still fits. Found on the phantom (docs/results/phantom.md), where a weak imitation
    # gained nothing over the student alone, and four times as much was no better: what a student loses at the end it
    # loses by overfitting the labels, which the imitation holds back.
    cfg.DISTILL.SIGMA = 0.02
    cfg.DISTILL.TAU = 0.978
    cfg.DISTILL.GAIN = 50.0
    # Weight of P3..P7 in L_dist and L_adv. At 512 x 512 every positive of a disc lies on P3.
    cfg.DISTILL.LEVEL_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 1.0)
    # Eq. 13's squared difference: its "sum" over a map per image, its "mean", the mean "relative" to the fused map's
    # variance (so 1.0 is what predicting the mean gives, whatever the teachers' scale; a level's variance counts as at
    # least 1 % of the largest level's), or "standardized": the same for each channel by itself.
    cfg.DISTILL.DIST_REDUCTION = "standardized"
    # Share of L_dist that the cells in boxes have to themselves, each box alike; 0.0: a cell is a cell. Discs cover
    # some 5 % of an image, and the sign of a herniation much less.
    cfg.DISTILL.DIST_FOREGROUND = 0.0
    # How L_dist's weight goes over the run, and that of all distillation losses of another method: "constant", or
    # "linear" or "cosine" down to zero at the end.
    cfg.DISTILL.DIST_SCHEDULE = "constant"

    cfg.DISTILL.FUSION = CN()
    # A name in FUSION_REGISTRY: "LWFF", "Sum" or "Concat".
    cfg.DISTILL.FUSION.NAME = "LWFF"
    # After eq. 7's convolution: "sigmoid", "softmax" (across teachers) or "none" (as the equation is printed).
    cfg.DISTILL.FUSION.ACTIVATION = "sigmoid"
    # Before anything is learned the fused map is the "mean" of the teachers' aligned maps, as "Sum" is, or the "lead"
    # teacher's own. Mean: on the phantom it is a slightly better map in the end (docs/distil.md).
    cfg.DISTILL.FUSION.START = "mean"
    # Index, among the teachers in use, of the lead: its frozen head teaches AFA and the fusion. (Through L_dist alone
    # they would learn a constant.)
    cfg.DISTILL.FUSION.LEAD_TEACHER = 0
    cfg.DISTILL.FUSION.LOSS_WEIGHT = 1.0
    # Share of a step's images, of all processes together and rounded up, that this head teaches on: at 1.0 that is the
    # dearest part of the method.
    cfg.DISTILL.FUSION.SHARE = 0.125

    # The adversarial auxiliary teacher module.
    cfg.DISTILL.AATM = CN()
    cfg.DISTILL.AATM.ENABLED = True
    # G of eq. 13, between the student's aligned maps and the fused ones: "plain", two convolutions as printed;
    # "residual", which adds them to the map and starts as the identity; "none". On the phantom the plain one stood
    # between the student and what it should imitate: 1.6 AP50 below none, the residual one 0.4 (docs/distil.md).
    # ENABLED False leaves out discriminator and L_adv; the generator goes by this key alone.
    cfg.DISTILL.AATM.GENERATOR = "residual"
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
    # Greatest norm of all the discriminator's gradients together; 0.0: as they are. SOLVER.CLIP_GRADIENTS is not its.
    cfg.DISTILL.AATM.CLIP_GRADIENTS = 0.0


def _add_other_methods(cfg: CN) -> None:
    # What MedDet is compared with. Every default is the published one for one-stage detectors, found for maps of 256
    # channels and one teacher; where losses are sums over a map they grow with the image.
    cfg.DISTILL.FITNETS = CN()
    # Of the mean squared difference, as where FitNets serve as a baseline for detectors (LD).
    cfg.DISTILL.FITNETS.WEIGHT = 2.0

    cfg.DISTILL.MGD = CN()
    # Of the summed squared difference.
    cfg.DISTILL.MGD.ALPHA = 2e-5
    # Probability that a cell of the student's map is hidden.
    cfg.DISTILL.MGD.DROP = 0.65

    cfg.DISTILL.FGD = CN()
    # Of both attentions' softmax; below 1 it sharpens them.
    cfg.DISTILL.FGD.TEMPERATURE = 0.5
    # Of the summed squared difference inside and outside of the boxes, of the attentions, and of the relations (last).
    cfg.DISTILL.FGD.ALPHA = 1e-3
    cfg.DISTILL.FGD.BETA = 5e-4
    cfg.DISTILL.FGD.GAMMA = 5e-4
    cfg.DISTILL.FGD.LAMBDA = 5e-6

    cfg.DISTILL.LD = CN()
    # Of the distances' distributions at the positives. A sum over them: it grows with SOLVER.IMS_PER_BATCH, and LD's
    # authors have no more than 3 images in a sum (a process's; the mean over the processes).
    cfg.DISTILL.LD.WEIGHT = 0.25
    # The same in the valuable region around them, which begins at this part of a box's ATSS threshold.
    cfg.DISTILL.LD.VLR_WEIGHT = 0.25
    cfg.DISTILL.LD.VLR_RATIO = 0.25
    cfg.DISTILL.LD.TEMPERATURE = 10.0
    # Of the classes at the positives, compared as published after a "softmax" over them, or each by its "sigmoid", as
    # GFL scores them: the softmax does not see how sure a score is.
    cfg.DISTILL.LD.KD_WEIGHT = 10.0
    cfg.DISTILL.LD.KD_TEMPERATURE = 2.0
    cfg.DISTILL.LD.KD_ACTIVATION = "softmax"


def _add_solver(cfg: CN) -> None:
    # "SGD" (Detectron2's own) or "AdamW".
    cfg.SOLVER.OPTIMIZER = "SGD"
    cfg.SOLVER.BETAS = (0.9, 0.999)
    # The images per step that BASE_LR was found with: the rate becomes BASE_LR * IMS_PER_BATCH / REFERENCE_BATCH; 0: it
    # is BASE_LR. The iterations stay. (REFERENCE_WORLD_SIZE, Detectron2's own, scales batch and schedule instead.)
    cfg.SOLVER.REFERENCE_BATCH = 0
    # How many numbered checkpoints stay, at least 2, so that one can be damaged; 0: all, as in Detectron2.
    cfg.SOLVER.CHECKPOINT_KEEP = 0


def _add_validation(cfg: CN) -> None:
    # What is measured every TEST.EVAL_PERIOD iterations, and what follows from it (engine/validation.py).
    cfg.VALIDATION = CN()
    # Data sets to measure on during training; DATASETS.TEST if empty. Name some when BEST or PATIENCE choose by them,
    # or the test set has a part in the training. DATASETS.TEST then comes at the end only.
    cfg.VALIDATION.DATASETS = ()
    # Also measure the detection losses, as "validation_loss" and its parts.
    cfg.VALIDATION.LOSS = False
    # Keep the best weights as model_best.pth: by "loss", "AP50", "AP" or another of the metrics; "": do not.
    cfg.VALIDATION.BEST = ""
    # End training after this many evaluations in a row without a better one; 0: never.
    cfg.VALIDATION.PATIENCE = 0
    # Only algorithms that give the same bits each time, also on a GPU; slower there, and an operation that has none is
    # an error.
    cfg.DETERMINISTIC = False

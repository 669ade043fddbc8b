"""Every configuration key of this project, with its default and the reason for it."""

from detectron2.config import CfgNode as CN

from .data_keys import add_data
from .distill_keys import add_distillation, add_fsf_ld, add_landmark_methods, add_meddet, add_other_methods
from .model_keys import add_detector, add_landmarks, add_nmode
from .solver_keys import add_training


def add_meddet_config(cfg: CN) -> None:
    """Add MedDet's keys to a Detectron2 config.

    Args:
        cfg: the node returned by ``detectron2.config.get_cfg()``; changed in place.
    """
    # The plugins (--plugin) that this config was used with, by their modules' names. load_config fills it in. A config
    # whose plugins are not loaded is refused. No config loads one, since a plugin is a program.
    cfg.PLUGINS = ()
    add_data(cfg)
    add_detector(cfg)
    add_landmarks(cfg)
    add_nmode(cfg)
    add_distillation(cfg)
    add_meddet(cfg)
    add_other_methods(cfg)
    add_fsf_ld(cfg)
    add_landmark_methods(cfg)
    add_training(cfg)

"""The same detections from a checkpoint: torch and Detectron2, for who has them and exported nothing."""

from typing import Any

import numpy as np
import torch

from detectron2.config import CfgNode
from detectron2.modeling import build_model

from ..config.class_names import NUM_CLASSES, check_count, class_names
from ..data import MedDetDatasetMapper, register_datasets
from ..distillation import task_for
from ..distillation.teacher_configs import changed
from ..hardware.fast import make_fast
from ..hardware.gpu_memory import enough_memory
from ..modeling.weights import read_checkpoint, set_weights
from .predictor import Detections, check_image


class TorchPredictor:
    """A detector of a config and its checkpoint, called as `meddet_d2.deploy.Predictor` is.

    Example:
        >>> predictor = TorchPredictor(load_config("configs/meddet.yaml"), "output/meddet/model_final.pth")
        >>> found = predictor(read_image("slice.png"))
    """

    def __init__(self, cfg: CfgNode, weights: str) -> None:
        """
        Args:
            cfg: what the detector was trained by; MODEL.DEVICE is where it runs. It is not changed.
            weights: a .pth or .safetensors file.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            ValueError: as `load_detector`, or the device is not there.
        """
        _check_device(cfg.MODEL.DEVICE)
        self.model, self.classes = load_detector(cfg, str(weights))
        self.least_score = float(self.model.score_thresh)
        parts = task_for(cfg.MODEL.META_ARCHITECTURE).parts.values()
        make_fast(self.model, parts, compiled=cfg.MODEL.COMPILE, graphs=cfg.MODEL.CUDA_GRAPHS)
        # What an evaluation does to an image, to the bit.
        self.mapper = MedDetDatasetMapper(cfg, is_train=False)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Detections:
        """See `Predictor`; a side must have the backbone's stride at least."""
        check_image(image, max(self.model.backbone.size_divisibility, 1))
        inputs = self.mapper.map_image({}, image)
        height, width = inputs["image"].shape[1:]
        with enough_memory(f"an image of {width} x {height} pixels", "lower INPUT.MIN_SIZE_TEST"):
            found = self.model([inputs])[0]["instances"].to("cpu")
        return Detections(found.pred_boxes.tensor.numpy(), found.scores.numpy(), found.pred_classes.numpy())


def load_detector(cfg: CfgNode, weights: str) -> tuple[Any, tuple[str, ...]]:
    """A trained detector, ready to predict, and the names of its classes.

    Args:
        cfg: what it was trained by. It is not changed.
        weights: its checkpoint, which says its classes; one that does not takes them from the data set of ``cfg``.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it cannot be read or belongs to another architecture, nothing names its classes, or no task
            speaks for the config's meta-architecture.
    """
    task = task_for(cfg.MODEL.META_ARCHITECTURE)
    register_datasets(cfg)
    checkpoint = read_checkpoint(weights)
    classes = checkpoint.classes or class_names(cfg)
    if classes is None:
        raise ValueError(
            f"{weights} does not name its classes, and the data sets of the config are not here; register one with the "
            "same classes (DATASETS.REGISTER)."
        )
    check_count(cfg, classes, f"{weights} knows")
    # Not pretrained: the checkpoint has all.
    model = build_model(changed(cfg, [NUM_CLASSES, len(classes), "MODEL.BOTTOM_UP.PRETRAINED", False])).eval()
    task.drop_auxiliary(model)
    set_weights(model, checkpoint.weights, weights)
    return model, classes


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        raise ValueError(f"The device {name} is not here ({str(error).splitlines()[0][:100]}); give cpu.") from error

"""The same from a checkpoint: torch and Detectron2, for who has them and exported nothing."""

from typing import Any

import numpy as np
import torch

from detectron2.config import CfgNode
from detectron2.modeling import build_model

from ..config.class_names import COUNT_KEYS, NOUNS, check_count
from ..data import MedDetDatasetMapper, register_datasets
from ..distillation import task_for
from ..distillation.teacher_configs import changed
from ..hardware.fast import make_fast
from ..hardware.gpu_memory import enough_memory
from ..modeling.weights import read_checkpoint, set_weights
from .found import FOUND
from .predictor import check_image


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
        # Landmarks are all given.
        self.least_score = float(getattr(self.model, "score_thresh", 0.0))
        task = task_for(cfg.MODEL.META_ARCHITECTURE)
        self.result = task.result
        make_fast(self.model, task.parts.values(), compiled=cfg.MODEL.COMPILE, graphs=cfg.MODEL.CUDA_GRAPHS)
        # What an evaluation does to an image, to the bit.
        self.mapper = MedDetDatasetMapper(cfg, is_train=False)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Any:
        """See `Predictor`; a side must have the backbone's stride at least."""
        check_image(image, max(self.model.backbone.size_divisibility, 1))
        inputs = self.mapper.map_image({}, image)
        height, width = inputs["image"].shape[1:]
        with enough_memory(f"an image of {width} x {height} pixels", "lower INPUT.MIN_SIZE_TEST"):
            found = self.model([inputs])[0]["instances"].to("cpu")
        return FOUND[self.result].from_instances(found)


def load_detector(cfg: CfgNode, weights: str) -> tuple[Any, tuple[str, ...]]:
    """A trained network, ready to predict, and the names of what it finds: its classes or landmarks.

    Args:
        cfg: what it was trained by. It is not changed.
        weights: its checkpoint, which says the names; one that does not takes them from the data set of ``cfg``.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it cannot be read or belongs to another architecture, nothing names its classes, the config
            or its data set has another number of them, or no task speaks for the config's meta-architecture.
    """
    task = task_for(cfg.MODEL.META_ARCHITECTURE)
    register_datasets(cfg)
    checkpoint = read_checkpoint(weights)
    names = checkpoint.classes or task.names(cfg)
    if names is None:
        raise ValueError(
            f"{weights} does not name its {NOUNS[task.result]}, and the data sets of the config are not here; register "
            "one with the same ones (DATASETS.REGISTER)."
        )
    check_count(cfg, names, f"{weights} knows", task.result)
    # Not pretrained: the checkpoint has all.
    options = [COUNT_KEYS[task.result], len(names), "MODEL.BOTTOM_UP.PRETRAINED", False]
    model = build_model(changed(cfg, options)).eval()
    task.drop_auxiliary(model)
    set_weights(model, checkpoint.weights, weights)
    return model, tuple(names)


def _check_device(name: str) -> None:
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        raise ValueError(f"The device {name} is not here ({str(error).splitlines()[0][:100]}); give cpu.") from error

"""A detector from what a command names: an exported model, or a config and a checkpoint."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ..files import checksum
from .card import ModelCard
from .predictor import Predictor
from .reading import Detector

GPU_PROVIDER = "CUDAExecutionProvider"


class OpenedDetector(NamedTuple):
    """A detector and what is known of it.

    Attributes:
        detector: called with an image (H, W, 3) uint8 RGB.
        card: of an exported model; otherwise one with names alone.
        file: the name of the model's or the checkpoint's file.
        sha256: of that file.
    """

    detector: Detector
    card: ModelCard
    file: str
    sha256: str


def open_detector(
    onnx: Path | None,
    config_file: str | None,
    weights: str | None = None,
    overrides: Sequence[str] = (),
    device: str | None = None,
) -> OpenedDetector:
    """Open ``onnx``, which needs onnxruntime alone, or ``config_file`` with its checkpoint, which needs torch.

    Args:
        onnx: model.onnx of an export; its card lies in the same folder.
        config_file: instead of it, the yaml that the detector was trained by.
        weights: the checkpoint; None for MODEL.WEIGHTS of the config.
        overrides: KEY, VALUE, ... of the config.
        device: where it runs; None for the CPU with ``onnx``, otherwise torch's GPU if there is one.

    Raises:
        ValueError, OSError: a file is missing or wrong, or the device is not here. One line.
    """
    if onnx is not None:
        if weights or overrides:
            raise ValueError("--onnx is a whole model; --weights and KEY VALUE pairs go with --config-file.")
        predictor = Predictor(onnx, providers=_providers(device))
        return OpenedDetector(predictor, predictor.card, onnx.name, predictor.card.files[onnx.name])
    if config_file is None:
        raise ValueError("Name a detector: an exported model, or a config file and its weights.")
    if find_spec("torch") is None:
        raise ValueError("--config-file needs torch, which is not installed; export the detector and give --onnx.")
    import torch

    from ..config import load_config
    from .torch_predictor import TorchPredictor

    cfg = load_config(config_file, overrides)
    weights = weights or cfg.MODEL.WEIGHTS
    if not weights:
        raise ValueError("No weights: give --weights, the checkpoint of a trained detector.")
    cfg.MODEL.DEVICE = device or ("cuda" if torch.cuda.is_available() else "cpu")
    detector = TorchPredictor(cfg, weights)
    trained_on = tuple(cfg.DATASETS.TRAIN)
    card = ModelCard(Path(config_file).stem, detector.classes, trained_on=trained_on, result=detector.result)
    return OpenedDetector(detector, card, Path(weights).name, checksum(weights))


def _providers(device: str | None) -> list[str]:
    """What onnxruntime runs on."""
    if device in (None, "cpu"):
        return []
    import onnxruntime

    if device == "cuda" and GPU_PROVIDER in onnxruntime.get_available_providers():
        return [GPU_PROVIDER, "CPUExecutionProvider"]
    raise ValueError(f"--device {device}: with --onnx it is cpu, or cuda where onnxruntime-gpu finds a GPU.")

"""A trained detector as files that run without torch: ONNX, int8 ONNX, safetensors, and their model card."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from ..files import checksum, replacing
from ..modeling.weights import CLASSES
from . import gfl_export, graph  # noqa: F401  importing an exporter registers it
from .card import FORMAT, FORMAT_MARK, ModelCard
from .exporters import exporter_for

MODEL, INT8_MODEL, WEIGHTS, CARD = "model.onnx", "model.int8.onnx", "model.safetensors", "card.json"


def export(
    detector: Any, card: ModelCard, output: Path, *, calibration: Iterable[np.ndarray] | None = None
) -> ModelCard:
    """Write a detector's files into a folder: model.onnx, model.safetensors, card.json, and on demand model.int8.onnx.

    Args:
        detector: with its trained weights.
        card: all but its files.
        output: the folder, made where it does not exist. Files of these names in it are replaced.
        calibration: images (3, H, W) uint8 as the graph takes them, from which the ranges of the int8 model are taken;
            None: no int8 model.

    Returns:
        The card with its files.

    Raises:
        ValueError: the network cannot be written as ONNX, or there is no image to calibrate with.
    """
    exporter = exporter_for(detector)
    network = exporter.network_graph(detector)
    contents = {
        MODEL: exporter.whole_graph(detector, network).SerializeToString(),
        WEIGHTS: save(
            {name: tensor.contiguous().cpu() for name, tensor in detector.state_dict().items()},
            metadata={
                FORMAT_MARK: str(FORMAT),
                "config_hash": str(card.network.get("config_hash", "")),
                CLASSES: json.dumps(card.classes),
            },
        ),
    }
    if calibration is not None:
        from .quantize import quantized

        int8 = quantized(network, _normalised(detector, calibration))
        contents[INT8_MODEL] = exporter.whole_graph(detector, int8).SerializeToString()
    for name, content in contents.items():
        with replacing(output / name) as temporary:
            temporary.write_bytes(content)
    card = replace(card, files={name: checksum(output / name) for name in contents})
    # The card is written last: a folder whose card is there is whole.
    with replacing(output / CARD) as temporary:
        temporary.write_text(card.to_json(), encoding="utf-8")
    return card


def _normalised(detector: Any, images: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    for image in images:
        batch = detector.preprocess_image([{"image": torch.from_numpy(image)}])
        yield {graph.NORMALISED: batch.tensor.contiguous().cpu().numpy()}

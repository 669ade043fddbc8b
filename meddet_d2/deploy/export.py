"""A trained detector as files that run without torch: ONNX, int8 ONNX, safetensors, and their model card."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from tqdm import tqdm

import meddet_d2
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from ..data import MedDetDatasetMapper
from ..distillation import task_of
from ..files import checksum, replacing, write_text
from ..modeling.weights import CLASSES
from ..provenance import provenance_now
from . import gfl_export, graph, heatmap_export  # noqa: F401  importing an exporter registers it
from .card import FORMAT, FORMAT_MARK, ModelCard
from .exporters import exporter_for
from .found import FOUND
from .predictor import Predictor

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

        batches = (detector.preprocess_image([{"image": torch.from_numpy(image)}]) for image in calibration)
        inputs = ({graph.NORMALISED: batch.tensor.contiguous().cpu().numpy()} for batch in batches)
        int8 = quantized(network, inputs)
        contents[INT8_MODEL] = exporter.whole_graph(detector, int8).SerializeToString()
    for name, content in contents.items():
        with replacing(output / name) as temporary:
            temporary.write_bytes(content)
    card = replace(card, files={name: checksum(output / name) for name in contents})
    # The card is written last: a folder whose card is there is whole.
    write_text(output / CARD, card.to_json())
    return card


def student_card(cfg: CfgNode, config_file: str, detector: Any, classes: Sequence[str], config_hash: str) -> ModelCard:
    """The model card of a trained detector, without its files.

    Args:
        cfg: of the detector.
        config_file: its yaml, whose name is kept.
        detector: with its weights.
        classes: their names.
        config_hash: of the config, as the benchmark takes it.
    """
    divisor = max(detector.backbone.size_divisibility, 1)
    nmode, made_by = cfg.MODEL.NMODE, provenance_now()
    return ModelCard(
        name=Path(config_file).stem,
        classes=tuple(classes),
        image={
            "order": cfg.INPUT.FORMAT,
            "min_size": cfg.INPUT.MIN_SIZE_TEST,
            "max_size": cfg.INPUT.MAX_SIZE_TEST,
            "min_side": divisor,
            "mean": list(cfg.MODEL.PIXEL_MEAN),
            "std": list(cfg.MODEL.PIXEL_STD),
            "divisor": divisor,
        },
        thresholds=exporter_for(detector).thresholds(detector),
        network={
            "config": Path(config_file).name,
            "config_hash": config_hash,
            "nmode": {key.lower(): nmode[key] for key in ("KIND", "T_END", "SOLVER")} if nmode.KIND != "none" else None,
            "parameters": sum(parameter.numel() for parameter in detector.parameters()),
        },
        made_by={
            "version": meddet_d2.__version__,
            **{key: made_by[key] for key in ("commit", "sources", "engine", "torch")},
        },
        trained_on=tuple(cfg.DATASETS.TRAIN),
        result=task_of(detector).result,
    )


def calibration_images(cfg: CfgNode, most: int) -> Iterator[np.ndarray]:
    """Training images as the network sees test images, spread evenly over the data set.

    Yields:
        (3, H, W) uint8.

    Raises:
        ValueError: DATASETS.TRAIN is empty.
    """
    if not cfg.DATASETS.TRAIN:
        raise ValueError("--int8 needs images to calibrate with, but DATASETS.TRAIN is empty.")
    records = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    mapper = MedDetDatasetMapper(cfg, is_train=False)
    chosen = np.linspace(0, len(records) - 1, min(most, len(records))).round().astype(int)
    for index in tqdm(chosen, desc="reading images to calibrate with", unit="image"):
        yield mapper(records[index])["image"].numpy()


def largest_difference(detector: Any, predictor: Predictor) -> str:
    """How far an exported network is from torch's on an image of noise, in words: a last look at what was written."""
    side = predictor.card.image["min_size"]
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    found = predictor(image)
    with torch.inference_mode():
        (output,) = detector([{"image": torch.from_numpy(predictor.prepare(image))}])
    expected = FOUND[predictor.result].from_instances(output["instances"].to("cpu"))
    return expected.difference(found)

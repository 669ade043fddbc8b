#!/usr/bin/env python
r"""Write a trained student as files that run without torch and Detectron2.

    python tools/export_model.py --config-file configs/meddet.yaml --weights output/meddet/model_final.pth \
        --output exported --int8

The folder then has model.onnx (normalisation, decoding and NMS inside; any height, width and batch),
model.safetensors, card.json, and with --int8 model.int8.onnx. ``meddet_d2.deploy.Predictor`` runs them with
onnxruntime. ``KEY VALUE`` pairs at the end override the config. docs/deploy.md says the rest.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import meddet_d2
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from meddet_d2.benchmark import provenance_now
from meddet_d2.benchmark.plan import config_hash
from meddet_d2.data import MedDetDatasetMapper, register_datasets
from meddet_d2.deploy import ModelCard, Predictor
from meddet_d2.deploy.export import CARD, MODEL, export
from meddet_d2.deploy.torch_predictor import class_names
from meddet_d2.modeling.weights import load_detector_weights

MISTAKES = (ValueError, OSError, KeyError)


def parse_args(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="the yaml that the student was trained by")
    parser.add_argument("--weights", metavar="FILE", help="its checkpoint (default: MODEL.WEIGHTS of the config)")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="where the files go")
    parser.add_argument("--int8", action="store_true", help="also an int8 model, calibrated on DATASETS.TRAIN")
    parser.add_argument("--calibration-images", type=int, default=64, metavar="N", help="for --int8 (default: 64)")
    parser.add_argument("--force", action="store_true", help="replace the files of an earlier export")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the config")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    if (args.output / CARD).exists() and not args.force:
        raise ValueError(f"{args.output} holds an exported model already; add --force to replace it.")
    if args.calibration_images < 1:
        raise ValueError(f"--calibration-images is {args.calibration_images}; it must be at least 1.")
    cfg = meddet_d2.load_config(args.config_file, args.opts)
    weights = args.weights or cfg.MODEL.WEIGHTS
    if not weights:
        raise ValueError("No weights to export: give --weights, the checkpoint of a trained student.")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BOTTOM_UP.PRETRAINED = False  # the checkpoint has all
    cfg.freeze()
    register_datasets(cfg)
    detector = build_model(cfg).eval()
    load_detector_weights(detector, weights)
    calibration = list(_images(cfg, args.calibration_images)) if args.int8 else None
    print("Writing the network as ONNX: about half a minute.", flush=True)
    card = export(detector, _card(cfg, args.config_file, detector), args.output, calibration=calibration)
    difference = _difference(detector, Predictor(args.output / MODEL))
    print(f"{args.output}: {', '.join([*card.files, CARD])}")
    print(f"On an image of noise, scores differ from torch's by at most {difference:.1e}.")


def _card(cfg, config_file: str, detector: torch.nn.Module) -> ModelCard:
    divisor = max(detector.backbone.size_divisibility, 1)
    nmode = cfg.MODEL.NMODE
    made_by = provenance_now()
    return ModelCard(
        name=Path(config_file).stem,
        classes=class_names(cfg, detector.num_classes),
        image={
            "order": cfg.INPUT.FORMAT,
            "min_size": cfg.INPUT.MIN_SIZE_TEST,
            "max_size": cfg.INPUT.MAX_SIZE_TEST,
            "min_side": divisor,
            "mean": list(cfg.MODEL.PIXEL_MEAN),
            "std": list(cfg.MODEL.PIXEL_STD),
            "divisor": divisor,
        },
        thresholds={
            "score": detector.score_thresh,
            "nms": detector.nms_thresh,
            "topk": detector.topk_candidates,
            "max_detections": detector.max_detections,
        },
        network={
            "config": Path(config_file).name,
            "config_hash": config_hash(cfg),
            "nmode": None
            if nmode.KIND == "none"
            else {"kind": nmode.KIND, "t_end": nmode.T_END, "solver": nmode.SOLVER},
            "parameters": sum(parameter.numel() for parameter in detector.parameters()),
        },
        made_by={
            "version": meddet_d2.__version__,
            **{key: made_by[key] for key in ("commit", "sources", "engine", "torch")},
        },
        trained_on=tuple(cfg.DATASETS.TRAIN),
    )


def _images(cfg, most: int) -> Iterator[np.ndarray]:
    """Training images as the network sees test images, spread evenly over the data set."""
    if not cfg.DATASETS.TRAIN:
        raise ValueError("--int8 needs images to calibrate with, but DATASETS.TRAIN is empty.")
    records = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    mapper = MedDetDatasetMapper(cfg, is_train=False)
    chosen = np.linspace(0, len(records) - 1, min(most, len(records))).round().astype(int)
    for index in tqdm(chosen, desc="reading images to calibrate with", unit="image"):
        yield mapper(records[index])["image"].numpy()


def _difference(detector: torch.nn.Module, predictor: Predictor) -> float:
    """The largest difference of the best scores on noise, as a last look at what was written."""
    side = predictor.card.image["min_size"]
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    found = predictor(image)
    with torch.inference_mode():
        (expected,) = detector([{"image": torch.from_numpy(predictor.prepare(image))}])
    scores = expected["instances"].scores.numpy()
    most = max(len(scores), len(found))
    padded = [np.pad(values, (0, most - len(values))) for values in (scores, found.scores)]
    return float(np.abs(padded[0] - padded[1]).max(initial=0.0))


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    try:
        run(parse_args(arguments))
    except MISTAKES as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

r"""Write a trained student as files that run without torch and Detectron2.

    meddet export --config-file configs/meddet.yaml --weights output/meddet/model_final.pth \
        --output exported --int8

The folder then has model.onnx (normalisation, decoding and NMS inside; any height, width and batch),
model.safetensors, card.json, and with --int8 model.int8.onnx. ``meddet_d2.deploy.Predictor`` runs them with
onnxruntime. ``KEY VALUE`` pairs at the end override the config. docs/how_to/deploy.md says the rest.
"""

import argparse

import meddet_d2

from ..benchmark.plan import config_hash
from ..command import add_config, add_overrides, command_main, new_parser
from ..deploy import Predictor
from ..deploy.export import CARD, MODEL, calibration_images, export, largest_difference, student_card
from ..deploy.torch_predictor import load_detector
from ..files import refuse_existing
from ..places import given_path


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    add_config(parser, required=True, help="the yaml that the student was trained by")
    parser.add_argument("--weights", metavar="FILE", help="its checkpoint (default: MODEL.WEIGHTS of the config)")
    parser.add_argument("--output", required=True, type=given_path, metavar="FOLDER", help="where the files go")
    parser.add_argument("--int8", action="store_true", help="also an int8 model, calibrated on DATASETS.TRAIN")
    parser.add_argument("--calibration-images", type=int, default=64, metavar="N", help="for --int8 (default: 64)")
    parser.add_argument("--force", action="store_true", help="replace the files of an earlier export")
    add_overrides(parser)
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    refuse_existing(args.output, [CARD], force=args.force)
    if args.calibration_images < 1:
        raise ValueError(f"--calibration-images is {args.calibration_images}; it must be at least 1.")
    cfg = meddet_d2.load_config(args.config_file, args.opts)
    weights = args.weights or cfg.MODEL.WEIGHTS
    if not weights:
        raise ValueError("No weights to export: give --weights, the checkpoint of a trained student.")
    cfg.MODEL.DEVICE = "cpu"
    cfg.freeze()
    detector, classes = load_detector(cfg, weights)
    calibration = list(calibration_images(cfg, args.calibration_images)) if args.int8 else None
    print("Writing the network as ONNX: about half a minute.", flush=True)
    card = student_card(cfg, args.config_file, detector, classes, config_hash(cfg))
    card = export(detector, card, args.output, calibration=calibration)
    difference = largest_difference(detector, Predictor(args.output / MODEL))
    print(f"{args.output}: {', '.join([*card.files, CARD])}")
    print(f"On an image of noise, with and without torch, {difference}.")


main = command_main(parse_args, run)

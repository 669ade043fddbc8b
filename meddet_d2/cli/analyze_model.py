"""Parameters and multiply-adds of a config's detector, in all and per part.

    meddet analyze --config-file configs/meddet.yaml
    meddet analyze --config-file configs/backbones/gfl_r50.yaml --size 640 --json

KEY VALUE pairs at the end override the config. With --json, standard output is one json object. It has params, macs
(convolution and linear layers only), macs_mmcv (as mmcv and papers count) and size. Under "parts" are the same figures
for bottom_up, fpn and head. Teachers are no part of a student and are not counted.
"""

import argparse
import contextlib
import json
import logging
import sys

import meddet_d2
from detectron2.modeling import build_model

from ..command import add_config, add_overrides, command_main, new_parser
from ..evaluation.complexity import count, format_table


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    add_config(parser, required=True, help="a yaml file of configs/")
    parser.add_argument("--size", type=int, default=512, help="height and width of the image in pixels (default: 512)")
    parser.add_argument(
        "--json", action="store_true", help="print one json object, in single parameters and multiply-adds"
    )
    add_overrides(parser)
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s: %(message)s")
    cfg = meddet_d2.load_config(args.config_file, args.opts)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.BOTTOM_UP.PRETRAINED = False  # the values do not matter
    # Whatever a library prints belongs beside the result and not into it.
    with contextlib.redirect_stdout(sys.stderr):
        figures = {"size": args.size, **count(build_model(cfg), args.size, args.size)}
    if args.json:
        print(json.dumps(figures))
    else:
        print(f"{args.config_file}, one image of {args.size} x {args.size} pixels")
        print(format_table(figures))


main = command_main(parse_args, run)

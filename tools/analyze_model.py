#!/usr/bin/env python
"""Parameters and multiply-adds of a config's detector, in all and per part.

    python tools/analyze_model.py --config-file configs/meddet.yaml
    python tools/analyze_model.py --config-file configs/backbones/gfl_r50.yaml --size 640 --json

``KEY VALUE`` pairs at the end override the config. With ``--json``, standard output is one json object: params, macs
(convolution and linear layers only), macs_mmcv (as mmcv counts, which is how papers do), size, and under
"parts" the same figures for bottom_up, fpn and head. Teachers are no part of a student and are not counted.
"""

import argparse
import contextlib
import json
import logging
import sys

import meddet_d2
from detectron2.modeling import build_model
from meddet_d2.evaluation.complexity import count, format_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="a yaml file of configs/")
    parser.add_argument("--size", type=int, default=512, help="height and width of the image in pixels (default: 512)")
    parser.add_argument(
        "--json", action="store_true", help="print one json object, in single parameters and multiply-adds"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the config")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s: %(message)s")
    try:
        cfg = meddet_d2.load_config(args.config_file, args.opts)
        cfg.MODEL.DEVICE = "cpu"
        cfg.MODEL.BOTTOM_UP.PRETRAINED = False  # the values do not matter
        # Whatever a library prints belongs beside the result and not into it.
        with contextlib.redirect_stdout(sys.stderr):
            figures = {"size": args.size, **count(build_model(cfg), args.size, args.size)}
    except (ValueError, FileNotFoundError, KeyError) as error:
        sys.exit(f"error: {error.args[0] if error.args else error}")
    if args.json:
        print(json.dumps(figures))
    else:
        print(f"{args.config_file}, one image of {args.size} x {args.size} pixels")
        print(format_table(figures))


if __name__ == "__main__":
    main()

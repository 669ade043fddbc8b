"""A page in your browser to try a detector: drop an image, a DICOM or a NIfTI file on it and see the reading.

    meddet web --onnx exported/model.onnx
    meddet web --config-file configs/meddet.yaml --weights output/meddet/model_final.pth

It is served to this machine alone (http://127.0.0.1:7860) and asks no other host for anything. ``--onnx`` needs no
torch. Research use only. docs/how_to/web_app.md says the rest.
"""

import argparse
import threading
from contextlib import suppress
from importlib.util import find_spec

from ..command import add_config, add_overrides, command_main, new_parser
from ..deploy.opened_detector import open_detector
from ..deploy.web_server import free_port, upload_folder, warn
from ..places import given_path

LOOPBACK = "127.0.0.1"


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--onnx", type=given_path, metavar="FILE", help="a model.onnx of meddet export")
    add_config(model, help="the yaml that the detector was trained by; needs torch")
    parser.add_argument("--weights", metavar="FILE", help="its checkpoint (default: MODEL.WEIGHTS of the config)")
    parser.add_argument("--port", type=int, default=7860, help="0 takes any free one (default: 7860)")
    parser.add_argument("--host", default=LOOPBACK, help=f"address to serve at (default: {LOOPBACK}: this machine)")
    add_overrides(parser)
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    if find_spec("gradio") is None:
        raise ImportError('The page needs Gradio: pip install -c constraints.txt -e ".[web]"')
    port = free_port(args.host, args.port)
    opened = open_detector(args.onnx, args.config_file, args.weights, args.opts)
    warn(args.host)
    with upload_folder() as uploads:
        # Not before: Gradio reads the environment when it is imported.
        from meddet_d2.deploy import web

        app = web.build_app(opened.detector, opened.card, uploads)
        try:
            address = web.launch(app, uploads, host=args.host, port=port)
            print(f"{opened.card.name}: {address} (Ctrl-C ends it)", flush=True)
            threading.Event().wait()
        finally:
            app.close(verbose=False)


def serve(args: argparse.Namespace) -> None:
    """:func:`run` until Ctrl-C, which is how it ends."""
    with suppress(KeyboardInterrupt):
        run(args)


main = command_main(parse_args, serve)

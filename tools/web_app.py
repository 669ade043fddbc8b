#!/usr/bin/env python
"""A page in your browser to try a detector: drop an image, a DICOM or a NIfTI file on it and see the reading.

    python tools/web_app.py --onnx exported/model.onnx
    python tools/web_app.py --config-file configs/meddet.yaml --weights output/meddet/model_final.pth

It is served to this machine alone (http://127.0.0.1:7860) and asks no other host for anything. ``--onnx`` needs no
torch. Research use only. docs/web_app.md says the rest.
"""

import argparse
import errno
import ipaddress
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import meddet_d2
from meddet_d2.deploy import ModelCard, Predictor

MISTAKES = (ValueError, OSError, KeyError, ImportError)
LOOPBACK = "127.0.0.1"


def parse_args(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--onnx", type=Path, metavar="FILE", help="a model.onnx of tools/export_model.py")
    model.add_argument("--config-file", metavar="FILE", help="the yaml that the detector was trained by; needs torch")
    parser.add_argument("--weights", metavar="FILE", help="its checkpoint (default: MODEL.WEIGHTS of the config)")
    parser.add_argument("--port", type=int, default=7860, help="0 takes any free one (default: 7860)")
    parser.add_argument("--host", default=LOOPBACK, help=f"address to serve at (default: {LOOPBACK}: this machine)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the config")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    if find_spec("gradio") is None:
        raise ImportError('The page needs Gradio: pip install -c constraints.txt -e ".[web]"')
    if args.onnx and (args.weights or args.opts):
        raise ValueError("--onnx is a whole model; --weights and KEY VALUE pairs go with --config-file.")
    port = free_port(args.host, args.port)
    detector, card = load(args)
    warn(args.host)
    with upload_folder():
        # Not before: Gradio reads the environment when it is imported.
        from meddet_d2.deploy import web

        app = web.build_app(detector, name=card.name, card=card)
        try:
            address = web.launch(app, host=args.host, port=port)
            print(f"{card.name}: {address} (Ctrl-C ends it)", flush=True)
            threading.Event().wait()
        finally:
            app.close(verbose=False)


def load(args: argparse.Namespace) -> tuple[Predictor, ModelCard]:
    """The detector and what is known of it."""
    if args.onnx:
        detector = Predictor(args.onnx)
        return detector, detector.card
    if find_spec("torch") is None:
        raise ImportError("--config-file needs torch, which is not installed; export the detector and give --onnx.")
    from meddet_d2.deploy.torch_predictor import TorchPredictor

    cfg = meddet_d2.load_config(args.config_file, args.opts)
    weights = args.weights or cfg.MODEL.WEIGHTS
    if not weights:
        raise ValueError("No weights: give --weights, the checkpoint of a trained detector.")
    detector = TorchPredictor(cfg, weights)
    about = {"image": {}, "thresholds": {}, "network": {}, "made_by": {}}
    card = ModelCard(Path(args.config_file).stem, detector.classes, trained_on=tuple(cfg.DATASETS.TRAIN), **about)
    return detector, card


def free_port(host: str, port: int) -> int:
    """The port, if it can be served at; Gradio would only say that it found none.

    Raises:
        OSError: there is no such host, it is another machine's, or the port is taken or not allowed. One line.
        ValueError: the port is no port.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"--port is {port}; it must be in 0..65535.")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise OSError(f"--host {host}: there is no such host ({error}).") from error
    with socket.socket(family, kind) as probe:
        # As the server does: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            reasons = {
                errno.EADDRINUSE: f"port {port} is in use; choose another with --port",
                errno.EADDRNOTAVAIL: "that is no address of this machine",
                errno.EACCES: f"port {port} is not allowed for this user; choose one above 1023 with --port",
            }
            raise OSError(f"{host}: {reasons.get(error.errno, error.strerror)}.") from error
        return probe.getsockname()[1]


def warn(host: str) -> None:
    """Say what it means to serve at an address that other machines reach."""
    if not is_loopback(host):
        print(
            f"warning: other machines can reach {host}. Patients' images would travel over the network without"
            " encryption, and anyone there may use the page; docs/web_app.md says what to do instead.",
            file=sys.stderr,
        )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def upload_folder() -> Iterator[Path]:
    """A folder for uploads that this user alone can read, gone at the end; and Gradio's settings, whatever was set."""
    folder = Path(tempfile.mkdtemp(prefix="meddet_web_"))
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        # Among them are switches to share the page with the world and to serve more folders.
        del os.environ[name]
    os.environ.update(
        GRADIO_TEMP_DIR=str(folder),
        GRADIO_ANALYTICS_ENABLED="False",
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        # Gradio looks whether it can reach its own page; a proxy for the outside would be asked for that.
        NO_PROXY="*",
        no_proxy="*",
    )
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _interrupt(number, frame) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    # As Ctrl-C: the folder of uploads is deleted.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        run(parse_args(arguments))
    except KeyboardInterrupt:
        return 0
    except MISTAKES as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

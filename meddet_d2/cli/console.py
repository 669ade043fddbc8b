"""``meddet COMMAND ...``, also ``python -m meddet_d2 COMMAND ...``: all of the project's commands."""

import importlib
import sys
from collections.abc import Sequence

import meddet_d2

from ..command import new_parser

# Command -> its module, which is imported when it is called, and what it does.
COMMANDS = {
    "train": ("meddet_d2.cli.train_net", "train, distil or evaluate a detector"),
    "evaluate": ("meddet_d2.cli.evaluate", "write a clinician's page on how well a detector reads"),
    "predict": ("meddet_d2.cli.predict", "find discs on pictures, DICOM series and NIfTI volumes"),
    "export": ("meddet_d2.cli.export_model", "write a trained detector as ONNX, which runs without torch"),
    "web": ("meddet_d2.cli.web_app", "try a detector in the browser"),
    "prepare": ("meddet_d2.cli.prepare", "make a data set from images and annotations, or from SPIDER"),
    "check-data": ("meddet_d2.cli.check_data", "look for mistakes in a data set"),
    "benchmark": ("meddet_d2.cli.benchmark", "train and evaluate a table of configs"),
    "analyze": ("meddet_d2.cli.analyze_model", "count a detector's parameters and multiply-adds"),
    "convert-weights": ("meddet_d2.cli.convert_weights", "convert a .pkl of weights to safetensors"),
    "env": ("meddet_d2.env", "print engine, versions, hardware and paths for a bug report"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items())
    parser = new_parser(f"commands:\n{listed}\n\nmeddet COMMAND --help says more.", "meddet", plugins=False)
    parser.add_argument("--version", action="version", version=f"meddet_d2 {meddet_d2.__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    args = parser.parse_args(given[:1])
    return importlib.import_module(COMMANDS[args.command][0]).main(given[1:], prog=f"meddet {args.command}")

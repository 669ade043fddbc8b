"""Make a data set in the layout of CDH-1848, or of landmarks.

meddet prepare images IMAGES --annotations A --format labelme
meddet prepare spider SPIDER
meddet prepare landmarks hand FOLDER
"""

import argparse
import importlib
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..command import command_main, new_parser
from ..curation.preparation.omissions import Findings
from ..layout.data_set import CDH_CLASSES
from ..places import datasets_root, given_path

# What a data set can be made from -> its module.
SOURCES = {
    "images": "meddet_d2.cli.prepare_images",
    "spider": "meddet_d2.cli.prepare_spider",
    "landmarks": "meddet_d2.cli.prepare_landmarks",
}
# Data sets that data/builtin.py registers, by the name of their folder: their splits and classes.
REGISTERED = {"cdh1848": (("train", "test"), CDH_CLASSES), "spider_lumbar": (("train", "val"), CDH_CLASSES)}


def add_common_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Options that all scripts have; ``name`` is the data set's, one of REGISTERED or another."""
    option = parser.add_argument
    place, splits = f"$DETECTRON2_DATASETS/{name}", " and ".join(_two_splits(name))
    share = f"of the patients: {splits}, or train, val and test (default: 0.8 0.2)"
    option("--output", type=given_path, metavar="FOLDER", help=f"the data set's folder (default: {place})")
    option("--split", type=float, nargs="+", metavar="FRACTION", help=share)
    option("--seed", type=int, default=1848, metavar="N", help="of the split (default: 1848)")
    option("--strict", action="store_true", help="write nothing if anything must be left out")
    option("--verbose", action="store_true", help="name everything that is left out, not 20 of a kind")
    option("--force", action="store_true", help="replace what was prepared before")
    parser.set_defaults(data_set=name)


def _two_splits(name: str) -> tuple[str, ...]:
    return REGISTERED.get(name, (("train", "test"), ()))[0]


def fractions_of(arguments: argparse.Namespace) -> dict[str, float]:
    """The fractions of --split by the names of their splits; of two those of REGISTERED.

    Raises:
        ValueError: there are neither two nor three, one is not greater than 0, or their sum is not 1.
    """
    fractions = arguments.split or [0.8, 0.2]
    shown = " ".join(f"{value:g}" for value in fractions)
    if len(fractions) not in (2, 3) or not min(fractions) > 0 or not abs(sum(fractions) - 1) < 0.001:
        raise ValueError(f"--split {shown}: give two or three fractions, greater than 0, that add up to 1.")
    if not 0 <= arguments.seed < 2**32:
        raise ValueError(f"--seed {arguments.seed}: give a whole number from 0 to {2**32 - 1}.")
    splits = _two_splits(arguments.data_set) if len(fractions) == 2 else ("train", "val", "test")
    return dict(zip(splits, fractions, strict=True))


def summarize(
    output: Path,
    numbers: Mapping[str, Mapping[str, int]],
    classes: Sequence[str],
    *,
    what: str = "classes",
    config: str = "configs/backbones/gfl_mobilenetv2.yaml",
) -> None:
    """Print what was made, of which ``what`` are named, and the next commands to type."""
    print(f"{output}:\n  {what}: {', '.join(classes)}")
    for split, of in numbers.items():
        print(f"  {split}.json: " + ", ".join(f"{count} {what}" for what, count in of.items()))
    print(f"Next:\n  meddet check-data {shlex.quote(str(output))}")
    known = REGISTERED.get(output.name, ((), ()))[0]
    root = output.absolute().parent
    environment = register = ""
    if known and set(known) <= set(numbers):
        train, test = (f"{output.name}_{split}" for split in known)
        if root != datasets_root().absolute():
            environment = f"DETECTRON2_DATASETS={shlex.quote(str(root))} "
    elif len(numbers) > 1:
        jsons = {f"my_{output.name}_{split}": root / output.name / f"{split}.json" for split in numbers}
        train, *_, test = jsons
        entries = str(tuple(f"{name}={path}" for name, path in jsons.items() if name in (train, test)))
        quoted = shlex.quote(entries) if set(entries) & set('"$`\\') else f'"{entries}"'
        register = f"DATASETS.REGISTER {quoted} "
    else:
        print("To train on it, register it under a name of your own: docs/how_to/your_data.md.")
        return
    print(
        f"  {environment}meddet train --config-file {config} "
        f"{register}DATASETS.TRAIN \"('{train}',)\" DATASETS.TEST \"('{test}',)\""
    )


def preparation_main(
    parse_args: Callable[..., argparse.Namespace], run: Callable[[argparse.Namespace, Findings], None]
) -> Callable[..., int]:
    """The ``main`` of a preparation. All that was found is named on stderr, also before a mistake.

    Args:
        parse_args: its options are those of `add_common_arguments` and others.
        run: of its arguments "output" is filled in, and "fractions" are those of `fractions_of`.
    """

    def work(args: argparse.Namespace) -> None:
        args.output = args.output or datasets_root() / args.data_set
        args.fractions, findings = fractions_of(args), Findings()
        try:
            run(args, findings)
        finally:
            for line in findings.lines(verbose=args.verbose):
                print(line, file=sys.stderr)

    return command_main(parse_args, work)


def main(arguments: list[str], prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = new_parser(__doc__, prog, plugins=False)
    parser.add_argument("source", choices=SOURCES, help="what from; each has a --help")
    source = parser.parse_args(arguments[:1]).source
    return importlib.import_module(SOURCES[source]).main(arguments[1:], f"{parser.prog} {source}")

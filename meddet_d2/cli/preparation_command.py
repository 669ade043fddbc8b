"""What the scripts that prepare data have in common: options, the summary, and mistakes in one line."""

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..command import guarded
from ..curation.preparation.omissions import Findings
from ..layout.data_set import CDH_CLASSES
from ..places import datasets_root, given_path

# Data sets that data/builtin.py registers, by the name of their folder: their splits and classes.
REGISTERED = {"cdh1848": (("train", "test"), CDH_CLASSES), "spider_lumbar": (("train", "val"), CDH_CLASSES)}


def add_common_arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """Options that all scripts have; ``name`` is the data set's, one of REGISTERED."""
    parser.add_argument(
        "--output",
        type=given_path,
        metavar="FOLDER",
        help=f"the data set's folder (default: $DETECTRON2_DATASETS/{name})",
    )
    parser.add_argument(
        "--split",
        type=float,
        nargs="+",
        metavar="FRACTION",
        help=f"of the patients: {' and '.join(REGISTERED[name][0])}, or train, val and test (default: 0.8 0.2)",
    )
    parser.add_argument("--seed", type=int, default=1848, metavar="N", help="of the split (default: 1848)")
    parser.add_argument("--strict", action="store_true", help="write nothing if anything must be left out")
    parser.add_argument("--verbose", action="store_true", help="name everything that is left out, not 20 of a kind")
    parser.add_argument("--force", action="store_true", help="replace what was prepared before")


def fractions_of(arguments: argparse.Namespace, name: str) -> dict[str, float]:
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
    splits = REGISTERED[name][0] if len(fractions) == 2 else ("train", "val", "test")
    return dict(zip(splits, fractions, strict=True))


def summarize(output: Path, numbers: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> None:
    """Print what was made and the next commands to type."""
    print(f"{output}:\n  classes: {', '.join(classes)}")
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
        f"  {environment}meddet train --config-file configs/backbones/gfl_mobilenetv2.yaml "
        f"{register}DATASETS.TRAIN \"('{train}',)\" DATASETS.TEST \"('{test}',)\""
    )


def prepare(work: Callable[[Findings], object], args: argparse.Namespace) -> int:
    """Run a preparation, name on stderr all that was found, also before a mistake; returns the exit status."""
    findings = Findings()

    def named() -> None:
        try:
            work(findings)
        finally:
            for line in findings.lines(verbose=args.verbose):
                print(line, file=sys.stderr)

    return guarded(named, plugins=args.plugin)

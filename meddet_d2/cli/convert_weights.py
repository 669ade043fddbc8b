"""Convert a .pkl of weights, such as Detectron2's model zoo has, to safetensors, without running what it may hold.

    meddet convert-weights R-50.pkl R-50.safetensors

A pickle is a program. This reads only those that build numpy arrays and Python's own containers, numbers and texts, and
refuses any other before it does anything. Names stay as they are; the optimizer's momenta are left out.
"""

import argparse

from safetensors.numpy import save_file

from ..command import command_main, new_parser
from ..files import replacing
from ..modeling.pickled_arrays import read_arrays
from ..places import given_path


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    parser.add_argument("input", type=given_path, metavar="PKL", help="the pickle of arrays")
    parser.add_argument("output", type=given_path, metavar="SAFETENSORS", help="where the weights go, *.safetensors")
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    if args.output.suffix != ".safetensors":
        raise ValueError(f"{args.output} must end in .safetensors.")
    if args.output.exists() and not args.force:
        raise ValueError(f"{args.output} exists; add --force to replace it.")
    weights = read_arrays(args.input)
    with replacing(args.output) as temporary:
        save_file(weights, temporary)
    print(f"{args.output}: {len(weights)} arrays, {sum(value.size for value in weights.values()):,} numbers")


main = command_main(parse_args, run)

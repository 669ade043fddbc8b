"""Make a data set in the layout of CDH-1848 from the public SPIDER release: lumbar discs, herniated or not.

    meddet prepare spider SPIDER
    meddet prepare spider SPIDER --sequences t2 --slices central --official-split

SPIDER is the folder with images/, masks/, radiological_gradings.csv and overview.csv of Zenodo 10159290 (CC BY 4.0).
Needs the extra "noise" (torchio reads .mha). The result is lumbar: no figure on it is a figure on CDH-1848.
docs/how_to/your_data.md says the rest.
"""

import argparse

from tqdm import tqdm

from ..command import new_parser
from ..curation.preparation.assembly import assemble, check_output
from ..curation.preparation.omissions import Findings
from ..curation.preparation.spider import (
    GRADINGS,
    OVERVIEW,
    SEQUENCES,
    find_volumes,
    read_gradings,
    read_official_split,
    write_slices,
)
from ..curation.preparation.split import draw_split, follow_split
from ..formats.metaimage import load_torchio
from ..layout.data_set import CDH_CLASSES
from ..layout.data_set_writer import Record, new_folder
from ..places import given_path
from .prepare import add_common_arguments, preparation_main, summarize


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    parser.add_argument("release", type=given_path, metavar="SPIDER", help="the folder of the release")
    parser.add_argument(
        "--sequences", nargs="+", choices=SEQUENCES, default=SEQUENCES, help="which volumes (default: all)"
    )
    parser.add_argument(
        "--slices",
        choices=("middle", "central"),
        default="middle",
        help="of each volume: the one through the middle of the discs, or all within 10 mm of it (default: middle)",
    )
    parser.add_argument("--official-split", action="store_true", help=f"follow {OVERVIEW}, in place of --split")
    add_common_arguments(parser, "spider_lumbar")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace, findings: Findings) -> None:
    if args.official_split and args.split:
        raise ValueError("--split and --official-split exclude each other; give one of them.")
    check_output(args.output, [args.release], force=args.force)
    load_torchio()
    volumes = find_volumes(args.release, tuple(args.sequences), findings)
    gradings = read_gradings(args.release / GRADINGS, findings)
    official = read_official_split(args.release / OVERVIEW) if args.official_split else None
    with new_folder(args.output, replace=True) as folder:
        records: list[Record] = []
        for volume in tqdm(volumes, desc="reading volumes", unit="volume", disable=None):
            records += write_slices(volume, gradings, folder, findings, central=args.slices == "central")
        if official is not None:
            said = {f"spider_{patient:03d}": splits for patient, splits in official.items()}
            splits = follow_split(records, said, findings)
        else:
            splits = draw_split(records, args.fractions, args.seed, findings)
        numbers = assemble(
            folder,
            records,
            splits,
            CDH_CLASSES,
            description="SPIDER (van der Graaf et al. 2024, doi 10.1038/s41597-024-03090-w, CC BY 4.0), lumbar, "
            "sagittal slices and disc boxes made by datasets/prepare_spider.py; not CDH-1848",
            made_by="datasets/prepare_spider.py",
            settings={
                "sequences": list(args.sequences),
                "slices": args.slices,
                "split_by": OVERVIEW if args.official_split else {"fractions": args.fractions, "seed": args.seed},
            },
            findings=findings,
            strict=args.strict,
        )
    summarize(args.output, numbers, CDH_CLASSES)


main = preparation_main(parse_args, run)

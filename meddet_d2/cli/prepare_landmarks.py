"""Make a landmark set from a public one: hands, skulls, spines.

    meddet prepare landmarks hand FOLDER --table all.csv
    meddet prepare landmarks cephalograms FOLDER --doctor senior
    meddet prepare landmarks aasce boostnet_labeldata
    meddet prepare landmarks csxa FOLDER --pixel-size pixel_sizes.csv
    meddet prepare landmarks discs datasets/spider_lumbar --levels L3/4 L4/5 L5/S1

FOLDER has the pictures and their points as the public set has them. A release's own split is followed unless --split is
given. Images become grey PNG files without metadata. docs/how_to/your_data.md says the rest.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from ..command import new_parser
from ..curation.landmarks.aasce import read_aasce
from ..curation.landmarks.cephalograms import DOCTORS, read_cephalograms
from ..curation.landmarks.csxa import read_csxa
from ..curation.landmarks.disc_centres import LUMBAR, read_disc_centres
from ..curation.landmarks.hand_atlas import WRISTS, read_hand_atlas
from ..curation.landmarks.point_images import PointImage, PointSet, write_images
from ..curation.preparation.assembly import assemble, check_output
from ..curation.preparation.omissions import Findings
from ..curation.preparation.split import draw_split, follow_list, follow_split
from ..files import read_text
from ..layout.data_set_writer import Record, new_folder
from ..places import given_path
from .prepare import add_common_arguments, preparation_main, summarize

# By source: its reader, and those of the options that it takes.
READERS: dict[str, tuple[Callable[..., PointSet], Sequence[str]]] = {
    "hand": (read_hand_atlas, ("table", "wrist")),
    "cephalograms": (read_cephalograms, ("doctor",)),
    "aasce": (read_aasce, ()),
    "csxa": (read_csxa, ("pixel_size",)),
    "discs": (read_disc_centres, ("levels", "from_below")),
}

# Options that may be paths, which a data set does not repeat.
FILES = ("table", "pixel_size")


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    option = parser.add_argument
    option("source", choices=READERS, help="which public set it is; discs: boxes around discs in this project's layout")
    option("folder", type=given_path, metavar="FOLDER", help="where it lies")
    option("--table", type=given_path, metavar="CSV", help="hand: the points (default: all.csv in FOLDER)")
    option("--wrist", choices=WRISTS, help="hand: the landmarks, from 0, that are 50 mm apart (default: 1-5)")
    option("--doctor", choices=DOCTORS, help="cephalograms: whose points (default: mean, the middle of both)")
    option("--pixel-size", metavar="MM_OR_CSV", help="csxa: of all images, or a table with the columns image and mm")
    option("--levels", nargs="+", metavar="LEVEL", help=f"discs: from above (default: {' '.join(LUMBAR)})")
    option("--from-below", action="store_true", default=None, help="discs: boxes have no level; the lowest is the last")
    option("--test-list", type=given_path, metavar="FILE", help="an id a line; all others are to train")
    add_common_arguments(parser, "landmarks")
    args = parser.parse_args(arguments)
    args.data_set = f"{args.source}_landmarks"
    for name in sorted({name for _, names in READERS.values() for name in names}):
        if getattr(args, name) is not None and name not in READERS[args.source][1]:
            parser.error(f"--{name.replace('_', '-')} is not an option of {args.source}.")
    return args


def run(args: argparse.Namespace, findings: Findings) -> None:
    if args.split and args.test_list:
        raise ValueError("--split and --test-list exclude each other; give one of them.")
    check_output(args.output, [args.folder], force=args.force)
    reader, names = READERS[args.source]
    options = {name: value for name in names if (value := getattr(args, name)) is not None}
    points = reader(args.folder, findings, **options)
    with new_folder(args.output, replace=True) as folder:
        records = write_images(points.images, folder, points.landmarks, findings)
        numbers = assemble(
            folder,
            records,
            _splits(args, points.images, records, findings),
            points.landmarks,
            description=points.description,
            made_by="datasets/prepare_landmarks.py",
            settings={
                "source": args.source,
                **{name: str(value) for name, value in options.items() if name != "table"},
            },
            findings=findings,
            strict=args.strict,
        )
    summarize(args.output, numbers, points.landmarks.names, what="landmarks", config="CONFIG")


def _splits(
    args: argparse.Namespace, images: Sequence[PointImage], records: list[Record], findings: Findings
) -> dict[str, str]:
    """By --test-list, --split, the release's own split, or drawn, in this order."""
    if args.test_list:
        listed = [line.strip() for line in read_text(args.test_list).splitlines() if line.strip()]
        by_stem = {Path(record.source).stem: record.patient for record in records}
        return follow_list(records, {by_stem.get(text, text): text for text in listed}, findings)
    said: dict[str, set[str]] = {}
    for image in images:
        if image.split:
            said.setdefault(image.patient or image.name, set()).add(image.split)
    if said and not args.split:
        return follow_split(records, said, findings)
    return draw_split(records, args.fractions, args.seed, findings)


main = preparation_main(parse_args, run)

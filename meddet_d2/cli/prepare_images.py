r"""Make a data set from your images and the annotations of a labelling tool.

    meddet prepare images IMAGES --annotations A --format labelme
    meddet prepare images IMAGES --annotations A.xml --format cvat --patients table.csv
    meddet prepare images IMAGES --annotations LABELS --format yolo --patient-folder 1 \
        --classes "herniation=protrusion" "normal=non-protrusion"
    meddet prepare images IMAGES --annotations A --format coco --output datasets/chest --classes mass "Cyste=cyst"
    meddet prepare images IMAGES --annotations A.json --format coco --split 0.7 0.1 0.2 --key ~/key.csv

    meddet prepare images IMAGES --annotations A --format labelme --output datasets/hips --landmarks "head" "apex"

IMAGES holds DICOM, NIfTI, PNG, JPEG or TIFF files. The folder cdh1848 (the default) gets CDH-1848's two classes; any
other --output gets the classes of your labels, or those of --classes. With --landmarks, points become a landmark set
(LabelMe's, CVAT's, COCO's key points, 3D Slicer's .mrk.json). What comes out has pseudonyms for names and no
metadata; only the file of --key, if you ask for one, says who is who. docs/how_to/your_data.md says the rest.
"""

import argparse
import re
from contextlib import nullcontext
from pathlib import Path

from ..command import new_parser
from ..curation.preparation.annotation_files import FORMATS, POINT_FORMATS, read_annotations
from ..curation.preparation.assembly import assemble, check_output, write_key
from ..curation.preparation.classes import ClassMap
from ..curation.preparation.image_folder import prepare_images
from ..curation.preparation.image_index import find_images
from ..curation.preparation.omissions import Findings
from ..curation.preparation.ownership import Owners
from ..curation.preparation.split import draw_split, follow_list, follow_split
from ..curation.preparation.table import read_table
from ..files import check_key, new_table, read_text
from ..formats import Pseudonyms
from ..layout.data_set_writer import new_folder
from ..layout.landmarks import LandmarkNames
from ..places import given_path
from .prepare import REGISTERED, add_common_arguments, preparation_main, summarize


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    option = parser.add_argument
    option("images", type=given_path, metavar="IMAGES", help="the folder of images; folders in it are walked")
    option("--annotations", required=True, type=given_path, metavar="A", help="their file, or their folder")
    option("--format", required=True, choices=[*FORMATS, *POINT_FORMATS], help="of the annotations")
    option("--class-names", type=given_path, metavar="FILE", help="YOLO's names: data.yaml, or one name a line")
    option(
        "--classes",
        nargs="+",
        default=[],
        metavar="CLASS",
        help="classes in the order of their ids; LABEL=CLASS renames or joins labels (default: the labels)",
    )
    option(
        "--landmarks",
        nargs="+",
        default=[],
        metavar="NAME",
        help="make a landmark set: the landmarks in their order; LABEL=NAME renames a label",
    )
    option("--ignore-label", action="append", default=[], metavar="LABEL", help="leave its shapes out; may be repeated")
    option(
        "--healthy-without-annotation",
        action="store_true",
        help="keep images that no annotation names as healthy ones (default: they are left out)",
    )
    owner = parser.add_mutually_exclusive_group()
    owner.add_argument("--patients", type=given_path, metavar="CSV", help="a table that says whose an image is")
    owner.add_argument("--patient-folder", type=int, metavar="N", help="the N-th folder below IMAGES is the patient")
    owner.add_argument("--patient-pattern", metavar="REGEX", help="its first group, in the path, is the patient")
    option("--patient-column", default="patient", metavar="NAME", help="of the table (default: patient)")
    option("--image-column", default="image", metavar="NAME", help="of the table (default: image)")
    add_common_arguments(parser, "cdh1848")
    option("--split-column", metavar="NAME", help="of the table: train, val or test, in place of --split")
    option("--test-patients", type=given_path, metavar="FILE", help="a patient a line; all others are to train")
    option("--key", type=given_path, metavar="FILE", help="write there who is who: keep it secret")
    return parser.parse_args(arguments)


def run(args: argparse.Namespace, findings: Findings) -> None:
    _check_landmarks(args)
    option, named = ("--landmarks", args.landmarks) if args.landmarks else ("--classes", args.classes)
    classes = ClassMap(named, args.ignore_label, REGISTERED.get(args.output.name, ((), ()))[1], option)
    pattern = _pattern(args)
    check_output(args.output, [args.images, args.annotations], force=args.force)
    if args.key:
        check_key(args.key, args.output, force=args.force)
    listed = _listed(args.test_patients)
    pseudonyms = Pseudonyms.load()
    key_file = new_table(args.key, mode=0o600) if args.key else nullcontext()
    with key_file as key, new_folder(args.output, replace=True) as folder:
        index = find_images(args.images, findings)
        annotations = read_annotations(args.annotations, args.format, findings, names_file=args.class_names)
        columns = args.patient_column, args.image_column, args.split_column
        table = read_table(args.patients, index, findings, columns) if args.patients else None
        owners = Owners(args.images, pseudonyms, table, args.patient_folder, pattern)
        healthy = args.healthy_without_annotation
        records = prepare_images(
            index, annotations, classes, owners, folder, findings, healthy=healthy, landmarks=bool(args.landmarks)
        )
        if listed:
            splits = follow_list(records, {owners.named(text): text for text in listed}, findings)
        elif args.split_column:
            splits = follow_split(records, owners.said_splits(records), findings)
        else:
            splits = draw_split(records, args.fractions, args.seed, findings)
        numbers = assemble(
            folder,
            records,
            splits,
            LandmarkNames("landmarks", classes.classes) if args.landmarks else classes.classes,
            description="Prepared from labelled images by datasets/prepare_images.py",
            made_by="datasets/prepare_images.py",
            settings=_account(args),
            findings=findings,
            strict=args.strict,
        )
        if key is not None:
            write_key(key, [record for record in records if record.patient in splits])
    if args.landmarks:
        summarize(args.output, numbers, classes.classes, what="landmarks", config="CONFIG")
    else:
        summarize(args.output, numbers, classes.classes)


def _check_landmarks(args: argparse.Namespace) -> None:
    """Refuse what does not go with --landmarks."""
    if not args.landmarks and args.format in POINT_FORMATS:
        raise ValueError(f"--format {args.format} has points alone; name the landmarks by --landmarks.")
    if not args.landmarks:
        return
    if args.classes or args.healthy_without_annotation:
        other = "--classes" if args.classes else "--healthy-without-annotation"
        raise ValueError(f"--landmarks and {other} exclude each other; a data set has landmarks or boxes.")
    if args.format in ("voc", "yolo"):
        raise ValueError(f"--landmarks: {args.format} has no points; take labelme, cvat, coco or slicer.")
    if args.output.name in REGISTERED:
        raise ValueError(f"--landmarks: {args.output.name} is a data set of boxes; choose another --output.")


def _pattern(args: argparse.Namespace) -> re.Pattern | None:
    """The pattern of --patient-pattern, after a look at options that exclude or need each other."""
    if args.split_column and not args.patients:
        raise ValueError("--split-column is a column of the table of --patients; give both.")
    if sum(map(bool, (args.split, args.split_column, args.test_patients))) > 1:
        raise ValueError("--split, --split-column and --test-patients exclude each other; give one of them.")
    if args.patient_folder is not None and args.patient_folder < 1:
        raise ValueError(f"--patient-folder {args.patient_folder}: folders are counted from 1.")
    try:
        return re.compile(args.patient_pattern) if args.patient_pattern else None
    except re.error as error:
        raise ValueError(f"--patient-pattern {args.patient_pattern!r} is no regular expression ({error}).") from error


def _listed(path: Path | None) -> list[str]:
    try:
        lines = read_text(path).splitlines() if path else []
    except ValueError as error:
        raise ValueError(f"{path}: {error}.") from error
    listed = [line.strip() for line in lines if line.strip()]
    if path and not listed:
        raise ValueError(f"{path}: names no patient; write one a line.")
    return listed


def _account(args: argparse.Namespace) -> dict:
    """What shaped the data set, without a path, a label or a name in it."""
    sources = {"table": args.patients, "folder": args.patient_folder, "pattern": args.patient_pattern}
    drawn = {"fractions": args.fractions, "seed": args.seed}
    return {
        "format": args.format,
        "patients_from": next((name for name, value in sources.items() if value), "dicom"),
        "split_by": "list" if args.test_patients else "table" if args.split_column else drawn,
        "healthy_without_annotation": args.healthy_without_annotation,
    }


main = preparation_main(parse_args, run)

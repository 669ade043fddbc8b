r"""Look at a data set in CDH-1848's layout before anyone trains on it.

    meddet check-data datasets/cdh1848 --output checked
    meddet check-data --dataset cdh_phantom_train --config-file configs/quickstart.yaml

A folder stands for its train.json, val.json and test.json, and one of these for all in its folder. Everything that is
named in one call is taken for splits of one data set. With --output the folder has findings.json, counts.json and
data.html. Exit status: 0 nothing wrong or warnings only, 1 errors (with --strict: or warnings), 2 nothing was checked.
docs/how_to/check_data.md lists the codes of the findings.
"""

import argparse
from pathlib import Path

from tabulate import tabulate

import meddet_d2

from ..command import MISTAKES, add_config, command_main, new_parser
from ..curation.checking import Report, check_data
from ..curation.checking.annotation_checks import find_json_files
from ..curation.checking.data_page import write_page
from ..curation.checking.findings import count
from ..files import write_json
from ..layout.validate import PATIENT_KEY
from ..places import given_path

FINDINGS, COUNTS, PAGE = "findings.json", "counts.json", "data.html"
NOTHING_CHECKED = 2


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    option = parser.add_argument
    option("inputs", nargs="*", type=given_path, metavar="FOLDER_OR_JSON", help="a data set, or its json files")
    option("--images", type=given_path, metavar="DIR", help="its images (default: images/ beside each json)")
    option("--dataset", action="append", default=[], metavar="NAME", help="a registered data set")
    add_config(parser, help="for --dataset: the yaml whose DATASETS.PHANTOM counts")
    option(
        "--patient-key", metavar="KEY", help=f'of an image record; "": patients are not known (default: {PATIENT_KEY})'
    )
    option("--output", type=given_path, metavar="DIR", help=f"write {FINDINGS}, {COUNTS} and {PAGE} there")
    option("--strict", action="store_true", help="warnings give exit status 1, too")
    option("--quiet", action="store_true", help="print the findings and nothing else")
    option("--force", action="store_true", help="replace the files of an earlier check")
    args = parser.parse_args(arguments)
    if not args.inputs and not args.dataset:
        parser.error("name a folder, a json file or --dataset.")
    if args.dataset and not args.config_file:
        parser.error("--dataset needs --config-file.")
    if args.dataset and args.images:
        parser.error("--images is for folders and json files; a registered data set has its own.")
    return args


def run(args: argparse.Namespace) -> bool:
    """Check, print and write; returns whether the exit status is 1."""
    if args.output is not None:
        _check_output(args.output, force=args.force)
    sources = [(file, args.images or file.parent / "images") for file in find_json_files(args.inputs)]
    registered, keys = _registered(args.dataset, args.config_file)
    sources += [source for source in registered if source not in sources]
    patient_key = next(iter(keys), PATIENT_KEY) if args.patient_key is None else args.patient_key
    report = check_data(sources, patient_key=patient_key, progress=not args.quiet)
    if args.output is not None:
        _write(report, args.output)
    if not args.quiet:
        for json_file, images in sources:
            print(f"{json_file}, images in {images}")
        print(_table(report))
    for finding in report.findings:
        print(finding.line())
    if not args.quiet:
        counts = count(report.findings)
        print(", ".join(f"{number} {name}{'s' * (number != 1)}" for name, number in counts.items()) + ".")
    return report.failed(strict=args.strict)


def _check_output(output: Path, *, force: bool) -> None:
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is a file; name a folder for --output.")
    if output.is_dir() and any(output.iterdir()) and not force:
        raise ValueError(f"{output} is not empty; name another folder, or add --force to replace {FINDINGS} there.")


def _registered(names: list[str], config_file: str | None) -> tuple[list[tuple[Path, Path]], set[str]]:
    """The json files of registered data sets with their folders of images, those beside them too, and patient keys."""
    if not names or config_file is None:
        return [], set()
    # Here, because a folder can be checked where torch is not installed.
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from ..data import register_datasets

    register_datasets(meddet_d2.load_config(config_file, []))
    sources, keys = [], set()
    for name in names:
        if name not in DatasetCatalog:
            # Detectron2 registers dozens, in other layouts.
            ours = [known for known in DatasetCatalog.list() if MetadataCatalog.get(known).get("data_set")]
            raise ValueError(f"--dataset {name}: no such data set; {', '.join(sorted(ours))} are known.")
        metadata = MetadataCatalog.get(name)
        json_file = metadata.get("json_file")
        if json_file is None:
            raise ValueError(f"--dataset {name} has no json file in its metadata; name its json instead.")
        try:
            DatasetCatalog.get(name)  # makes the phantom; what is wrong with the data is found below
        except MISTAKES:
            if not Path(json_file).is_file():
                raise
        sources += [(file, Path(metadata.image_root)) for file in find_json_files([Path(json_file)])]
        keys |= {metadata.data_set.patient_key} if metadata.get("data_set") else set()
    if len(keys) > 1:
        raise ValueError(
            f"--dataset: these name their patients by different keys, {sorted(keys)}; check them one by one."
        )
    return list(dict.fromkeys(sources)), keys


def _write(report: Report, output: Path) -> None:
    counts = {f"{name}s": number for name, number in count(report.findings).items()}
    records = [finding.record() for finding in report.findings]
    write_json(output / FINDINGS, {**counts, "findings": records})
    write_json(output / COUNTS, {"splits": report.counts})
    write_page(report, output / PAGE)


def _table(report: Report) -> str:
    if any(split.landmarks is not None for split in report.splits):
        return _landmark_table(report)
    keys = ("images", "patients", "healthy_images", "boxes")
    rows = [
        [name, *(counts[key] for key in keys), *(counts["classes"].get(label, 0) for label in report.classes)]
        for name, counts in report.counts.items()
    ]
    headers = ("", "images", "patients", "healthy", "boxes", *report.classes)
    align = ("left", *["right"] * (len(headers) - 1))
    return tabulate([headers, *rows], tablefmt="plain", disable_numparse=True, colalign=align)


def _landmark_table(report: Report) -> str:
    keys = ("images", "patients", "landmarks", "missing_landmarks", "images_with_spacing")
    headers = ("", "images", "patients", "landmarks", "not labelled", "with spacing", "mm of a pixel")
    rows = []
    for name, counts in report.counts.items():
        spacing = counts["spacing_mm"]
        shown = "-" if spacing is None else " to ".join(f"{spacing[key]:g}" for key in ("least", "greatest"))
        rows.append([name, *(counts.get(key, 0) for key in keys), shown])
    align = ("left", *["right"] * (len(headers) - 1))
    return tabulate([headers, *rows], tablefmt="plain", disable_numparse=True, colalign=align)


main = command_main(parse_args, run, mistake=NOTHING_CHECKED)

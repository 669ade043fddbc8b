"""How well a detector reads, for a clinician: a page, a json and tables.

    meddet evaluate --config-file configs/meddet.yaml --weights output/meddet/model_final.pth --output reading
    meddet evaluate --ground-truth test.json --images images --detections coco_instances_results.json \\
        --output reading

The first runs the detector on DATASETS.TEST; the second takes detections that are there already, as
meddet train leaves them in <OUTPUT_DIR>/inference/<data set>. The folder then has report.html, clinical.json,
froc.csv, precision_recall.csv and patients.csv. ``KEY VALUE`` pairs at the end override the config.
docs/how_to/evaluate.md says what each figure means.
"""

import argparse
import shutil
import tempfile
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import meddet_d2
import detectron2
from detectron2.data import MetadataCatalog
from detectron2.utils.logger import setup_logger

from ..command import add_config, add_overrides, guarded, new_parser
from ..data import cdh_layout, register_datasets
from ..deploy import ModelCard
from ..engine import evaluate
from ..engine.guards import check_config
from ..evaluation.clinical import Measurement, Settings, Study, read_study
from ..evaluation.clinical.clinical_page import interval, percent, write_page
from ..evaluation.clinical.figure_files import COLUMNS, RECORD, REPORT, write_figures
from ..evaluation.clinical.study import sha256
from ..evaluation.detection_evaluator import NO_PATIENTS, data_note
from ..files import replacing
from ..layout.data_set import CDH_CLASSES, DataSet
from ..layout.validate import PATIENT_KEY
from ..pages import RESEARCH_USE
from ..places import given_path

# As DetectionEvaluator calls them; beside the report they make it again without the network.
DETECTIONS = "coco_instances_results.json"
FROM_FILES = ("ground_truth", "images", "detections")


class Source(NamedTuple):
    """Files of a test set and its detections, and what is known about the network that made them."""

    data_set: DataSet
    detections: Path
    name: str
    findings: tuple[str, ...]
    config: str | None
    weights_sha256: str | None
    trained_on: tuple[str, ...]


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    parser.add_argument("--output", required=True, type=given_path, metavar="FOLDER", help="where the files go")
    network = parser.add_argument_group("a network on DATASETS.TEST")
    add_config(network, help="the yaml that the network was trained by")
    network.add_argument("--weights", metavar="FILE", help="its checkpoint (default: MODEL.WEIGHTS of the config)")
    files = parser.add_argument_group("or detections from a file")
    files.add_argument("--ground-truth", type=given_path, metavar="FILE", help="COCO json of the test set")
    files.add_argument("--images", type=given_path, metavar="FOLDER", help="its images")
    files.add_argument(
        "--detections", type=given_path, metavar="FILE", help="COCO results: a list of boxes with scores"
    )
    files.add_argument("--name", default="a test set", help="what the page calls the data set")
    files.add_argument("--patient-key", default=PATIENT_KEY, metavar="KEY", help='of an image record; "": not known')
    parser.add_argument(
        "--finding", action="append", default=[], metavar="CLASS", help="makes a patient positive; may be repeated"
    )
    parser.add_argument("--card", type=given_path, metavar="FILE", help="card.json of meddet export, for the page")
    parser.add_argument("--iou", type=float, default=0.5, help="overlap from which a disc is found (default: 0.5)")
    parser.add_argument(
        "--threshold", type=float, metavar="SCORE", help="operating point, chosen on other patients (default: 0.3)"
    )
    parser.add_argument(
        "--bootstrap", type=int, default=1000, metavar="N", help="resamples of the intervals (default: 1000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default: 0)")
    parser.add_argument("--force", action="store_true", help="replace the files of an earlier evaluation")
    add_overrides(parser)
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    settings = Settings(
        iou=args.iou,
        threshold=Settings.threshold if args.threshold is None else args.threshold,
        threshold_given=args.threshold is not None,
        resamples=args.bootstrap,
        seed=args.seed,
    )
    given = [name for name in FROM_FILES if getattr(args, name) is not None]
    if bool(args.config_file) == bool(given) or (given and len(given) < len(FROM_FILES)):
        raise ValueError("Give either --config-file, or --ground-truth, --images and --detections together.")
    if given and (args.weights or args.opts):
        raise ValueError("--weights and KEY VALUE pairs belong to --config-file; leave them out, or name the config.")
    written = [RECORD, *COLUMNS, REPORT, *([] if given else [DETECTIONS])]
    there = [name for name in written if (args.output / name).exists()]
    if there and not args.force:
        raise ValueError(f"{args.output} holds {', '.join(there)} already; add --force to replace them.")
    card = _read_card(args)
    card_checked = _card_checked(args, card)
    with tempfile.TemporaryDirectory() as folder:
        source = _from_files(args) if given else _from_network(args, folder)
        study = read_study(source.data_set, source.detections, source.findings)
        _check_card(args, card, study.subject.classes)
        measurement = Measurement(study.cases, study.subject, settings)
        provenance = _provenance(source, study, card, card_checked)
        record = {**provenance, "tables": list(COLUMNS), **measurement.record}
        page = write_page(measurement, record, study.pictures, asdict(card) if card else None)
        write_figures(measurement, record, args.output)
        if not given:
            with replacing(args.output / DETECTIONS) as temporary:
                shutil.copyfile(source.detections, temporary)
        with replacing(args.output / REPORT) as temporary:
            temporary.write_text(page, encoding="utf-8")
    _tell(record)
    print(f"{args.output}: {', '.join(written)}")


def _from_files(args: argparse.Namespace) -> Source:
    data_set = DataSet(json_file=args.ground_truth, images=args.images, patient_key=args.patient_key)
    findings = tuple(args.finding)
    # A file says nothing about findings; CDH-1848's two classes do.
    if not findings and data_set.names() == CDH_CLASSES:
        data_set = replace(cdh_layout(args.ground_truth, args.images), patient_key=args.patient_key)
    return Source(data_set, args.detections, args.name, findings, None, None, ())


def _from_network(args: argparse.Namespace, folder: str) -> Source:
    cfg = meddet_d2.load_config(args.config_file, args.opts)
    cfg.MODEL.WEIGHTS = args.weights or cfg.MODEL.WEIGHTS
    cfg.OUTPUT_DIR = folder
    cfg.freeze()
    if not cfg.MODEL.WEIGHTS:
        raise ValueError("No weights to evaluate: give --weights, the checkpoint of a trained network.")
    if len(cfg.DATASETS.TEST) != 1:
        raise ValueError(f"DATASETS.TEST names {len(cfg.DATASETS.TEST)} data sets; name the one to report on.")
    check_config(cfg)
    setup_logger(name="detectron2.evaluation")
    register_datasets(cfg)
    (name,) = cfg.DATASETS.TEST
    evaluate(cfg)
    metadata = MetadataCatalog.get(name)
    return Source(
        data_set=metadata.data_set,
        findings=tuple(args.finding or cfg.TEST.FINDINGS),
        detections=Path(folder) / "inference" / name / DETECTIONS,
        name=name,
        config=Path(args.config_file).name,
        weights_sha256=sha256(Path(cfg.MODEL.WEIGHTS)),
        trained_on=tuple(cfg.DATASETS.TRAIN),
    )


def _provenance(source: Source, study: Study, card: ModelCard | None, card_checked: bool) -> dict[str, Any]:
    """What stands in the json before the figures; no path and no time, so that the same inputs give the same file."""
    # SPIDER and the phantom under another name stay what they are: known by their folder or by what the json says.
    folders = source.data_set.json_file.resolve().parent
    known = "phantom" if study.phantom else f"{folders.parent.name}/{folders.name}"
    return {
        "research_use": RESEARCH_USE,
        "made_by": {
            "meddet_d2": meddet_d2.__version__,
            "detectron2": detectron2.__version__ if source.config else None,
            **{name: version(name) for name in ("scikit-learn", "pycocotools", "numpy")},
        },
        "data": {
            "name": source.name,
            "note": _note(source, known),
            **{f"{key}_sha256": value for key, value in study.checksums.items()},
        },
        "model": {
            "config": source.config,
            "weights_sha256": source.weights_sha256,
            "trained_on_these": source.name in {*source.trained_on, *(card.trained_on if card else ())},
            "card_checked": card_checked,
        },
    }


def _note(source: Source, known: str) -> str:
    notes = [data_note(source.name) or data_note(known)]
    if not source.data_set.patient_key and NO_PATIENTS not in notes[0]:
        notes.append(NO_PATIENTS)
    return "; ".join(filter(None, notes))


def _read_card(args: argparse.Namespace) -> ModelCard | None:
    if args.card is None:
        return None
    return ModelCard.read(args.card)


def _check_card(args: argparse.Namespace, card: ModelCard | None, classes: tuple[str, ...]) -> None:
    if card is not None and card.classes != classes:
        raise ValueError(
            f"{args.card}: a card of a network for {list(card.classes)}; the test set has {list(classes)}."
        )


def _card_checked(args: argparse.Namespace, card: ModelCard | None) -> bool:
    """Whether the weights are a file of the card, byte for byte; a file of its name that is not is a mistake."""
    if card is None or not args.weights or Path(args.weights).name not in card.files:
        return False
    card.check_file(args.weights)
    return True


def _tell(record: dict[str, Any]) -> None:
    """The page's first figures, for the terminal."""
    patients, froc = record["patients"], next(iter(record["froc"].values()))
    rows = [
        (f"{record['subject']['unit']}s: {key}", patients[key], f"{patients[key]['right']} of {patients[key]['of']}, ")
        for key in ("sensitivity", "specificity")
    ]
    rows.append((f"{record['subject']['finding']} found at 1 false box an image", froc["sensitivity_at"][3], ""))
    rows.append((f"average precision at IoU {record['settings']['iou']:g}", record["average_precision"]["mean"], ""))
    if record["data"]["note"]:
        print(f"Note: {record['data']['note']}.")
    for name, figure, counted in rows:
        extent = interval(figure)
        print(f"{name:<42} {counted}{percent(figure['value'])}{extent and f', {extent}'}")


def main(arguments: list[str], prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parse_args(arguments, prog)
    return guarded(lambda: run(args), plugins=args.plugin)

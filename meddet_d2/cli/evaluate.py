"""How well a detector reads, for a clinician: a page, a json and tables.

    meddet evaluate --config-file configs/meddet.yaml --weights output/meddet/model_final.pth --output reading
    meddet evaluate --config-file configs/meddet.yaml --detections coco_instances_results.json --output reading
    meddet evaluate --ground-truth test.json --images images --detections coco_instances_results.json \\
        --output reading

The first runs the detector on DATASETS.TEST. The others take detections that are there already, as meddet train leaves
them in <OUTPUT_DIR>/inference/<data set>: of DATASETS.TEST, or of any COCO json. The folder then has report.html,
clinical.json, froc.csv, precision_recall.csv and patients.csv. ``KEY VALUE`` pairs at the end override the config.
docs/how_to/evaluate.md says what each figure means.
"""

import argparse
import shutil
import tempfile
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import meddet_d2
import detectron2
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import setup_logger

from ..command import add_config, add_overrides, command_main, new_parser
from ..data import cdh_layout, register_datasets
from ..data.registration import data_note
from ..deploy import ModelCard
from ..engine import evaluate
from ..engine.guards import check_config
from ..evaluation.clinical import Measurement, Settings, read_study
from ..evaluation.clinical.clinical_page import interval, percent, write_page
from ..evaluation.clinical.figure_files import COLUMNS, RECORD, REPORT, write_figures
from ..files import checksum, refuse_existing, replacing, write_text
from ..layout.data_set import CDH_CLASSES, DataSet
from ..layout.validate import PATIENT_KEY
from ..pages import RESEARCH_USE
from ..places import given_path

# As DetectionEvaluator calls them; beside the report they make it again without the network.
DETECTIONS = "coco_instances_results.json"


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    option = parser.add_argument
    option("--output", required=True, type=given_path, metavar="FOLDER", help="where the files go")
    network = parser.add_argument_group("a network on DATASETS.TEST")
    add_config(network, help="the yaml that the network was trained by, or any that names the test set")
    network.add_argument("--weights", metavar="FILE", help="its checkpoint (default: MODEL.WEIGHTS of the config)")
    files = parser.add_argument_group("or detections from a file, of DATASETS.TEST or of a json")
    files.add_argument(
        "--detections", type=given_path, metavar="FILE", help="COCO results: a list of boxes with scores"
    )
    files.add_argument("--ground-truth", type=given_path, metavar="FILE", help="COCO json of the test set")
    files.add_argument("--images", type=given_path, metavar="FOLDER", help="its images")
    files.add_argument("--name", default="a test set", help="what the page calls it")
    files.add_argument("--patient-key", default=PATIENT_KEY, metavar="KEY", help='of an image record; "": not known')
    option("--finding", action="append", default=[], metavar="CLASS", help="makes a patient positive; may be repeated")
    option("--card", type=given_path, metavar="FILE", help="card.json of meddet export, for the page")
    option("--iou", type=float, default=0.5, help="overlap from which a box is found (default: 0.5)")
    option("--threshold", type=float, metavar="SCORE", help="operating point, chosen on other patients (default: 0.3)")
    option("--bootstrap", type=int, default=1000, metavar="N", help="resamples of the intervals (default: 1000)")
    option("--seed", type=int, default=0, help="of the resampling (default: 0)")
    option("--force", action="store_true", help="replace the files of an earlier evaluation")
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
    written = _check_usage(args)
    card = ModelCard.read(args.card) if args.card else None
    # A file of the card's name that is not the card's, byte for byte, is a mistake.
    card_checked = card is not None and bool(args.weights) and Path(args.weights).name in card.files
    if card is not None and card_checked:
        card.check_file(args.weights)
    with tempfile.TemporaryDirectory() as folder:
        name, findings, trained_on, detections = args.name, tuple(args.finding), (), args.detections
        model: dict[str, str | None] = {"config": None, "weights_sha256": None}
        if args.config_file:
            cfg, name, data_set = _read_config(args, folder)
            findings, trained_on = findings or tuple(cfg.TEST.FINDINGS), cfg.DATASETS.TRAIN
            if not detections:
                evaluate(cfg)
                detections = Path(folder) / "inference" / name / DETECTIONS
                model = {"config": Path(args.config_file).name, "weights_sha256": checksum(cfg.MODEL.WEIGHTS)}
        else:
            data_set = DataSet(json_file=args.ground_truth, images=args.images, patient_key=args.patient_key)
            # A file says nothing about findings; CDH-1848's two classes do.
            if not findings and data_set.names() == CDH_CLASSES:
                data_set = replace(cdh_layout(args.ground_truth, args.images), patient_key=args.patient_key)
        study = read_study(data_set, detections, findings)
        if card is not None and card.classes != study.subject.classes:
            raise ValueError(
                f"{args.card}: a card of a network for {list(card.classes)}; the test set has"
                f" {list(study.subject.classes)}."
            )
        measurement = Measurement(study.cases, study.subject, settings)
        trained_on_these = name in {*trained_on, *(card.trained_on if card else ())}
        record = {
            **_provenance(name, data_set, detections, phantom=study.phantom, network=not args.detections),
            "model": {**model, "trained_on_these": trained_on_these, "card_checked": card_checked},
            "tables": list(COLUMNS),
            **measurement.record,
        }
        page = write_page(measurement, record, study.pictures, asdict(card) if card else None)
        write_figures(measurement, record, args.output)
        if not args.detections:
            with replacing(args.output / DETECTIONS) as temporary:
                shutil.copyfile(detections, temporary)
        write_text(args.output / REPORT, page)
    _tell(record)
    print(f"{args.output}: {', '.join(written)}")


def _check_usage(args: argparse.Namespace) -> list[str]:
    """Refuse options that do not go together, and to replace files; returns the names of the files to write."""
    truth = [args.ground_truth is not None, args.images is not None]
    if any(truth) if args.config_file else not all([*truth, args.detections]):
        raise ValueError(
            "Give either --config-file, or --ground-truth, --images and --detections together; --detections of"
            " DATASETS.TEST also go with --config-file."
        )
    if not args.config_file and (args.weights or args.opts):
        raise ValueError("--weights and KEY VALUE pairs belong to --config-file; leave them out, or name the config.")
    if args.detections and args.weights:
        raise ValueError("--weights are for running the network, but --detections are given; leave one of them out.")
    written = [RECORD, *COLUMNS, REPORT, *([] if args.detections else [DETECTIONS])]
    refuse_existing(args.output, written, force=args.force)
    return written


def _read_config(args: argparse.Namespace, folder: str) -> tuple[CfgNode, str, DataSet]:
    """The config, and DATASETS.TEST by its name and files; a plugin may have registered it by a json alone."""
    cfg = meddet_d2.load_config(args.config_file, args.opts)
    cfg.MODEL.WEIGHTS = args.weights or cfg.MODEL.WEIGHTS
    cfg.OUTPUT_DIR = folder
    cfg.freeze()
    if not args.detections and not cfg.MODEL.WEIGHTS:
        raise ValueError("No weights to evaluate: give --weights, the checkpoint of a trained network.")
    if len(cfg.DATASETS.TEST) != 1:
        raise ValueError(f"DATASETS.TEST names {len(cfg.DATASETS.TEST)} data sets; name the one to report on.")
    if not args.detections:
        check_config(cfg)
    setup_logger(name="detectron2.evaluation")
    register_datasets(cfg)
    (name,) = cfg.DATASETS.TEST
    # Made, if it is one that is made on first use.
    DatasetCatalog.get(name)
    metadata = MetadataCatalog.get(name)
    data_set = metadata.get("data_set")
    if data_set is None and not metadata.get("json_file"):
        raise ValueError(f"DATASETS.TEST: {name} has no COCO json; register it by DATASETS.REGISTER.")
    if data_set is None:
        json_file, images = Path(metadata.json_file), Path(metadata.image_root)
        data_set = DataSet(json_file=json_file, images=images, patient_key=cfg.DATASETS.PATIENT_KEY)
    return cfg, name, data_set


def _provenance(name: str, data_set: DataSet, detections: Path, *, phantom: bool, network: bool) -> dict[str, Any]:
    """What stands in the json before the figures; no path and no time, so that the same inputs give the same file."""
    # SPIDER and the phantom under another name stay what they are: known by their folder or by what the json says.
    known = ["phantom"] if phantom else data_set.json_file.resolve().parts[-3:-1]
    return {
        "research_use": RESEARCH_USE,
        "made_by": {
            "meddet_d2": meddet_d2.__version__,
            "detectron2": detectron2.__version__ if network else None,
            **{library: version(library) for library in ("scikit-learn", "pycocotools", "numpy")},
        },
        "data": {
            "name": name,
            "note": data_note("/".join([name, *known]), data_set),
            "ground_truth_sha256": checksum(data_set.json_file),
            "detections_sha256": checksum(detections),
        },
    }


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


main = command_main(parse_args, run)

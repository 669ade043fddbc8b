"""How well a detector reads, for a clinician: a page, a json and tables.

    meddet evaluate --config-file configs/meddet.yaml --weights output/meddet/model_final.pth --output reading
    meddet evaluate --config-file configs/meddet.yaml --detections coco_instances_results.json --output reading
    meddet evaluate --ground-truth test.json --images images --detections coco_instances_results.json \\
        --output reading

The first runs the detector on DATASETS.TEST. The others take detections that are there already, as meddet train leaves
them in <OUTPUT_DIR>/inference/<data set>: of DATASETS.TEST, or of any COCO json. The folder then has report.html,
clinical.json, froc.csv, precision_recall.csv and patients.csv. ``KEY VALUE`` pairs at the end override the config.
A network of landmarks, or a json with landmarks, gets a page about them: report.html, landmarks.json, landmarks.csv
and images.csv; --compare sets another run's predictions on the same images beside it.
docs/how_to/evaluate.md says what each figure means.
"""

import argparse
import tempfile
from pathlib import Path
from types import ModuleType

import meddet_d2
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.logger import setup_logger

from ..command import add_config, add_overrides, command_main, new_parser
from ..data import register_datasets
from ..engine import evaluate
from ..engine.guards import check_config
from ..evaluation import evaluator_for
from ..files import checksum, refuse_existing
from ..layout.data_set import DataSet
from ..layout.landmark_checks import has_landmarks
from ..layout.validate import PATIENT_KEY, read_json
from ..places import given_path
from . import evaluate_boxes, evaluate_landmarks
from .evaluated_run import EvaluatedRun

# By what comes out of a network.
_REPORTS: dict[str, ModuleType] = {"boxes": evaluate_boxes, "landmarks": evaluate_landmarks}


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    option = parser.add_argument
    option("--output", required=True, type=given_path, metavar="FOLDER", help="where the files go")
    network = parser.add_argument_group("a network on DATASETS.TEST")
    add_config(network, help="the yaml that the network was trained by, or any that names the test set")
    network.add_argument("--weights", metavar="FILE", help="its checkpoint (default: MODEL.WEIGHTS of the config)")
    files = parser.add_argument_group("or detections from a file, of DATASETS.TEST or of a json")
    files.add_argument(
        "--detections", type=given_path, metavar="FILE", help="results as the training's evaluation writes them"
    )
    files.add_argument("--compare", type=given_path, metavar="FILE", help="another run's landmarks on the same images")
    files.add_argument("--ground-truth", type=given_path, metavar="FILE", help="COCO json of the test set")
    files.add_argument("--images", type=given_path, metavar="FOLDER", help="its images")
    files.add_argument("--name", default="a test set", help="what the page calls it")
    files.add_argument("--patient-key", default=PATIENT_KEY, metavar="KEY", help='of an image record; "": not known')
    option("--finding", action="append", default=[], metavar="CLASS", help="makes a patient positive; may be repeated")
    option("--levels", type=given_path, metavar="FILE", help="json of landmarks that name the annotated discs")
    option("--card", type=given_path, metavar="FILE", help="card.json of meddet export, for the page")
    option("--iou", type=float, default=0.5, help="overlap from which a box is found (default: 0.5)")
    option("--threshold", type=float, metavar="SCORE", help="operating point, chosen on other patients (default: 0.3)")
    option("--bootstrap", type=int, default=1000, metavar="N", help="resamples of the intervals (default: 1000)")
    option("--seed", type=int, default=0, help="of the resampling (default: 0)")
    option("--force", action="store_true", help="replace the files of an earlier evaluation")
    add_overrides(parser)
    return parser.parse_args(arguments)


def run(args: argparse.Namespace) -> None:
    _check_usage(args)
    with tempfile.TemporaryDirectory() as folder:
        cfg = None
        if args.config_file:
            cfg, name, data_set = _read_config(args, folder)
            result = evaluator_for(cfg).RESULT
        else:
            name = args.name
            data_set = DataSet(json_file=args.ground_truth, images=args.images, patient_key=args.patient_key)
            result = "landmarks" if has_landmarks(read_json(data_set.json_file)) else "boxes"
        if result not in _REPORTS:
            raise ValueError(f"There is no report about {result}; known are {', '.join(_REPORTS)}.")
        kind = _REPORTS[result]
        kind.check(args)
        written = [*kind.FILES, *([] if args.detections else [kind.RESULTS])]
        refuse_existing(args.output, written, force=args.force)
        results: Path = args.detections
        model: dict[str, str | None] = {"config": None, "weights_sha256": None}
        if cfg is not None and not results:
            evaluate(cfg)
            results = Path(folder) / "inference" / name / kind.RESULTS
            model = {"config": Path(args.config_file).name, "weights_sha256": checksum(cfg.MODEL.WEIGHTS)}
        kind.report(args, EvaluatedRun(name=name, data_set=data_set, results=results, cfg=cfg, model=model))
    print(f"{args.output}: {', '.join(written)}")


def _check_usage(args: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
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


main = command_main(parse_args, run)

r"""Find the discs on MR images: pictures, folders, DICOM series, NIfTI volumes.

    meddet predict slices/ --config-file configs/meddet.yaml --weights output/meddet/model_final.pth \
        --output found
    meddet predict /data/series1 scan.nii.gz slice.png --onnx exported/model.onnx --output found

``--output`` then has overlays/*.png, predictions.json (COCO), findings.csv (one line a box), images.csv and
problems.csv, with pseudonyms instead of names. ``--levels`` names the discs by a landmark network, and writes
measures.csv. ``--onnx`` needs neither torch nor Detectron2. The exit status is 0 also when some files could not be
read; they are counted and named. It is 1 when none could, or with ``--strict`` when there was any problem, and 2 for a
wrong command. docs/how_to/predict.md says the rest. Research use only.
"""

import argparse
import sys
from contextlib import suppress
from dataclasses import fields

from ..command import add_config, guarded, new_parser
from ..deploy.level_finder import LEAST_SCORE, LevelFinder
from ..deploy.opened_detector import open_detector
from ..deploy.prediction_run import PredictionRun, PredictionSettings, counted
from ..deploy.results import DICOM_IDENTIFIED, staged
from ..places import given_path


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog)
    parser.add_argument("inputs", nargs="+", type=given_path, metavar="INPUT", help="files and folders of images")
    parser.add_argument("--output", required=True, type=given_path, metavar="DIR", help="where the results go")
    parser.add_argument("--slices", choices=("middle", "all"), default="middle", help="of a series (default: middle)")
    parser.add_argument("--no-overlays", dest="overlays", action="store_false", help="no pictures")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if there was any problem")
    parser.add_argument("--force", action="store_true", help="replace the results of an earlier run")

    detector = parser.add_argument_group("detector")
    model = detector.add_mutually_exclusive_group(required=True)
    model.add_argument("--onnx", type=given_path, metavar="FILE", help="model.onnx of an export")
    add_config(model, help="instead of --onnx: the yaml it was trained by")
    detector.add_argument("--weights", metavar="FILE", help="its checkpoint (default: MODEL.WEIGHTS of the config)")
    detector.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides of the config")
    detector.add_argument("--device", metavar="NAME", help="cpu or cuda (default: torch's GPU if there is one)")
    detector.add_argument(
        "--threshold", type=float, metavar="SCORE", help="least score (default: 0.3, of landmarks 0.1)"
    )
    detector.add_argument(
        "--class-threshold",
        dest="class_thresholds",
        type=_class_threshold,
        action="append",
        default=[],
        metavar="NAME=SCORE",
        help="for one class or landmark; may be repeated",
    )

    levels = parser.add_argument_group("levels of discs, by a landmark network")
    levels.add_argument(
        "--levels", type=given_path, metavar="FILE", help="its model.onnx, or the yaml it was trained by"
    )
    levels.add_argument("--levels-weights", metavar="FILE", help="with a yaml: its checkpoint (default: as --weights)")
    levels.add_argument(
        "--levels-threshold",
        type=float,
        default=LEAST_SCORE,
        metavar="SCORE",
        help=f"landmarks below it are not found (default: {LEAST_SCORE})",
    )

    identity = parser.add_argument_group("identity")
    identity.add_argument(
        "--key", type=given_path, metavar="FILE", help="secret csv from pseudonyms to files; not in DIR"
    )
    identity.add_argument("--dicom", choices=("sr", "sc", "both"), help="structured report, secondary capture")
    identity.add_argument(
        "--dicom-identified",
        dest="identified",
        action="store_true",
        help="--dicom with the patient's name and ids, for the archive",
    )
    args = parser.parse_args(arguments)
    if args.identified and not args.dicom:
        parser.error("--dicom-identified says how --dicom is written; give --dicom sr, sc or both as well")
    if args.levels is None and args.levels_weights:
        parser.error("--levels-weights is the checkpoint of a landmark network; give its yaml with --levels as well")
    args.class_thresholds = dict(args.class_thresholds)
    return args


def _level_finder(args: argparse.Namespace) -> LevelFinder | None:
    if args.levels is None:
        return None
    model, config = (args.levels, None) if args.levels.suffix == ".onnx" else (None, str(args.levels))
    return LevelFinder(open_detector(model, config, args.levels_weights, device=args.device), args.levels_threshold)


def _class_threshold(text: str) -> tuple[str, float]:
    name, _, score = text.rpartition("=")
    with suppress(ValueError):
        if name:
            return name, float(score)
    raise argparse.ArgumentTypeError(f"{text}: give NAME=SCORE, as in protrusion=0.4")


def main(arguments: list[str], prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parse_args(arguments, prog)
    begun: list[PredictionRun] = []

    def work() -> int:
        settings = PredictionSettings(
            **{setting.name: getattr(args, setting.name) for setting in fields(PredictionSettings)}
        )
        settings.check_places()
        opened = open_detector(args.onnx, args.config_file, args.weights, args.opts, args.device)
        run = PredictionRun(settings, opened, _level_finder(args))
        begun.append(run)
        if args.identified:
            print(
                f"warning: {args.output / DICOM_IDENTIFIED} will hold patients' names and numbers; send it to the"
                " archive and delete it.",
                file=sys.stderr,
            )
        with staged(args.output) as folder:
            run.read_all(folder)
            if not run.results.images:
                raise ValueError("Not one image could be read; nothing was written.")
            run.write(folder)
        run.tell()
        return 1 if args.strict and run.results.problems else 0

    def stopped() -> str:
        done = len(begun[0].results.images) if begun else 0
        return f"Stopped after {counted(done, 'image')}; nothing was written, {args.output} is as it was."

    # A wrong command is 2, as argparse has it; a run that fails is 1.
    return guarded(work, plugins=args.plugin, mistake=lambda: 1 if begun else 2, stopped=stopped)

#!/usr/bin/env python
r"""Find the discs on MR images: pictures, folders, DICOM series, NIfTI volumes.

    python tools/predict.py slices/ --config-file configs/meddet.yaml --weights output/meddet/model_final.pth \
        --output found
    python tools/predict.py /data/series1 scan.nii.gz slice.png --onnx exported/model.onnx --output found

``--output`` then has overlays/*.png, predictions.json (COCO), discs.csv (one line a disc), images.csv and problems.csv,
with pseudonyms instead of names. ``--onnx`` needs neither torch nor Detectron2. The exit status is 0 also when some
files could not be read; they are counted and named. It is 1 when none could, or with ``--strict`` when there was any
problem, and 2 for a wrong command. docs/predict.md says the rest. Research use only.
"""

import argparse
import signal
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

import meddet_d2
from meddet_d2.deploy import Predictor, overlay, read_slice
from meddet_d2.deploy.card import sha256
from meddet_d2.deploy.dicom_report import DicomWriter, kinds_of
from meddet_d2.deploy.reading import RESEARCH_USE, thresholds_of
from meddet_d2.deploy.results import (
    DICOM,
    DICOM_IDENTIFIED,
    DISCS,
    OVERLAYS,
    PREDICTIONS,
    PROBLEMS,
    Results,
    check_output,
    save_overlay,
    staged,
    without_paths,
    write_key,
)
from meddet_d2.formats import MRSlice, Problem, Pseudonyms, collect

# What a person can mend by reading one line: a wrong path, key, name or number.
MISTAKES = (ValueError, OSError, KeyError)
GPU_PROVIDER = "CUDAExecutionProvider"


def parse_args(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="files and folders of images")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="where the results go")
    parser.add_argument("--slices", choices=("middle", "all"), default="middle", help="of a series (default: middle)")
    parser.add_argument("--no-overlays", action="store_true", help="no pictures")
    parser.add_argument("--strict", action="store_true", help="exit status 1 if there was any problem")
    parser.add_argument("--force", action="store_true", help="replace the results of an earlier run")

    detector = parser.add_argument_group("detector")
    detector.add_argument("--onnx", type=Path, metavar="FILE", help="model.onnx of tools/export_model.py")
    detector.add_argument("--config-file", metavar="FILE", help="instead of --onnx: the yaml it was trained by")
    detector.add_argument("--weights", metavar="FILE", help="its checkpoint (default: MODEL.WEIGHTS of the config)")
    detector.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="overrides of the config")
    detector.add_argument("--device", metavar="NAME", help="cpu or cuda (default: torch's GPU if there is one)")
    detector.add_argument("--threshold", type=float, default=0.3, metavar="SCORE", help="least score (default: 0.3)")
    detector.add_argument(
        "--class-threshold", action="append", default=[], metavar="NAME=SCORE", help="for one class; may be repeated"
    )

    identity = parser.add_argument_group("identity")
    identity.add_argument("--key", type=Path, metavar="FILE", help="secret csv from pseudonyms to files; not in DIR")
    identity.add_argument("--dicom", choices=("sr", "sc", "both"), help="structured report, secondary capture")
    identity.add_argument(
        "--dicom-identified", action="store_true", help="--dicom with the patient's name and ids, for the archive"
    )
    args = parser.parse_args(arguments)
    if (args.onnx is None) == (args.config_file is None):
        parser.error("give either --onnx or --config-file with --weights")
    if args.onnx is not None and (args.weights or args.opts):
        parser.error("--weights and --opts belong to --config-file, not to --onnx")
    if args.dicom_identified and not args.dicom:
        parser.error("--dicom-identified says how --dicom is written; give --dicom sr, sc or both as well")
    args.class_thresholds = {}
    for text in args.class_threshold:
        name, equals, score = text.rpartition("=")
        try:
            args.class_thresholds[name] = float(score)
        except ValueError:
            equals = ""
        if not (name and equals):
            parser.error(f"--class-threshold {text}: give NAME=SCORE, as in protrusion=0.4")
    return args


class Run:
    """One command: its detector, its thresholds, and what came out so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Raises one of MISTAKES before anything is read or written."""
        self.args = args
        _check_places(args)
        self.pseudonyms = Pseudonyms.load()
        self.detector, self.model = _load_detector(args)
        classes = self.detector.classes
        self.thresholds = thresholds_of(classes, args.threshold, args.class_thresholds)
        least = self.detector.least_score
        if min(self.thresholds.values()) < least:
            raise ValueError(
                f"A threshold is {min(self.thresholds.values()):g}, but this model gives no score below {least:g}; "
                f"give {least:g} or more, or MODEL.GFL.SCORE_THRESH_TEST when the model is exported or read."
            )
        self.dicom = None
        if args.dicom:
            self.dicom = DicomWriter(
                kinds_of(args.dicom),
                self.pseudonyms,
                model=self.model["name"],
                version=meddet_d2.__version__,
                classes=classes,
                thresholds=self.thresholds,
                identified=args.dicom_identified,
            )
        self.results = Results(classes)
        self.remarks: Counter[str] = Counter()
        self.key: list[dict[str, Any]] = []

    def read_all(self, folder: Path) -> None:
        """Read every input and write the files of each into a folder."""
        with tqdm(desc="reading", unit=" item", total=0, file=sys.stderr) as bar:

            def expect(more: int) -> None:
                bar.total += more
                bar.refresh()

            inputs = self.args.inputs
            for item in collect(inputs, pseudonyms=self.pseudonyms, slices=self.args.slices, expect=expect):
                if isinstance(item, Problem):
                    self._problem(item.source, item.reason)
                else:
                    self._read(item, folder)
                bar.set_postfix(findings=len(self.results.discs), problems=len(self.results.problems), refresh=False)
                bar.update()

    def _read(self, mr_slice: MRSlice, folder: Path) -> None:
        try:
            reading = read_slice(
                mr_slice, self.detector, threshold=self.args.threshold, class_thresholds=self.args.class_thresholds
            )
        except (ValueError, FloatingPointError) as error:
            self._problem(mr_slice.source, str(error), mr_slice)
            return
        self.results.add(reading)
        self.remarks.update(mr_slice.warnings)
        self._note(mr_slice.image_id, mr_slice.source, mr_slice)
        picture = None if self.args.no_overlays and self.dicom is None else overlay(reading)
        if not self.args.no_overlays:
            save_overlay(picture, mr_slice.image_id, folder)
        if self.dicom is not None:
            place = folder / (DICOM_IDENTIFIED if self.args.dicom_identified else DICOM)
            for reason in self.dicom.write(reading, picture, place):
                self._problem(mr_slice.source, reason, mr_slice)

    def _problem(self, source: Path, reason: str, mr_slice: MRSlice | None = None) -> None:
        reason = " ".join(reason.split())
        tqdm.write(f"problem: {source}: {reason}", file=sys.stderr)
        pseudonym = self.pseudonyms.image(str(source.absolute()))
        self._note(pseudonym, source, mr_slice)
        self.results.add_problem(
            pseudonym, without_paths(reason, source, pseudonym), mr_slice.image_id if mr_slice else ""
        )

    def _note(self, pseudonym: str, source: Path, mr_slice: MRSlice | None) -> None:
        patient, frame = (mr_slice.patient_id, mr_slice.frame) if mr_slice else (None, None)
        self.key.append({"pseudonym": pseudonym, "patient_id": patient, "source": source.absolute(), "frame": frame})

    def write(self, folder: Path) -> None:
        """The tables, the json and the key."""
        info = {
            "description": "Detections of tools/predict.py; boxes in pixels, spacing and sizes in millimetres.",
            "model": self.model,
            "thresholds": self.thresholds,
            "slices": self.args.slices,
            "version": meddet_d2.__version__,
        }
        self.results.write(folder, info)
        if self.args.key is not None:
            write_key(self.args.key, self.key)

    def tell(self) -> None:
        """The table at the end, and what to do next."""
        output, results = self.args.output, self.results
        lines = [
            (label, f"{self.thresholds[label]:g}", sum(disc["label"] == label for disc in results.discs),
             sum(line[f"findings_{label}"] > 0 for line in results.images))
            for label in results.classes
        ]  # fmt: skip
        print(tabulate(lines, headers=("class", "threshold", "findings", "images with"), tablefmt="simple"))
        empty = sum(line["findings"] == 0 for line in results.images)
        print(f"\n{_count(len(results.images), 'image')} read, {empty} without a finding; "
              f"{_count(len(results.problems), 'problem')}"
              + (f", named above and in {output / PROBLEMS}." if results.problems else "."))  # fmt: skip
        for remark, count in self.remarks.most_common():
            print(f"Remark on {_count(count, 'image')}: {remark}")
        first = "" if self.args.no_overlays else f"look at {output / OVERLAYS}, "
        print(f"Next: {first}open {output / DISCS} in a spreadsheet, or read {output / PREDICTIONS} (COCO).")
        print(RESEARCH_USE)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _check_places(args: argparse.Namespace) -> None:
    """Refuse what would overwrite something, be read as input next time, or put the key beside the results."""
    check_output(args.output, force=args.force)
    output = args.output.resolve()
    for given in args.inputs:
        if given.is_dir() and output.is_relative_to(given.resolve()):
            raise ValueError(
                f"--output {args.output} lies in the input folder {given}: its pictures would be read as images next"
                " time; give a folder outside."
            )
    if args.key is not None:
        if args.key.resolve().is_relative_to(output):
            raise ValueError(f"--key {args.key} lies in {args.output}, which is to be passed on; put it elsewhere.")
        if args.key.exists() and not args.force:
            raise ValueError(f"--key {args.key} is there already; add --force to replace it.")


def _load_detector(args: argparse.Namespace) -> tuple[Any, dict[str, str]]:
    """The detector, and what the json says of it."""
    if args.onnx is not None:
        detector = Predictor(args.onnx, providers=_providers(args.device))
        return detector, {
            "name": detector.card.name,
            "file": args.onnx.name,
            "sha256": detector.card.files[args.onnx.name],
        }
    if find_spec("torch") is None:
        raise ValueError("--config-file needs torch, which is not installed; give --onnx, made by export_model.py.")
    import torch

    from meddet_d2.deploy.torch_predictor import TorchPredictor

    cfg = meddet_d2.load_config(args.config_file, args.opts)
    weights = args.weights or cfg.MODEL.WEIGHTS
    if not weights:
        raise ValueError("No weights: give --weights, the checkpoint of a trained detector.")
    cfg.MODEL.DEVICE = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    detector = TorchPredictor(cfg, weights)
    return detector, {"name": Path(args.config_file).stem, "file": Path(weights).name, "sha256": sha256(weights)}


def _providers(device: str | None) -> list[str]:
    """What onnxruntime runs on."""
    if device in (None, "cpu"):
        return []
    if find_spec("onnxruntime") is not None:
        import onnxruntime

        if device == "cuda" and GPU_PROVIDER in onnxruntime.get_available_providers():
            return [GPU_PROVIDER, "CPUExecutionProvider"]
    raise ValueError(f"--device {device}: with --onnx it is cpu, or cuda where onnxruntime-gpu finds a GPU.")


def _interrupt(number, frame) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    args = parse_args(arguments)
    # As Ctrl-C: what was written so far is removed.
    before = signal.signal(signal.SIGTERM, _interrupt)
    run = None
    try:
        run = Run(args)
        if args.dicom_identified:
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
    except KeyboardInterrupt:
        done = len(run.results.images) if run else 0
        print(
            f"Stopped after {_count(done, 'image')}; nothing was written, {args.output} is as it was.", file=sys.stderr
        )
        return 130
    except MISTAKES as error:
        # str() of a KeyError puts its message in quotes.
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
        return 1 if run else 2
    finally:
        signal.signal(signal.SIGTERM, before)
    return 1 if args.strict and run.results.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

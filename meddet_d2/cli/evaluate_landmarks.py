"""A report about landmarks."""

import argparse
from typing import Any

from ..evaluation.clinical.clinical_page import interval
from ..evaluation.clinical.figure_files import REPORT
from ..evaluation.landmarks import truth_of_json
from ..evaluation.landmarks.landmark_intervals import FIGURES
from ..evaluation.landmarks.landmark_page import NAMES, value, write_landmark_page
from ..evaluation.landmarks.landmark_predictions import RESULTS, read_predictions
from ..evaluation.landmarks.landmark_reading import LandmarkReading
from ..evaluation.landmarks.landmark_tables import RECORD, TABLES, write_tables
from ..files import write_text
from .evaluated_run import EvaluatedRun

FILES = (RECORD, *TABLES, REPORT)
__all__ = ["FILES", "RESULTS", "check", "report"]


def check(args: argparse.Namespace) -> None:
    """Refuse options that landmarks do not have."""
    given = {
        "--finding": args.finding,
        "--card": args.card,
        "--levels": args.levels,
        "--threshold": args.threshold is not None,
    }
    for option, wrong in {**given, "--iou": args.iou != 0.5}.items():
        if wrong:
            raise ValueError(f"{option} is for boxes, and this is a test set of landmarks; leave it out.")
    if args.bootstrap < 0 or args.seed < 0:
        raise ValueError(f"{args.bootstrap} resamples with seed {args.seed}; neither may be negative.")


def report(args: argparse.Namespace, run: EvaluatedRun) -> None:
    """Write the files of FILES into the folder ``args.output``, and tell the first figures."""
    json_file = run.data_set.json_file
    content = run.data_set.read()
    try:
        truth = truth_of_json(content)
    except ValueError as error:
        raise ValueError(f"{json_file}: {error}") from error
    files = (run.results, *([args.compare] if args.compare else []))
    reading = LandmarkReading(
        truth, *(read_predictions(file, truth, json_file) for file in files), resamples=args.bootstrap, seed=args.seed
    )
    info = content.get("info")
    trained_on = run.cfg.DATASETS.TRAIN if run.cfg is not None else ()
    record = {
        **run.provenance(phantom=isinstance(info, dict) and info.get("phantom") is True),
        "model": {**run.model, "trained_on_these": run.name in trained_on},
        **reading.record,
    }
    page = write_landmark_page(reading, record, run.data_set.images)
    write_tables(reading, record, args.output)
    run.keep_results(args.output)
    write_text(args.output / REPORT, page)
    _tell(record)


def _tell(record: dict[str, Any]) -> None:
    """The page's first figures, for the terminal."""
    if record["data"]["note"]:
        print(f"Note: {record['data']['note']}.")
    compared = record["comparison"]
    for name in FIGURES:
        figure = record["intervals"][name]
        extent = interval(figure, share=False)
        line = f"{NAMES[name]:<28} {value(name, figure['value'], record['unit'])}{extent and f', {extent}'}"
        if compared:
            difference = compared["difference"][name]
            line += f"; difference to the compared run {difference['value']:+.2f}, {interval(difference, share=False)}"
        print(line)

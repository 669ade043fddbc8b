"""A clinician's report about boxes."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..data import cdh_layout
from ..deploy import ModelCard
from ..evaluation.clinical import Measurement, Settings, read_study
from ..evaluation.clinical.clinical_page import interval, percent, write_page
from ..evaluation.clinical.figure_files import COLUMNS, RECORD, REPORT, write_figures
from ..evaluation.landmarks.landmark_levels import levels_by_landmarks
from ..files import checksum, write_text
from ..layout.data_set import CDH_CLASSES
from .evaluated_run import EvaluatedRun

# As DetectionEvaluator calls them; beside the report they make it again without the network.
RESULTS = "coco_instances_results.json"
FILES = (RECORD, *COLUMNS, REPORT)


def check(args: argparse.Namespace) -> None:
    """Refuse options that boxes do not have, and a card or settings that cannot be used."""
    if args.compare:
        raise ValueError("--compare is for landmarks; leave it out.")
    _settings(args)
    _card(args)


def report(args: argparse.Namespace, run: EvaluatedRun) -> None:
    """Write the files of FILES into the folder ``args.output``, and tell the first figures."""
    settings, card = _settings(args), _card(args)
    data_set, findings = run.data_set, tuple(args.finding)
    if run.cfg is not None:
        findings = findings or tuple(run.cfg.TEST.FINDINGS)
    elif not findings and data_set.names() == CDH_CLASSES:
        # A file says nothing about findings; CDH-1848's two classes do.
        data_set = replace(cdh_layout(data_set.json_file, data_set.images), patient_key=data_set.patient_key)
    study = read_study(data_set, run.results, findings)
    levels = None
    if args.levels:
        study = levels_by_landmarks(study, args.levels)
        boxes = [
            level for case in study.cases for level, crowd in zip(case.levels, case.crowd, strict=True) if not crowd
        ]
        levels = {"sha256": checksum(args.levels), "boxes": len(boxes), "not_known": boxes.count(None)}
    if card is not None and card.classes != study.subject.classes:
        raise ValueError(
            f"{args.card}: a card of a network for {list(card.classes)}; the test set has"
            f" {list(study.subject.classes)}."
        )
    measurement = Measurement(study.cases, study.subject, settings)
    trained_on = run.cfg.DATASETS.TRAIN if run.cfg is not None else ()
    trained_on_these = run.name in {*trained_on, *(card.trained_on if card else ())}
    record = {
        **run.provenance(phantom=study.phantom),
        "model": {**run.model, "trained_on_these": trained_on_these, "card_checked": _names_weights(args, card)},
        "levels_from_landmarks": levels,
        "tables": list(COLUMNS),
        **measurement.record,
    }
    page = write_page(measurement, record, study.pictures, asdict(card) if card else None)
    write_figures(measurement, record, args.output)
    run.keep_results(args.output)
    write_text(args.output / REPORT, page)
    _tell(record)


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(
        iou=args.iou,
        threshold=Settings.threshold if args.threshold is None else args.threshold,
        threshold_given=args.threshold is not None,
        resamples=args.bootstrap,
        seed=args.seed,
    )


def _card(args: argparse.Namespace) -> ModelCard | None:
    """The card of --card; weights that are a file of it are checked against it."""
    card = ModelCard.read(args.card) if args.card else None
    if card is not None and _names_weights(args, card):
        card.check_file(args.weights)
    return card


def _names_weights(args: argparse.Namespace, card: ModelCard | None) -> bool:
    # A file of the card's name that is not the card's, byte for byte, is a mistake.
    return card is not None and bool(args.weights) and Path(args.weights).name in card.files


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

"""Reading many inputs with one detector: thresholds, files for each image, problems, and the account at the end."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

import meddet_d2

from ..files import check_key, refuse_existing
from ..formats import MRSlice, Problem, Pseudonyms, collect
from .level_finder import LevelFinder
from .opened_detector import OpenedDetector
from .reading import RESEARCH_USE, thresholds_of
from .result_kinds import RESULT_KINDS, kind_of
from .results import (
    DICOM,
    DICOM_IDENTIFIED,
    MEASURES,
    NAMES,
    OVERLAYS,
    PREDICTIONS,
    PROBLEMS,
    save_overlay,
    without_paths,
    write_table,
)


@dataclass(frozen=True)
class PredictionSettings:
    """What is read, and what is written of it. The names are those of the command's arguments."""

    inputs: Sequence[Path]
    # The folder of results, and whether those of an earlier run are replaced.
    output: Path
    force: bool = False
    # Of a series, "middle" or "all".
    slices: str = "middle"
    # The least score of a finding, in [0, 1], and of some classes' or landmarks' by name; None: as the result has it.
    threshold: float | None = None
    class_thresholds: Mapping[str, float] = field(default_factory=dict)
    overlays: bool = True
    # "sr", "sc" or "both"; None writes no DICOM file. Identified: with the patient's name and ids.
    dicom: str | None = None
    identified: bool = False
    # A secret table from pseudonyms to files, outside of the output.
    key: Path | None = None

    def check_places(self) -> None:
        """Refuse what would overwrite something, be read as input next time, or put the key beside the results.

        Raises:
            ValueError: naming the option.
        """
        refuse_existing(self.output, NAMES, force=self.force)
        output = self.output.resolve()
        for given in self.inputs:
            if given.is_dir() and output.is_relative_to(given.resolve()):
                raise ValueError(
                    f"--output {self.output} lies in the input folder {given}: its pictures would be read as images"
                    " next time; give a folder outside."
                )
        if self.key is not None:
            check_key(self.key, self.output, force=self.force)


class PredictionRun:
    """One pass over the inputs: its detector, its thresholds, and what came out so far."""

    def __init__(self, settings: PredictionSettings, opened: OpenedDetector, levels: LevelFinder | None = None) -> None:
        """Nothing is read or written yet. With ``levels`` each disc gets its level, and the spine is measured.

        Raises:
            ValueError: a threshold cannot be met, or a library for DICOM is missing.
        """
        self.settings, self.detector = settings, opened.detector
        self.pseudonyms = Pseudonyms.load()
        self.model = {"name": opened.card.name, "file": opened.file, "sha256": opened.sha256}
        classes = self.detector.classes
        self.kind = kind_of(self.detector)
        threshold = self.kind.threshold if settings.threshold is None else settings.threshold
        self.thresholds = thresholds_of(classes, threshold, settings.class_thresholds)
        least = self.detector.least_score
        if min(self.thresholds.values()) < least:
            raise ValueError(
                f"A threshold is {min(self.thresholds.values()):g}, but this model gives no score below {least:g}; "
                f"give {least:g} or more, or MODEL.GFL.SCORE_THRESH_TEST when the model is exported or read."
            )
        self.dicom = None
        if settings.dicom:
            wanted = ("sr", "sc") if settings.dicom == "both" else (settings.dicom,)
            if not set(wanted) <= set(self.kind.dicom):
                raise ValueError(
                    f"--dicom {settings.dicom}: of what this network finds only {', '.join(self.kind.dicom)} is made."
                )
            try:
                from .dicom_report import DicomWriter
            except ImportError as error:
                raise ValueError(
                    'DICOM output needs highdicom: pip install -c constraints.txt -e ".[dicom]", or leave out --dicom.'
                ) from error
            self.dicom = DicomWriter(
                wanted,
                self.pseudonyms,
                model=opened.card.name,
                thresholds=self.thresholds,
                identified=settings.identified,
            )
        self.results, self.levels = self.kind.results(classes), levels
        if levels is not None:
            if self.kind is not RESULT_KINDS["boxes"]:
                raise ValueError(f"--levels names discs, but {opened.file} finds no boxes; give a detector of discs.")
            self.results.measures = []
        self.remarks: Counter[str] = Counter()
        self.key: list[dict[str, Any]] = []

    def read_all(self, folder: Path) -> None:
        """Read every input and write the files of each into a folder."""
        with tqdm(desc="reading", unit=" item", total=0, file=sys.stderr) as bar:

            def expect(more: int) -> None:
                bar.total += more
                bar.refresh()

            settings = self.settings
            for item in collect(settings.inputs, pseudonyms=self.pseudonyms, slices=settings.slices, expect=expect):
                if isinstance(item, Problem):
                    self._problem(item.source, item.reason)
                else:
                    self._read(item, folder)
                bar.set_postfix(findings=len(self.results.findings), problems=len(self.results.problems), refresh=False)
                bar.update()

    def _read(self, mr_slice: MRSlice, folder: Path) -> None:
        try:
            reading = self.kind.read(mr_slice, self.detector(mr_slice.pixels), self.thresholds)
        except (ValueError, FloatingPointError) as error:
            self._problem(mr_slice.source, str(error), mr_slice)
            return
        if self.levels is not None and self.results.measures is not None:
            reading, measures = self.levels.read(reading)
            self.results.measures += measures
        self.results.add(reading)
        self.remarks.update((*mr_slice.warnings, *reading.remarks))
        self._note(mr_slice.image_id, mr_slice.source, mr_slice)
        remark = self.kind.extra(reading, folder)
        self.remarks.update([remark] if remark else [])
        if self.settings.overlays or self.dicom is not None:
            picture = self.kind.overlay(reading)
            if self.settings.overlays:
                save_overlay(picture, mr_slice.image_id, folder)
            if self.dicom is not None:
                place = folder / (DICOM_IDENTIFIED if self.settings.identified else DICOM)
                for reason in self.dicom.write(reading, picture, place):
                    self._problem(mr_slice.source, reason, mr_slice)

    def _problem(self, source: Path, reason: str, mr_slice: MRSlice | None = None) -> None:
        reason = " ".join(reason.split())
        tqdm.write(f"problem: {source}: {reason}", file=sys.stderr)
        pseudonym = self.pseudonyms.image(str(source.absolute()))
        self._note(pseudonym, source, mr_slice)
        self.results.problems.append(
            {
                "file": pseudonym,
                "image_id": mr_slice.image_id if mr_slice else "",
                "reason": without_paths(reason, source, pseudonym),
            }
        )

    def _note(self, pseudonym: str, source: Path, mr_slice: MRSlice | None) -> None:
        patient, frame = (mr_slice.patient_id, mr_slice.frame) if mr_slice else (None, None)
        self.key.append({"pseudonym": pseudonym, "patient_id": patient, "source": source.absolute(), "frame": frame})

    def write(self, folder: Path) -> None:
        """The tables, the json and the key."""
        info: dict[str, Any] = {
            "description": self.kind.description,
            "model": self.model,
            "thresholds": self.thresholds,
            "slices": self.settings.slices,
            "version": meddet_d2.__version__,
        }
        if self.levels is not None:
            info["levels"] = self.levels.info()
        self.results.write(folder, info)
        if self.settings.key is not None:
            # It leads from pseudonyms back to people: its owner alone can read it.
            write_table(self.settings.key, ("pseudonym", "patient_id", "source", "frame"), self.key, mode=0o600)

    def tell(self) -> None:
        """The table at the end, and what to do next."""
        output, results = self.settings.output, self.results
        headers, lines = results.account(self.thresholds)
        print(tabulate(lines, headers=headers, tablefmt="simple"))
        empty = sum(line["findings"] == 0 for line in results.images)
        print(f"\n{counted(len(results.images), 'image')} read, {empty} without a finding; "
              f"{counted(len(results.problems), 'problem')}"
              + (f", named above and in {output / PROBLEMS}." if results.problems else "."))  # fmt: skip
        if self.levels is not None:
            named = sum(line["level"] is not None for line in results.findings)
            print(f"{named} of {counted(len(results.findings), 'finding')} with a level, by {self.levels.opened.file}.")
        if results.measures is not None:
            print(f"Distances and angles of the spine are in {output / MEASURES}.")
        for remark, count in self.remarks.most_common():
            print(f"Remark on {counted(count, 'image')}: {remark}")
        first = f"look at {output / OVERLAYS}, " if self.settings.overlays else ""
        print(f"Next: {first}open {output / results.TABLE} in a spreadsheet, or read {output / PREDICTIONS} (COCO).")
        print(RESEARCH_USE)


def counted(number: int, noun: str) -> str:
    """A number and its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"

"""All clinical figures of a test set in one record, each with its interval."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import calibration
from .bootstrap import with_intervals
from .cases import Case, Subject
from .confusion import confusion
from .curves import RATES, Froc, PrecisionRecall, average_precision, froc, precision_recall, sensitivity_at
from .level_counts import by_level
from .matching import match
from .patient_readings import limit_where_all_alike, readings_of

# Where FROC's band is drawn: false boxes per image.
GRID = np.geomspace(1 / 16, 8, 57)
# The other operating points that are shown, so that nobody has to read them off a curve.
OTHER_THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(1, 10))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a test set is evaluated.

    Attributes:
        iou: least overlap of a detection with the box it finds, in (0, 1].
        threshold: operating point: detections with at least this score count where there is no curve; in [0, 1].
        threshold_given: whether somebody chose it, or it is the default.
        resamples: of the intervals; 0 for none.
        seed: of the resampling.

    Raises:
        ValueError: a value out of its range.
    """

    iou: float = 0.5
    threshold: float = 0.3
    threshold_given: bool = False
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.iou <= 1:
            raise ValueError(f"The overlap is {self.iou}; give an IoU above 0 and up to 1.")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"The operating point is {self.threshold}; give a score from 0 to 1.")
        if self.resamples < 0 or self.seed < 0:
            raise ValueError(f"{self.resamples} resamples with seed {self.seed}; neither may be negative.")


class Measurement:
    """A matched test set.

    Attributes:
        cases: the images, at least one, numbered on from 1.
        subject: their classes, and which of them are findings.
        settings: how they are evaluated.
        of_class: matches of each class.
        findings: matches of the findings' classes at once.
        agnostic: matches of all classes at once.
        patient: (I,) index 0..P-1 of each image's patient.
        patients, images: readings of the findings.
        record: what :func:`meddet_d2.files.write_json` takes: every figure, shares in [0, 1].
    """

    def __init__(self, cases: Sequence[Case], subject: Subject, settings: Settings) -> None:
        self.cases, self.subject, self.settings = list(cases), subject, settings
        self.of_class = [match(cases, settings.iou, [label]) for label in range(len(subject.classes))]
        self.findings = match(cases, settings.iou, subject.labels)
        self.agnostic = match(cases, settings.iou)
        self.patient = np.array([case.patient - 1 for case in cases], dtype=np.int64)
        self.patients = readings_of(cases, subject.labels, self.patient)
        self.images = readings_of(cases, subject.labels, np.arange(len(cases)))
        self._targets = {subject.finding: self.findings, subject.any_thing: self.agnostic}
        self._calibration = calibration.collect(self.of_class)
        patients = len(self.patients.positive)
        self._with_intervals = with_intervals(self.figures, patients, settings.resamples, settings.seed)
        self.record = self._record()

    def precision_recall(self) -> list[PrecisionRecall]:
        """The curve of each class."""
        return [precision_recall(matches) for matches in self.of_class]

    def froc(self) -> dict[str, Froc]:
        """The curves of the findings and of all classes at once."""
        return {name: froc(matches) for name, matches in self._targets.items()}

    def figures(self, weights: np.ndarray) -> dict[str, float]:
        """Every figure that has an interval.

        Args:
            weights: (P,) how often each patient is counted.

        Returns:
            By name; NaN where a figure is not defined.
        """
        threshold = self.settings.threshold
        of_images = weights[self.patient]
        figures: dict[str, float] = {}
        for name, readings, ours in (("patients", self.patients, weights), ("images", self.images, of_images)):
            figures[f"{name}.sensitivity"] = readings.share(True, threshold, ours)
            figures[f"{name}.specificity"] = readings.share(False, threshold, ours)
            figures[f"{name}.auc"] = readings.auc(ours)
        precisions = [average_precision(matches, of_images) for matches in self.of_class]
        # A class that nobody has is left out of the mean, but one that a resample happens to miss makes it undefined.
        defined = [ap for ap, matches in zip(precisions, self.of_class, strict=True) if len(matches.truth_image)]
        figures["average_precision.mean"] = float(np.mean(defined)) if defined else np.nan
        figures |= {f"average_precision.{name}": ap for name, ap in zip(self.subject.classes, precisions, strict=True)}
        for name, matches in self._targets.items():
            curve = froc(matches, of_images)
            at_rates = sensitivity_at(curve)
            figures |= {f"froc.{name} at {rate}": value for rate, value in zip(RATES, at_rates.tolist(), strict=True)}
            band = sensitivity_at(curve, GRID).tolist()
            figures |= {f"froc.{name} in band {index}": value for index, value in enumerate(band)}
            figures[f"froc.{name}.mean"] = float(at_rates.mean())
            # The last point whose threshold the operating point reaches.
            at = np.flatnonzero(curve.threshold >= threshold)[-1]
            figures[f"froc.{name}.here"] = float(curve.sensitivity[at])
            figures[f"froc.{name}.rate"] = float(curve.rate[at])
        error, brier = calibration.figures(self._calibration, of_images)
        return {**figures, "calibration.error": error, "calibration.brier": brier}

    def _record(self) -> dict[str, Any]:
        classes, threshold, figures = self.subject.classes, self.settings.threshold, self._with_intervals
        bins, brier = calibration.diagram(self.of_class)
        table = confusion(self.agnostic, threshold, len(classes)).tolist()
        table[-1][-1] = None  # discs neither there nor detected: nobody can count them
        return {
            "settings": asdict(self.settings),
            "subject": {**asdict(self.subject), "finding": self.subject.finding, "all": self.subject.any_thing},
            "counts": self._counts(),
            "patients": self._readings("patients"),
            "images": self._readings("images"),
            "average_precision": {name: figures[f"average_precision.{name}"] for name in ("mean", *classes)},
            "froc": {name: self._froc(name) for name in self._targets},
            "operating_points": [self._operating_point(threshold) for threshold in OTHER_THRESHOLDS],
            "confusion": {"rows": [*classes, "nothing there"], "columns": [*classes, "missed"], "boxes": table},
            "calibration": {
                "detections": sum(len(matches.score) for matches in self.of_class),
                "error": figures["calibration.error"],
                "brier": {**figures["calibration.brier"], "value": brier},
                "bins": bins,
            },
            "levels": by_level(self.agnostic, self.findings, threshold),
        }

    def _counts(self) -> dict[str, Any]:
        scores = np.concatenate([case.found_scores for case in self.cases])
        boxes = zip(self.subject.classes, (len(matches.truth_image) for matches in self.of_class), strict=True)
        return {
            "images": len(self.cases),
            "images_with_lesion": int(self.images.positive.sum()),
            "images_without_boxes": sum(not (~case.crowd).any() for case in self.cases),
            "patients": len(self.patients.positive),
            "patients_with_lesion": int(self.patients.positive.sum()),
            "boxes": dict(boxes),
            "crowd_boxes": sum(int(case.crowd.sum()) for case in self.cases),
            "detections": len(scores),
            "lowest_score": float(scores.min(initial=1.0)),
            "images_without_detections": sum(not len(case.found_scores) for case in self.cases),
            "left_out": {
                "beyond_100_of_a_class_in_an_image": sum(matches.beyond_limit for matches in self.of_class),
                "beyond_100_of_any_class_in_an_image": self.agnostic.beyond_limit,
                "on_crowd_boxes": sum(matches.on_crowd for matches in self.of_class),
            },
        }

    def _readings(self, name: str) -> dict[str, Any]:
        readings, figures = getattr(self, name), self._with_intervals
        right = readings.right(self.settings.threshold)
        record = {}
        for key, group in (("sensitivity", readings.positive), ("specificity", ~readings.positive)):
            counts = {"right": int((right & group).sum()), "of": int(group.sum())}
            # Images of one patient are not independent: for them there is no such limit.
            limit = limit_where_all_alike(**counts) if name == "patients" else None
            record[key] = {**figures[f"{name}.{key}"], **counts, "limit": limit}
        return {**record, "auc": figures[f"{name}.auc"], "roc": readings.roc()}

    def _froc(self, name: str) -> dict[str, Any]:
        figures, matches = self._with_intervals, self._targets[name]
        band = [figures[f"froc.{name} in band {index}"] for index in range(len(GRID))]
        counts = {"right": int(matches.found(self.settings.threshold).sum()), "of": len(matches.truth_image)}
        return {
            "sensitivity_at": [{"rate": rate, **figures[f"froc.{name} at {rate}"]} for rate in RATES],
            "mean": figures[f"froc.{name}.mean"],
            "at_operating_point": {
                "sensitivity": {**figures[f"froc.{name}.here"], **counts},
                "false_per_image": figures[f"froc.{name}.rate"],
            },
            "band": {"rate": GRID.tolist(), **{key: [point[key] for point in band] for key in ("low", "high")}},
        }

    def _operating_point(self, threshold: float) -> dict[str, Any]:
        right, positive, lesions = self.patients.right(threshold), self.patients.positive, self.findings
        return {
            "threshold": threshold,
            "patients_flagged_of_positive": int((right & positive).sum()),
            "patients_cleared_of_negative": int((right & ~positive).sum()),
            "lesions_found": int(lesions.found(threshold).sum()),
            "false_lesions_per_image": float((~lesions.hit & (lesions.score >= threshold)).sum() / lesions.images),
        }

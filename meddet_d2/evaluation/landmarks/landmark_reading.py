"""One run on a test set of landmarks, with every figure in one record; and a second run beside it."""

from typing import Any

import numpy as np

from .landmark_intervals import landmark_intervals, paired_difference
from .landmark_metrics import image_means, landmark_metrics, overall_metrics
from .landmark_truth import LandmarkTruth
from .radial_errors import at_wrong_level, radial_errors


class LandmarkReading:
    """A run.

    Attributes:
        truth: the test set.
        found: (I, K, 2), the run's predictions.
        compared: those of another run, or None.
        errors: (I, K), see :func:`radial_errors`.
        wrong: (I, K) bool, see :func:`at_wrong_level`.
        means: (I,), see :func:`image_means`.
        record: what :func:`meddet_d2.files.write_json` takes: errors in "unit", rates in percent.

    Args:
        truth, found, compared: as above.
        resamples: of the intervals; 0 for none.
        seed: of the resampling.

    Raises:
        ValueError: a negative number of resamples or seed.
    """

    def __init__(
        self,
        truth: LandmarkTruth,
        found: np.ndarray,
        compared: np.ndarray | None = None,
        *,
        resamples: int = 1000,
        seed: int = 0,
    ) -> None:
        if resamples < 0 or seed < 0:
            raise ValueError(f"{resamples} resamples with seed {seed}; neither may be negative.")
        self.truth, self.found, self.compared = truth, found, compared
        points = truth.points, found, truth.spacing
        self.errors, self.wrong = radial_errors(*points), at_wrong_level(*points)
        self.means = image_means(self.errors)
        each = landmark_metrics(self.errors, self.wrong, truth.names)
        draws = {"resamples": resamples, "seed": seed}
        self.record: dict[str, Any] = {
            "unit": truth.unit,
            "settings": draws,
            "counts": {
                "images": len(self.errors),
                "patients": int(truth.patient.max(initial=-1)) + 1,
                "patients_known": truth.patients_known,
                **landmark_counts(self.errors),
            },
            "overall": overall_metrics(self.errors, self.wrong),
            "intervals": landmark_intervals(truth, found, **draws),
            "landmarks": {
                name: {**landmark_counts(self.errors[:, index]), **each[name]} for index, name in enumerate(truth.names)
            },
            "comparison": None,
        }
        if compared is not None:
            errors = radial_errors(truth.points, compared, truth.spacing)
            self.record["comparison"] = {
                "missing": landmark_counts(errors)["missing"],
                "compared": landmark_intervals(truth, compared, **draws),
                "difference": paired_difference(truth, compared, found, **draws),
            }


def landmark_counts(errors: np.ndarray) -> dict[str, int]:
    """How many landmarks are counted (labelled), left out (not labelled), and missing (labelled, not predicted)."""
    return {
        "counted": int((~np.isnan(errors)).sum()),
        "left_out": int(np.isnan(errors).sum()),
        "missing": int(np.isinf(errors).sum()),
    }

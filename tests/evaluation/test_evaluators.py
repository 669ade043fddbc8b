"""Which evaluator judges what, and which of its metrics are better when they are smaller."""

from types import SimpleNamespace

import pytest

from meddet_d2.evaluation import DetectionEvaluator, LandmarkEvaluator, is_better_smaller


@pytest.mark.parametrize(
    ("evaluator", "metric", "smaller"),
    [
        (LandmarkEvaluator, "MRE", True),
        (LandmarkEvaluator, "MRE-C2/3", True),
        (LandmarkEvaluator, "wrong_level", True),
        (LandmarkEvaluator, "above10", True),
        (LandmarkEvaluator, "SDR2.5", False),
        (LandmarkEvaluator, "SDR4-C2/3", False),
        (DetectionEvaluator, "AP50", False),
        (SimpleNamespace(), "anything", False),
    ],
)
def test_what_is_better_when_smaller(evaluator, metric, smaller):
    assert is_better_smaller(evaluator, metric) is smaller

"""Radial errors and wrong levels against values worked out by hand, and against the package ``landmarker``."""

import numpy as np
import pytest

from meddet_d2.evaluation.landmarks.landmark_metrics import RADII, pool_metrics
from meddet_d2.evaluation.landmarks.radial_errors import at_wrong_level, radial_errors

NAN = np.nan


def test_rows_and_columns_have_their_own_spacing():
    truth, found = np.array([[[10.0, 20.0], [10.0, 20.0]]]), np.array([[[13.0, 20.0], [10.0, 24.0]]])
    spacing = np.array([[0.5, 2.0]])  # a row is 0.5 mm, a column 2 mm
    np.testing.assert_allclose(radial_errors(truth, found, spacing), [[6.0, 2.0]])
    np.testing.assert_allclose(radial_errors(truth, found), [[3.0, 4.0]])


def test_missing_is_infinite_and_unlabelled_is_nothing():
    truth = np.array([[[1.0, 1.0], [NAN, NAN], [5.0, 5.0], [7.0, 7.0]]])
    found = np.array([[[1.0, 1.0], [3.0, 3.0], [NAN, NAN], [np.inf, 7.0]]])
    np.testing.assert_array_equal(radial_errors(truth, found), [[0.0, NAN, np.inf, np.inf]])
    assert not at_wrong_level(truth, found).any()


def test_the_nearest_true_landmark_is_another_one():
    truth = np.array([[[0.0, 0.0], [0.0, 10.0], [NAN, NAN]]])
    # Nearer to the second; exactly between the two; on an unlabelled one's guess.
    found = np.array([[[0.0, 6.0], [0.0, 5.0], [0.0, 0.0]]])
    assert at_wrong_level(truth, found).tolist() == [[True, False, False]]


def test_the_nearest_is_found_in_millimetres():
    truth, found = np.array([[[0.0, 0.0], [10.0, 8.0]]]), np.array([[[10.0, 0.0], [10.0, 8.0]]])
    assert at_wrong_level(truth, found).tolist() == [[True, False]]
    # A row is now long, a column short: the prediction is nearer to its own.
    assert not at_wrong_level(truth, found, np.array([[2.0, 0.5]])).any()


@pytest.mark.parametrize("seed", range(3))
def test_the_same_as_landmarker(seed):
    """Its points are (y, x), so that its spacing needs no turning."""
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("landmarker.metrics")
    rng = np.random.default_rng(seed)
    truth, spacing = rng.uniform(0, 500, (20, 19, 2)), rng.uniform(0.1, 1.5, (20, 2))
    found = truth + rng.normal(0, 4, truth.shape)
    errors = radial_errors(truth, found, spacing)
    ours = pool_metrics(errors, at_wrong_level(truth, found, spacing))
    theirs = [torch.from_numpy(points[..., ::-1].copy()) for points in (truth, found)]
    of_each = metrics.point_error(*theirs, pixel_spacing=torch.from_numpy(spacing), reduction="none")
    np.testing.assert_allclose(errors, of_each.numpy(), rtol=0, atol=1e-6)
    mean = metrics.point_error(*theirs, pixel_spacing=torch.from_numpy(spacing))
    assert ours["MRE"] == pytest.approx(float(mean), abs=1e-6)
    rates = metrics.sdr(list(RADII.values()), *theirs, pixel_spacing=torch.from_numpy(spacing))
    # It counts in single precision.
    assert [ours[name] for name in RADII] == pytest.approx([rates[radius] for radius in RADII.values()], rel=1e-6)

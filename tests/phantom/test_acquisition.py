import numpy as np
import pytest

from meddet_d2.phantom.acquisition import add_bias_field, add_rician_noise


def test_air_is_rayleigh_and_tissue_gaussian():
    image = np.zeros((256, 256), np.float32)
    image[:, 128:] = 0.5
    noisy = add_rician_noise(image, 0.03, np.random.default_rng(0))
    air, tissue = noisy[:, :128], noisy[:, 128:]
    assert noisy.dtype == np.float32 and noisy.min() >= 0
    assert air.mean() == pytest.approx(0.03 * np.sqrt(np.pi / 2), rel=0.02)
    assert air.std() == pytest.approx(0.03 * np.sqrt(2 - np.pi / 2), rel=0.02)
    assert tissue.std() == pytest.approx(0.03, rel=0.03)
    # The magnitude is biased upward by about sigma^2 / (2 x).
    assert tissue.mean() - 0.5 == pytest.approx(0.03**2 / (2 * 0.5), abs=3e-4)


def test_no_noise_changes_nothing():
    image = np.random.default_rng(0).random((32, 48), dtype=np.float32)
    assert np.allclose(add_rician_noise(image, 0.0, np.random.default_rng(1)), image, atol=1e-7)
    assert np.allclose(add_bias_field(image, 0.0, np.random.default_rng(1)), image, atol=1e-7)


def test_bias_is_smooth_and_bounded():
    field = add_bias_field(np.ones((64, 96), np.float32), 0.3, np.random.default_rng(2))
    assert field.shape == (64, 96) and field.dtype == np.float32
    assert np.abs(np.log(field)).max() == pytest.approx(0.3, abs=1e-5)
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1)) < 0.05


@pytest.mark.parametrize("effect", [add_rician_noise, add_bias_field])
@pytest.mark.parametrize("strength", [-0.1, float("nan"), float("inf")])
def test_bad_strengths_are_refused(effect, strength):
    with pytest.raises(ValueError, match=effect.__name__):
        effect(np.ones((8, 8)), strength, np.random.default_rng(0))


@pytest.mark.parametrize("effect", [add_rician_noise, add_bias_field])
def test_the_generator_decides(effect):
    image = np.ones((16, 16), np.float32)
    one, same, other = (effect(image, 0.2, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert np.array_equal(one, same) and not np.array_equal(one, other)

"""Values to grey levels, at the ends of what floats can hold."""

import numpy as np
import pytest

from meddet_d2.formats import window


@pytest.mark.parametrize("scale", [5e-324, 1e-300, 1.0, 1e300, 1.7e308])
def test_numbers_of_every_size(scale):
    values = np.linspace(-1.0, 1.0, 1000) * scale
    shown = window(values).astype(int)
    assert {shown[0], shown[-1]} == {0, 255} and (np.diff(shown) >= 0).all()
    if scale > 1e-310:
        assert np.array_equal(shown, window(np.linspace(-1.0, 1.0, 1000)))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_a_constant_image_is_no_division_by_zero(kind):
    with np.errstate(all="raise"):
        assert not window(np.full((5, 6), 3, kind)).any()


def test_a_longer_float_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="NaN or infinite"), np.errstate(all="raise"):
        window(np.array([0.0, np.longdouble("1e4000")]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        window(np.array([0.0, 1.0, value]))

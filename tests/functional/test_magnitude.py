"""Norms of numbers whose squares are no float32."""

import keras
import numpy as np
import pytest

from tfalign.functional.magnitude import global_norm, is_finite, safe_scale


@pytest.mark.parametrize("size", [1e-15, 1.0, 1e15, 1e20, 1e30, 6e37])
def test_the_norm_of_several_tensors(size):
    """3, 4 and 12: their norm is 13."""
    tensors = [np.array([[3.0], [4.0]]) * size, np.array([12.0]) * size]
    norm = global_norm([keras.ops.convert_to_tensor(x.astype("float32")) for x in tensors])
    if 13 * size > 3.4e38:
        assert np.isposinf(float(norm))
    else:
        np.testing.assert_allclose(float(norm), 13 * size, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(value):
    assert not is_finite(global_norm([np.array([1.0, value], "float32")]))


def test_ordinary_norms_keep_their_digits():
    numbers = np.random.default_rng(0).normal(size=1000).astype("float32")
    plain = keras.ops.sqrt(keras.ops.sum(keras.ops.square(numbers)))
    assert float(global_norm([numbers])) == float(plain)


@pytest.mark.parametrize("largest", [0.0, 1.0, 2.0**32, 2.0**33, 2.0**80, 2.0**81, 3e38, np.inf])
def test_what_is_scaled_can_be_squared_and_summed(largest):
    scale = float(safe_scale(np.array([1.0, -largest], "float32"))[0])
    assert np.log2(scale) == int(np.log2(scale))
    assert (scale == 1.0) == (largest <= 2.0**32)
    if np.isfinite(largest):
        assert 1e6 * (scale * largest) ** 2 < 3e38

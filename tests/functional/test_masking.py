import hypothesis.extra.numpy
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from tfalign.functional import masking

X = np.array([[1.0, 2.0, 99.0], [4.0, 99.0, 99.0]], "float32")
MASK = np.array([[True, True, False], [True, False, False]])


@pytest.mark.parametrize(
    ("function", "axis", "expected"),
    [
        (masking.masked_sum, None, 7.0),
        (masking.masked_sum, 1, [3.0, 4.0]),
        (masking.masked_mean, None, 7 / 3),
        (masking.masked_mean, 1, [1.5, 4.0]),
        (masking.masked_variance, None, 14 / 9),
        (masking.masked_variance, 1, [0.25, 0.0]),
    ],
)
def test_reductions_over_real_tokens(function, axis, expected):
    np.testing.assert_allclose(function(X, MASK, axis), expected, rtol=1e-6)


def test_bessel_divides_by_one_less():
    np.testing.assert_allclose(masking.masked_variance(X, MASK, bessel=True), 7 / 3, rtol=1e-6)
    np.testing.assert_allclose(masking.masked_variance(X, MASK, 1, bessel=True), [0.5, 0.0])


def test_nothing_selected_gives_zero():
    nothing = np.zeros_like(MASK)
    for function in (masking.masked_sum, masking.masked_mean, masking.masked_variance):
        assert float(function(X, nothing)) == 0.0
    np.testing.assert_array_equal(masking.masked_whiten(X, nothing), np.zeros_like(X))


def test_a_mask_is_broadcast():
    np.testing.assert_allclose(masking.masked_mean(X, np.array([True, False, False])), 2.5)


@pytest.mark.parametrize("shift_mean", [True, False])
def test_whitening(shift_mean):
    # 1, 2 and 4: mean 7/3, deviations -4/3, -1/3 and 5/3, variance 14/9.
    scaled = np.array([-4.0, -1.0, 5.0]) / np.sqrt(14.0)
    expected = scaled if shift_mean else scaled + 7 / 3
    whitened = ops.convert_to_numpy(masking.masked_whiten(X, MASK, shift_mean))
    np.testing.assert_allclose(whitened[MASK], expected, rtol=1e-6)
    np.testing.assert_array_equal(whitened[~MASK], 0.0)


def test_whitening_of_equal_values_is_finite():
    equal = np.full((2, 3), 5.0, "float32")
    np.testing.assert_array_equal(masking.masked_whiten(equal, MASK), np.zeros_like(X))


@pytest.mark.parametrize("size", [1.0, 1e5, 1e10, 1e20, 1e30, 3e37])
@pytest.mark.parametrize("shift_mean", [True, False])
def test_huge_values_are_whitened_as_any_others(size, shift_mean):
    """1, 2 and 4 of any size: whitened they are (-4, -1, 5) / sqrt(14)."""
    x = np.where(MASK, X, 0).astype("float32") * np.float32(size)
    x[~MASK] = 3e38
    scaled = np.array([-4.0, -1.0, 5.0]) / np.sqrt(14.0)
    expected = scaled if shift_mean else scaled + 7 / 3 * size
    whitened = ops.convert_to_numpy(masking.masked_whiten(x, MASK, shift_mean))
    np.testing.assert_allclose(whitened[MASK], expected, rtol=1e-4)
    np.testing.assert_array_equal(whitened[~MASK], 0.0)
    np.testing.assert_allclose(masking.masked_mean(x, MASK), 7 / 3 * size, rtol=1e-6)
    np.testing.assert_allclose(masking.masked_mean(x, MASK, 1), [1.5 * size, 4 * size], rtol=1e-6)
    if size < 1e15:
        variance = masking.masked_variance(x, MASK, bessel=True)
        np.testing.assert_allclose(variance, 7 / 3 * size**2, rtol=1e-4)


def test_values_far_apart_and_means_of_the_largest():
    largest = np.array([[3e38, 3e38, -3e38, -3e38]], "float32")
    every = np.ones_like(largest, "bool")
    np.testing.assert_allclose(masking.masked_whiten(largest, every), np.sign(largest), rtol=1e-5)
    assert float(masking.masked_mean(np.abs(largest), every)) == np.float32(3e38)
    assert np.isposinf(masking.masked_variance(largest, every))  # it is no float32
    rows = np.array([[1e30, 3e30], [1.0, 3.0]], "float32")  # neither row knows of the other
    np.testing.assert_allclose(masking.masked_mean(rows, True, 1), [2e30, 2.0], rtol=1e-6)
    np.testing.assert_allclose(masking.masked_variance(rows, True, 1)[1], 1.0)


@pytest.mark.parametrize("value", [0.1, 1e6, 1e20, 3e38])
def test_equal_values_have_no_deviation_however_large(value):
    """The mean of seven equal numbers need not round to that number."""
    equal = np.full((1, 7), value, "float32")
    assert not np.asarray(masking.masked_whiten(equal, np.ones((1, 7), "bool"))).any()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_whitened_away(value):
    spoiled = np.where(np.arange(3) == 1, value, X).astype("float32")
    assert np.isnan(ops.convert_to_numpy(masking.masked_whiten(spoiled, MASK))).any()


@given(
    hypothesis.extra.numpy.arrays(
        "float32", (2, 3), elements=st.floats(-(2.0**20), 2.0**20, width=32)
    ),
    st.integers(-10, 100),
)
def test_a_power_of_two_changes_no_digit(x, exponent):
    """What is computed of numbers that are scaled before they are squared has the digits it would have."""
    factor = np.float32(2.0) ** exponent
    plain, scaled = (masking.masked_mean(x * f, MASK) for f in (np.float32(1), factor))
    assert float(scaled) == float(plain) * float(factor) or abs(float(plain)) < 1e-25


@pytest.mark.parametrize("padding", [np.nan, np.inf, -1e30])
@pytest.mark.parametrize(
    "function",
    [masking.masked_sum, masking.masked_mean, masking.masked_variance, masking.masked_whiten],
)
def test_padding_reaches_neither_value_nor_gradient(function, padding, compiled):
    weights = np.arange(1, 7, dtype="float32").reshape(2, 3)
    run = compiled(lambda x, mask, weights: function(x, mask) * weights)
    zero_padded, (zero_gradient, _) = run(np.where(MASK, X, 0).astype("float32"), MASK, weights)
    padded, (gradient, _) = run(np.where(MASK, X, padding).astype("float32"), MASK, weights)
    np.testing.assert_array_equal(padded, zero_padded)
    np.testing.assert_array_equal(gradient, zero_gradient)
    np.testing.assert_array_equal(gradient[~MASK], 0.0)
    assert np.isfinite(gradient).all()


def test_low_precision_is_summed_in_float32():
    ones = ops.ones((1, 4096), dtype="bfloat16")
    total = masking.masked_sum(ones, np.ones((1, 4096), bool))
    assert float(total) == 4096.0


@pytest.mark.parametrize(
    ("mask", "positions"),
    [
        ([0, 0, 1, 1], [0, 0, 0, 1]),
        ([1, 1, 0, 0], [0, 1, 2, 2]),
        ([1, 1, 1, 1], [0, 1, 2, 3]),
        ([1, 0, 1, 0], [0, 1, 1, 2]),
    ],
)
def test_positions_count_the_real_tokens_before(mask, positions):
    result = masking.positions_from_mask(np.array([mask], bool))
    np.testing.assert_array_equal(result, [positions])
    assert keras.backend.standardize_dtype(result.dtype) == "int32"


def test_last_true_index():
    mask = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]], bool)
    np.testing.assert_array_equal(masking.last_true_index(mask), [1, 2, 0, -1])


def test_to_left_padded_keeps_the_order_of_the_real_tokens():
    token_ids = np.array([[5, 6, 0, 0], [0, 5, 6, 7], [5, 0, 6, 0], [5, 6, 7, 8]], "int32")
    moved, mask = masking.to_left_padded(token_ids, token_ids > 0)
    np.testing.assert_array_equal(moved, [[0, 0, 5, 6], [0, 5, 6, 7], [0, 0, 5, 6], [5, 6, 7, 8]])
    np.testing.assert_array_equal(mask, ops.convert_to_numpy(moved) > 0)


def test_positions_in_documents():
    segment_ids = np.array([[1, 1, 2, 2, 2, 0], [0, 3, 3, 3, 0, 0], [5, 1, 1, 1, 1, 2]], "int32")
    expected = [[0, 1, 0, 1, 2, 0], [0, 0, 1, 2, 0, 0], [0, 0, 1, 2, 3, 0]]
    np.testing.assert_array_equal(masking.document_positions(segment_ids), expected)

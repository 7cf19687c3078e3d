"""Dropout drops what it says, the same forward and backward and on both backends, and differently each time."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.functional.random import threefry2x32
from tfalign.layers import Dropout


def dropped(rate, x, **choices):
    return np.asarray(Dropout(rate, seed=3, **choices)(x, training=True))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_so_many_are_kept_and_their_mean_stays(rate):
    x = np.full((200, 100, 5), 2.0, "float32")
    y = dropped(rate, x)
    np.testing.assert_allclose(y[y != 0], 2.0 / (1 - rate), rtol=1e-6)
    deviation = (rate * (1 - rate) / x.size) ** 0.5
    assert abs((y == 0).mean() - rate) < 5 * deviation
    for axis in ((1, 2), (0, 2), (0, 1)):  # no row, column or number is treated differently
        count = x.size / np.prod(np.array(x.shape)[list({0, 1, 2} - set(axis))])
        apart = abs((y == 0).mean(axis) - rate) / (rate * (1 - rate) / count) ** 0.5
        assert apart.max() < 5.5


def test_the_numbers_are_threefry_s_by_row_and_place():
    layer = Dropout(0.3, seed=3)
    seed = np.asarray(layer.seed_generator.state).astype("uint32")
    y = np.asarray(layer(np.ones((4, 3, 5), "float32"), training=True))
    rows, places = np.arange(4)[:, None], np.arange(15)[None]
    bits, _ = threefry2x32((int(seed[0]), int(seed[1])), (rows, places))
    expected = np.asarray(bits) >= round(0.3 * 2**32)
    np.testing.assert_array_equal(y.reshape(4, 15) > 0, expected)


def test_every_call_draws_anew_and_the_state_says_what_comes():
    layer, x = Dropout(0.5, seed=3), np.ones((8, 64), "float32")
    before = np.asarray(layer.seed_generator.state)
    first, second = (np.asarray(layer(x, training=True)) for _ in range(2))
    agree = (first == second).mean()
    assert 0.4 < agree < 0.6
    layer.seed_generator.state.assign(before)
    np.testing.assert_array_equal(layer(x, training=True), first)


def test_the_gradient_is_what_was_kept():
    layer, variable = Dropout(0.4, seed=3), keras.Variable(np.ones((16, 32), "float32"))
    scale = np.random.default_rng(0).normal(size=(16, 32)).astype("float32")

    def step():
        def loss():
            y = layer(ops.convert_to_tensor(variable), training=True)
            return ops.sum(y * scale), y

        _, y, gradients = backend.value_and_grad(loss, [variable])
        return y, gradients[0]

    y, gradient = backend.jit(step, [variable, *layer.variables])()
    np.testing.assert_allclose(gradient, np.asarray(y) * scale, rtol=1e-6)
    assert 0 < (np.asarray(y) == 0).mean() < 1


def test_a_noise_shape_drops_together():
    y = dropped(0.5, np.ones((6, 7, 8), "float32"), noise_shape=(None, 1, None))
    assert (y == y[:, :1]).all() and 0 < (y == 0).mean() < 1


def test_without_training_or_rate_nothing_happens():
    x = np.ones((2, 3), "float32")
    np.testing.assert_array_equal(Dropout(0.5)(x), x)
    np.testing.assert_array_equal(Dropout(0.0)(x, training=True), x)
    np.testing.assert_array_equal(dropped(1.0, x), 0 * x)


def test_low_precision_stays():
    y = Dropout(0.5, seed=3, dtype="bfloat16")(ops.ones((4, 8), "bfloat16"), training=True)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"


def test_it_stands_in_a_functional_model_and_in_its_config():
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, Dropout(0.5, seed=1)(inputs))
    again = keras.Model.from_config(model.get_config())
    x = np.ones((3, 5, 4), "float32")
    np.testing.assert_array_equal(again(x, training=True), model(x, training=True))

"""Feed-forward networks and activations by hand."""

import math

import numpy as np
import pytest

from tfalign.layers import FeedForward, GatedFeedForward, activation_function


def test_gelu_is_exact_and_gelu_tanh_is_gpt2s():
    x = np.array([-3.0, -1.0, -0.1, 0.0, 0.5, 1.0, 2.0], "float32")
    exact = [v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x]
    tanh = [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x]
    np.testing.assert_allclose(activation_function("gelu")(x), exact, atol=1e-6)
    np.testing.assert_allclose(activation_function("gelu_tanh")(x), tanh, atol=1e-6)
    assert np.abs(np.subtract(exact, tanh)).max() > 1e-4  # so that each test can fail


def test_other_activations_are_keras_by_name():
    assert float(activation_function("relu")(np.float32(-2))) == 0
    assert float(activation_function("silu")(np.float32(1))) == pytest.approx(
        1 / (1 + math.exp(-1))
    )


def test_feed_forward_equals_its_formula():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    layer = FeedForward(5, activation="relu", initializer_range=0.5)
    outputs = layer(x)
    layer.inner.bias.assign(np.linspace(-1, 1, 5))
    layer.outer.bias.assign(np.linspace(1, 2, 4))
    (inner, inner_bias), (outer, outer_bias) = layer.inner.get_weights(), layer.outer.get_weights()
    expected = np.maximum(x @ inner + inner_bias, 0) @ outer + outer_bias
    assert np.abs(expected - np.asarray(outputs)).max() > 0.1  # the biases count
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_swiglu_equals_its_formula():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    layer = GatedFeedForward(5, initializer_range=0.5)
    outputs = layer(x)
    gate, inner, outer = (
        getattr(layer, name).get_weights()[0] for name in ("gate", "inner", "outer")
    )
    gated = x @ gate
    expected = (gated / (1 + np.exp(-gated)) * (x @ inner)) @ outer
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_output_kernel_has_its_own_initial_spread():
    layer = FeedForward(400, initializer_range=0.02, output_initializer_range=0.002)
    layer.build((None, None, 100))
    assert np.std(layer.inner.kernel) == pytest.approx(0.02, rel=0.05)
    assert np.std(layer.outer.kernel) == pytest.approx(0.002, rel=0.05)

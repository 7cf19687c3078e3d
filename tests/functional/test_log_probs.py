import re

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.functional import log_probs


def numpy_log_softmax(logits, temperature=1.0):
    scaled = logits.astype("float64") / temperature
    shifted = scaled - scaled.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def test_two_tokens_by_hand():
    logits = np.array([[[0.0, np.log(3.0)]]], "float32")
    for token, expected in ((0, 0.25), (1, 0.75)):
        result = log_probs.token_log_probs(logits, np.array([[token]], "int32"))
        np.testing.assert_allclose(result, [[np.log(expected)]], rtol=1e-6)
    # At temperature 1/2 the odds are 9 to 1.
    result = log_probs.token_log_probs(logits, np.array([[1]], "int32"), temperature=0.5)
    np.testing.assert_allclose(result, [[np.log(0.9)]], rtol=1e-6)
    expected_entropy = -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    np.testing.assert_allclose(log_probs.entropy(logits), [[expected_entropy]], rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients_against_numpy(temperature, rng, compiled):
    logits = rng.normal(size=(2, 3, 11)).astype("float32")
    tokens = rng.integers(0, 11, (2, 3)).astype("int32")
    expected = numpy_log_softmax(logits, temperature)
    probs, chosen = np.exp(expected), np.eye(11)[tokens]
    values, (gradient,) = compiled(
        lambda logits, tokens: log_probs.token_log_probs(logits, tokens, temperature)
    )(logits, tokens)
    np.testing.assert_allclose(values, (expected * chosen).sum(-1), atol=1e-6)
    np.testing.assert_allclose(gradient, (chosen - probs) / temperature, atol=1e-6)
    entropies, (gradient,) = compiled(lambda logits: log_probs.entropy(logits, temperature))(logits)
    expected_entropies = -(probs * expected).sum(-1, keepdims=True)
    np.testing.assert_allclose(entropies, expected_entropies[..., 0], atol=1e-6)
    np.testing.assert_allclose(
        gradient, -probs * (expected + expected_entropies) / temperature, atol=1e-6
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_logits_give_float32_log_probs(dtype, rng):
    logits = ops.cast(rng.normal(size=(2, 3, 500)), dtype)
    tokens = rng.integers(0, 500, (2, 3)).astype("int32")
    result = log_probs.token_log_probs(logits, tokens)
    assert keras.backend.standardize_dtype(result.dtype) == "float32"
    # Exact for the rounded logits: an evaluation in 16 bits would be off by more than 1e-3.
    rounded = ops.convert_to_numpy(ops.cast(logits, "float32"))
    expected = np.take_along_axis(numpy_log_softmax(rounded), tokens[..., None], -1)[..., 0]
    np.testing.assert_allclose(result, expected, atol=2e-6)
    assert keras.backend.standardize_dtype(log_probs.entropy(logits).dtype) == "float32"


@pytest.mark.parametrize("logits", [[1e4, -1e4, 0.0], [-np.inf, 0.0, 1.0], [88.0, 89.0, -1e30]])
def test_extreme_logits_stay_finite(logits, compiled):
    array = np.array([[logits]], "float32")
    values, (gradient,) = compiled(log_probs.token_log_probs)(array, np.array([[1]], "int32"))
    assert np.isfinite(values).all() and np.isfinite(gradient).all()
    values, (gradient,) = compiled(log_probs.entropy)(array)
    assert np.isfinite(values).all() and np.isfinite(gradient).all()


def test_a_banned_token_leaves_the_entropy_of_the_others():
    banned = np.array([[[-np.inf, 0.3, 0.3]]], "float32")
    np.testing.assert_allclose(log_probs.entropy(banned), [[np.log(2.0)]], rtol=1e-6)
    result = log_probs.token_log_probs(banned, np.array([[0]], "int32"))
    np.testing.assert_array_equal(result, [[-np.inf]])


@pytest.mark.parametrize("temperature", [0.0, -1])
def test_a_temperature_out_of_range_is_refused(temperature):
    with pytest.raises(ValueError, match=f"Received: temperature={temperature}"):
        log_probs.entropy(np.zeros((1, 1, 2), "float32"), temperature)


def plain_projection(hidden, kernel, tokens, temperature, cap=None):
    logits = ops.matmul(hidden, kernel)
    logits = logits if cap is None else cap * ops.tanh(logits / cap)
    return (
        log_probs.token_log_probs(logits, tokens, temperature),
        log_probs.entropy(logits, temperature),
    )


@pytest.fixture
def projection(rng):
    hidden = rng.normal(size=(3, 7, 16)).astype("float32")
    kernel = rng.normal(size=(16, 50)).astype("float32")
    tokens = rng.integers(0, 50, (3, 7)).astype("int32")
    weights = rng.normal(size=(2, 3, 7)).astype("float32")
    return hidden, kernel, tokens, weights


# 21 positions: ragged, even, all, more
@pytest.mark.parametrize("chunk, cap", [(1, None), (4, 3.0), (7, None), (21, 3.0), (100, None)])
def test_chunked_equals_plain(chunk, cap, projection, compiled):
    capped = {} if cap is None else {"softcap": cap}

    def weighted(function, *sizes, **more):
        def call(hidden, kernel, tokens, weights):
            values = function(hidden, kernel, tokens, *sizes, 0.7, **more)
            return values[0], values[1], values[0] * weights[0] + values[1] * weights[1]

        return compiled(call)(*projection)

    plain, plain_gradients = weighted(plain_projection, cap=cap)
    chunked, chunked_gradients = weighted(log_probs.chunked_token_log_probs, chunk, **capped)
    for expected, result in zip(plain, chunked, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    for expected, result in zip(plain_gradients[:2], chunked_gradients[:2], strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
        assert np.abs(expected).max() > 0.1


def test_chunked_takes_low_precision_and_a_kernel_in_float32(projection):
    hidden, kernel, tokens, _ = projection
    low_hidden, low_kernel = ops.cast(hidden, "bfloat16"), ops.cast(kernel, "bfloat16")
    plain = plain_projection(low_hidden, low_kernel, tokens, 1.0)
    chunked = log_probs.chunked_token_log_probs(low_hidden, kernel, tokens, 4)
    for expected, result in zip(plain, chunked, strict=True):
        assert keras.backend.standardize_dtype(result.dtype) == "float32"
        expected = ops.convert_to_numpy(expected)
        np.testing.assert_allclose(result, expected, rtol=0.02, atol=0.05)


def test_chunked_takes_a_variable_as_kernel(projection):
    hidden, kernel, tokens, _ = projection
    variable = keras.Variable(kernel)
    expected, _ = plain_projection(hidden, kernel, tokens, 1.0)
    if keras.backend.backend() != "tensorflow":
        result, _ = log_probs.chunked_token_log_probs(hidden, variable, tokens, 4)
        np.testing.assert_allclose(result, expected, atol=1e-5)
        return
    import tensorflow as tf

    with tf.GradientTape() as tape:  # outside of tf.function, where variables stay variables
        result, _ = log_probs.chunked_token_log_probs(hidden, variable, tokens, 4)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    gradient = tape.gradient(result, variable.value)
    np.testing.assert_allclose(ops.sum(gradient, axis=-1), np.zeros(16), atol=1e-4)
    assert np.abs(gradient).max() > 0.1


def test_chunked_never_holds_the_logits():
    """The largest array of the compiled forward and backward pass is one chunk of logits."""
    num_rows, num_columns, width, vocabulary, chunk = 4, 32, 8, 640, 16

    def loss(function, *sizes):
        def call(hidden, kernel, tokens):
            values = function(hidden, kernel, tokens, *sizes, 1.0)
            return ops.sum(values[0]) + ops.sum(values[1])

        return call

    arrays = (
        np.ones((num_rows, num_columns, width), "float32"),
        np.ones((width, vocabulary), "float32"),
        np.ones((num_rows, num_columns), "int32"),
    )
    all_logits = num_rows * num_columns * vocabulary
    assert largest_array(loss(plain_projection), *arrays) >= all_logits
    chunked = loss(log_probs.chunked_token_log_probs, chunk)
    assert largest_array(chunked, *arrays) == chunk * vocabulary


def largest_array(function, *arrays):
    """Elements of the largest array in the XLA program of the gradients of function."""
    if keras.backend.backend() == "jax":
        import jax

        program = jax.jit(jax.grad(function, (0, 1))).lower(*arrays).compile().as_text()
    else:
        import tensorflow as tf

        @tf.function(jit_compile=True)
        def gradients(hidden, kernel, tokens):
            with tf.GradientTape() as tape:
                tape.watch((hidden, kernel))
                total = function(hidden, kernel, tokens)
            return tape.gradient(total, (hidden, kernel))

        tensors = [tf.constant(array) for array in arrays]
        program = gradients.experimental_get_compiler_ir(*tensors)(stage="optimized_hlo")
    shapes = re.findall(r"\b(?:f|bf|s|u|pred)\d*\[([\d,]+)\]", program)
    return max(int(np.prod([int(size) for size in shape.split(",")])) for shape in shapes)


def test_a_chunk_out_of_range_is_refused(projection):
    hidden, kernel, tokens, _ = projection
    with pytest.raises(ValueError, match="Received: chunk=0"):
        log_probs.chunked_token_log_probs(hidden, kernel, tokens, 0)

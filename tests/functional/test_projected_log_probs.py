"""A read-out's own gradient: the numbers of the plain one, whole and a part at a time."""

import re

import keras
import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.functional.log_probs import entropy, token_log_probs
from tfalign.functional.projected_log_probs import (
    projected_log_probs,
    projected_log_probs_and_entropies,
)


def plain_projection(hidden, kernel, tokens, temperature, softcap=None):
    logits = ops.matmul(hidden, kernel)
    logits = logits if softcap is None else softcap * ops.tanh(logits / softcap)
    return (
        token_log_probs(logits, tokens, temperature),
        entropy(logits, temperature),
    )


@pytest.fixture
def projection(rng):
    hidden = rng.normal(size=(3, 7, 16)).astype("float32")
    kernel = rng.normal(size=(16, 50)).astype("float32")
    tokens = rng.integers(0, 50, (3, 7)).astype("int32")
    weights = rng.normal(size=(2, 3, 7)).astype("float32")
    return hidden, kernel, tokens, weights


def weighted(function, *sizes, **capped):
    def call(hidden, kernel, tokens, weights):
        values = function(hidden, kernel, tokens, *sizes, 0.7, **capped)
        return values[0], values[1], values[0] * weights[0] + values[1] * weights[1]

    return call


# 21 positions: whole, ragged, even, more
@pytest.mark.parametrize("chunk, cap", [(0, None), (0, 3.0), (4, 3.0), (7, None), (100, None)])
def test_projected_equals_plain(chunk, cap, projection, compiled):
    plain, plain_gradients = compiled(weighted(plain_projection, softcap=cap))(*projection)
    own = weighted(projected_log_probs_and_entropies, chunk, softcap=cap)
    chunked, chunked_gradients = compiled(own)(*projection)
    for expected, result in zip(plain, chunked, strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    for expected, result in zip(plain_gradients[:2], chunked_gradients[:2], strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
        assert np.abs(expected).max() > 0.1


@pytest.mark.parametrize("chunk", [0, 4])
def test_log_probs_alone_are_the_same(chunk, projection, compiled):
    hidden, kernel, tokens, weights = projection

    def alone(hidden, kernel, tokens, weights):
        return projected_log_probs(hidden, kernel, tokens, chunk, 0.7) * weights

    def both(hidden, kernel, tokens, weights):
        return projected_log_probs_and_entropies(hidden, kernel, tokens, chunk, 0.7)[0] * weights

    values, gradients = compiled(alone)(hidden, kernel, tokens, weights[0])
    expected, expected_gradients = compiled(both)(hidden, kernel, tokens, weights[0])
    np.testing.assert_array_equal(values, expected)
    for one, other in zip(gradients[:2], expected_gradients[:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("chunk", [pytest.param(0, marks=pytest.mark.slow), 4])
def test_a_part_of_a_program_that_is_recomputed_in_a_loop(chunk, projection, compiled):
    """Tokens, states and temperature are the loop's own, which the gradient may not look for outside of it."""
    hidden, kernel, tokens, weights = projection

    def banned(logits, states):
        return ops.where(ops.arange(50) == states[..., None], -np.inf, logits)

    def looped(read):
        def call(hidden, kernel, tokens, weights):
            def step(total, row):
                move, temperature = row
                now = ops.cast(ops.cast(tokens, "float32") + move, "int32")
                asked = now, temperature, banned, now + 1
                more = keras.remat(lambda h, k: read(h, k, *asked))(hidden, kernel)
                return total + more * weights[0]

            rows = [(np.float32(0), np.float32(0.7)), (np.float32(1), np.float32(1.3))]
            rows = [[ops.convert_to_tensor(x) for x in row] for row in rows]
            return backend.scan(step, ops.zeros_like(weights[0]), rows)

        return compiled(call)(hidden, kernel, np.minimum(tokens, 47), weights)

    def plain(hidden, kernel, tokens, temperature, restrict, states):
        return token_log_probs(restrict(ops.matmul(hidden, kernel), states), tokens, temperature)

    def own(hidden, kernel, tokens, *asked):
        return projected_log_probs(hidden, kernel, tokens, chunk, *asked)

    expected, expected_gradients = looped(plain)
    values, gradients = looped(own)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients[:2], expected_gradients[:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_chunked_takes_low_precision_and_a_kernel_in_float32(projection):
    hidden, kernel, tokens, _ = projection
    low_hidden, low_kernel = ops.cast(hidden, "bfloat16"), ops.cast(kernel, "bfloat16")
    plain = plain_projection(low_hidden, low_kernel, tokens, 1.0)
    chunked = projected_log_probs_and_entropies(low_hidden, kernel, tokens, 4)
    for expected, result in zip(plain, chunked, strict=True):
        assert keras.backend.standardize_dtype(result.dtype) == "float32"
        expected = ops.convert_to_numpy(expected)
        np.testing.assert_allclose(result, expected, rtol=0.02, atol=0.05)


def test_chunked_takes_a_variable_as_kernel(projection):
    hidden, kernel, tokens, _ = projection
    variable = keras.Variable(kernel)
    expected, _ = plain_projection(hidden, kernel, tokens, 1.0)
    if keras.backend.backend() != "tensorflow":
        result, _ = projected_log_probs_and_entropies(hidden, variable, tokens, 4)
        np.testing.assert_allclose(result, expected, atol=1e-5)
        return
    import tensorflow as tf

    with tf.GradientTape() as tape:  # outside of tf.function, where variables stay variables
        result, _ = projected_log_probs_and_entropies(hidden, variable, tokens, 4)
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
    chunked = loss(projected_log_probs_and_entropies, chunk)
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
    with pytest.raises(ValueError, match="Received: chunk=-1"):
        projected_log_probs(hidden, kernel, tokens, -1)

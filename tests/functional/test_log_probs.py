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

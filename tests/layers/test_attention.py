"""Attention against an oracle of eight lines, with every kind of mask, and its invariances."""

import keras
import numpy as np
import pytest
from keras import ops

from tfalign.layers import (
    MultiHeadAttention,
    Rotary,
    Visibility,
    banded_mask,
    causal_mask,
    key_mask,
    scaled_dot_product_attention,
    segment_mask,
)

B, H, T, D = 2, 4, 6, 3
PADDING = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]], "bool")
SEGMENTS = np.array([[1, 1, 1, 2, 2, 0], [1, 2, 2, 2, 3, 3]], "int32")
MASKS = {
    "none": None,
    "padding": key_mask(PADDING),
    "causal": causal_mask(T),
    "banded": banded_mask(T, 2),
    "causal and banded": causal_mask(T) & banded_mask(T, 3),
    "packed": segment_mask(SEGMENTS) & causal_mask(T),
}
RULES = {
    "none": Visibility(),
    "padding": Visibility.of_real(PADDING),
    "causal": Visibility(causal=True),
    "banded": Visibility(window=2),
    "causal and banded": Visibility(causal=True, window=3),
    "packed": Visibility.of_documents(SEGMENTS, causal=True),
}


def _heads(num_heads, length=T, seed=0):
    return np.random.default_rng(seed).normal(size=(B, num_heads, length, D)).astype("float32")


def oracle(queries, keys, values, mask):
    """Vaswani et al. 2017, eq. 1, one head at a time, in float64."""
    scores = np.einsum("bhqd,bhkd->bhqk", queries, keys, dtype="float64") / np.sqrt(D)
    if mask is not None:
        mask = np.broadcast_to(ops.convert_to_numpy(mask), scores.shape)
        mask = np.where(mask.any(-1, keepdims=True), mask, True)
        scores = np.where(mask, scores, -np.inf)
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    weights = exponentials / exponentials.sum(-1, keepdims=True)
    return np.einsum("bhqk,bhkd->bhqd", weights, values), weights


@pytest.mark.parametrize("name", [name for name in MASKS if name != "packed"])
def test_equals_theoracle(name):
    queries, keys, values = (_heads(H, seed=seed) for seed in range(3))
    outputs, weights = scaled_dot_product_attention(queries, keys, values, MASKS[name])
    expected_outputs, expected_weights = oracle(queries, keys, values, MASKS[name])
    np.testing.assert_allclose(weights, expected_weights, atol=1e-6)
    np.testing.assert_allclose(outputs, expected_outputs, atol=1e-6)


def test_packed_documents_equal_the_oracle_wherever_a_query_sees_something():
    queries, keys, values = (_heads(H, seed=seed) for seed in range(3))
    outputs, _ = scaled_dot_product_attention(queries, keys, values, MASKS["packed"])
    expected, _ = oracle(queries, keys, values, MASKS["packed"])
    real = np.broadcast_to((SEGMENTS > 0)[:, None, :, None], outputs.shape)
    np.testing.assert_allclose(np.asarray(outputs)[real], expected[real], atol=1e-6)


def test_by_hand():
    """Scores 0 and 2 log 3 / sqrt(4) = log 3: weights 1/4 and 3/4."""
    queries = np.zeros((1, 1, 1, 4), "float32")
    queries[..., 0] = 2 * np.log(3)
    keys = np.array([[[[0, 0, 0, 0], [1, 0, 0, 0]]]], "float32")
    values = np.array([[[[4.0, 0, 0, 0], [8.0, 0, 0, 0]]]], "float32")
    outputs, weights = scaled_dot_product_attention(queries, keys, values)
    np.testing.assert_allclose(weights[0, 0, 0], [0.25, 0.75], rtol=1e-6)
    np.testing.assert_allclose(outputs[0, 0, 0, 0], 7.0, rtol=1e-6)


def test_a_query_that_may_look_nowhere_gets_the_mean_of_the_values():
    queries, keys, values = (_heads(H, seed=seed) for seed in range(3))
    nowhere = np.zeros((B, 1, 1, T), "bool")
    outputs, _ = scaled_dot_product_attention(queries, keys, values, nowhere)
    means = np.broadcast_to(values.mean(axis=2, keepdims=True), values.shape)
    np.testing.assert_allclose(outputs, means, atol=1e-6)


def test_softmax_is_float32_whatever_the_inputs():
    """Equal scores over 1,000 keys: bfloat16 could not hold a sum of 1,000 exponentials."""
    ones = ops.ones((1, 1, 1_000, D), "bfloat16")
    outputs, weights = scaled_dot_product_attention(ones[:, :, :1], ones, ones)
    assert keras.backend.standardize_dtype(weights.dtype) == "bfloat16"
    np.testing.assert_allclose(ops.cast(weights, "float32"), 1e-3, rtol=2**-8)
    np.testing.assert_allclose(ops.cast(outputs, "float32"), 1.0, rtol=2**-7)


def test_grouped_queries_equal_repeated_key_value_heads():
    queries = _heads(H)
    keys, values = _heads(2, seed=1), _heads(2, seed=2)
    outputs, weights = scaled_dot_product_attention(queries, keys, values, MASKS["causal"])
    repeated = scaled_dot_product_attention(
        queries, np.repeat(keys, 2, axis=1), np.repeat(values, 2, axis=1), MASKS["causal"]
    )
    np.testing.assert_allclose(outputs, repeated[0], atol=1e-6)
    np.testing.assert_allclose(weights, repeated[1], atol=1e-6)


def test_grouped_query_layer_equals_a_full_layer_with_repeated_weights():
    x = np.random.default_rng(0).normal(size=(B, T, 8)).astype("float32")
    grouped, full = MultiHeadAttention(4, 2), MultiHeadAttention(4)
    expected = grouped(x, attention_mask=MASKS["causal"])
    full(x)
    for name in ("query", "output_projection"):
        getattr(full, name).set_weights(getattr(grouped, name).get_weights())
    for name in ("key", "value"):
        kernel, bias = getattr(grouped, name).get_weights()
        kernel = np.repeat(kernel.reshape(8, 2, 2), 2, axis=1).reshape(8, 8)
        getattr(full, name).set_weights([kernel, np.repeat(bias.reshape(2, 2), 2, axis=0).ravel()])
    np.testing.assert_allclose(full(x, attention_mask=MASKS["causal"]), expected, atol=1e-6)


def test_layer_equals_the_oracle_around_its_projections():
    x = np.random.default_rng(0).normal(size=(B, T, 6)).astype("float32")
    layer = MultiHeadAttention(2, head_dim=D, initializer_range=0.5)
    outputs = layer(x, attention_mask=key_mask(PADDING))

    def heads(dense):
        kernel, bias = dense.get_weights()
        return (x @ kernel + bias).reshape(B, T, 2, D).transpose(0, 2, 1, 3)

    attended, _ = oracle(
        heads(layer.query), heads(layer.key), heads(layer.value), key_mask(PADDING)
    )
    kernel, bias = layer.output_projection.get_weights()
    expected = attended.transpose(0, 2, 1, 3).reshape(B, T, 6) @ kernel + bias
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_hidden_keys_cannot_change_the_output():
    random = np.random.default_rng(0)
    x = random.normal(size=(B, T, 8)).astype("float32")
    layer = MultiHeadAttention(2, initializer_range=0.5)
    changed = np.where(PADDING[..., None], x, 100 * random.normal(size=x.shape)).astype("float32")
    real = PADDING
    expected = np.asarray(layer(x, attention_mask=key_mask(PADDING)))
    np.testing.assert_array_equal(
        np.asarray(layer(changed, attention_mask=key_mask(PADDING)))[real], expected[real]
    )


def test_dropout_acts_on_the_weights_in_training_only_and_keeps_their_mean():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(1, T, 8)).astype("float32")
    layer = MultiHeadAttention(4, 2, dropout=0.5, initializer_range=0.5)
    plain = np.asarray(layer(x, training=False))
    rows = np.repeat(x, 4_000, axis=0)
    dropped = np.asarray(layer(rows, training=True))
    standard_error = dropped.std(axis=0) / np.sqrt(len(rows))
    assert dropped.std(axis=0).min() > 0.01
    assert (np.abs(dropped.mean(axis=0) - plain[0]) < 5 * standard_error).all()


@pytest.mark.parametrize("rotary", [None, Rotary(100.0)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_cached_equals_uncached(groups, rotary):
    x = np.random.default_rng(0).normal(size=(B, T, 8)).astype("float32")
    layer = MultiHeadAttention(4, groups, rotary=rotary, initializer_range=0.5)
    positions = np.broadcast_to(np.arange(T, dtype="int32"), (B, T))
    expected = layer(x, attention_mask=causal_mask(T), positions=positions)
    cache = layer.new_cache(B, T + 2)
    assert cache.keys.shape == (B, groups, T + 2, 2)
    mask = np.tril(np.ones((T, T + 2), "bool"))[None, None]
    outputs = []
    for start, end in [(0, 3), (3, 4), (4, 6)]:
        output, cache = layer.extend(
            x[:, start:end], cache, start, mask[:, :, start:end], positions[:, start:end]
        )
        outputs.append(output)
    np.testing.assert_allclose(np.concatenate(outputs, axis=1), expected, atol=1e-5)


def test_heads_must_fit():
    with pytest.raises(ValueError, match="num_heads=4, num_key_value_heads=3"):
        MultiHeadAttention(4, 3)
    with pytest.raises(ValueError, match="width=9, num_heads=4"):
        MultiHeadAttention(4).build((None, None, 9))
    with pytest.raises(ValueError, match="even head_dim. Received: head_dim=3"):
        MultiHeadAttention(4, rotary=Rotary(10.0)).build((None, None, 12))

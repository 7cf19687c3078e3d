"""Blocks: where the norms stand, what the sub-layers see."""

import keras
import numpy as np
import pytest

from tfalign.layers import (
    CrossAttentionBlock,
    FeedForward,
    MultiHeadAttention,
    TransformerBlock,
    causal_mask,
    key_mask,
    normalization,
)

X = np.random.default_rng(0).normal(size=(2, 5, 8)).astype("float32")
CONTEXT = np.random.default_rng(1).normal(size=(2, 4, 8)).astype("float32")


def _block(pre_norm, dropout=0.0):
    return TransformerBlock(
        MultiHeadAttention(2, initializer_range=0.5),
        normalization("layer", 1e-5),
        FeedForward(12, initializer_range=0.5),
        normalization("layer", 1e-5),
        pre_norm=pre_norm,
        dropout=dropout,
    )


def _norm(x, epsilon=1e-5):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)


def test_layer_norm_and_rms_norm_equal_their_formulas():
    np.testing.assert_allclose(normalization("layer", 1e-5)(X), _norm(X), atol=1e-5)
    rms = np.sqrt((X**2).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(normalization("rms", 1e-5)(X), X / rms, atol=1e-5)
    small = X * 1e-3  # here the epsilon decides
    rms = np.sqrt((small**2).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(normalization("rms", 1e-5)(small), small / rms, atol=1e-5)
    with pytest.raises(ValueError, match="Received: 'batch'"):
        normalization("batch", 1e-5)


def test_pre_norm_block_adds_to_an_untouched_residual_stream():
    block = _block(pre_norm=True)
    outputs = block(X)
    middle = X + np.asarray(block.attention(_norm(X)))
    expected = middle + np.asarray(block.feed_forward(_norm(middle)))
    np.testing.assert_allclose(outputs, expected, atol=1e-4)


def test_post_norm_block_normalises_every_sum():
    block = _block(pre_norm=False)
    outputs = block(X)
    middle = _norm(X + np.asarray(block.attention(X)))
    expected = _norm(middle + np.asarray(block.feed_forward(middle)))
    np.testing.assert_allclose(outputs, expected, atol=1e-4)


def test_cross_attention_looks_at_the_real_context_alone():
    block = CrossAttentionBlock(
        MultiHeadAttention(2),
        normalization("layer", 1e-5),
        MultiHeadAttention(2),
        normalization("layer", 1e-5),
        FeedForward(12),
        normalization("layer", 1e-5),
        pre_norm=False,
    )
    mask = np.array([[1, 1, 1, 0], [0, 1, 1, 1]], "bool")
    outputs = np.asarray(block(X, CONTEXT, context_mask=key_mask(mask)))
    changed = np.where(mask[..., None], CONTEXT, 50.0).astype("float32")
    np.testing.assert_array_equal(block(X, changed, context_mask=key_mask(mask)), outputs)
    seen = CONTEXT.copy()
    seen[:, 1] += 1
    assert np.abs(np.asarray(block(X, seen, context_mask=key_mask(mask))) - outputs).max() > 1e-4


def test_block_cached_equals_uncached():
    block = _block(pre_norm=True)
    expected = block(X, attention_mask=causal_mask(5))
    cache = block.attention.new_cache(2, 5)
    mask = np.tril(np.ones((5, 5), "bool"))[None, None]
    columns = []
    for column in range(5):
        output, cache = block.extend(
            X[:, column : column + 1], cache, column, mask[:, :, column : column + 1]
        )
        columns.append(output)
    np.testing.assert_allclose(np.concatenate(columns, axis=1), expected, atol=1e-5)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_dropout_acts_in_training_only(pre_norm):
    keras.utils.set_random_seed(0)
    block = _block(pre_norm, dropout=0.5)
    np.testing.assert_array_equal(block(X), block(X, training=False))
    assert np.abs(np.asarray(block(X, training=True)) - np.asarray(block(X))).max() > 0.1

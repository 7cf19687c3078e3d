"""The sampled softmax: exact where all are summed, and unbiased where some are drawn."""

import numpy as np
import pytest
from keras import ops

from tfalign.functional.log_probs import token_log_probs
from tfalign.functional.sampled_softmax import draw_tail, sampled_token_log_probs

V, W = 23, 5


def case(rng):
    hidden = rng.normal(size=(2, 3, W)).astype("float32")
    table = rng.normal(size=(V, W)).astype("float32")
    return hidden, table, rng.integers(0, V, (2, 3)).astype("int32")


def test_all_tokens_once_are_the_softmax(rng, compiled):
    hidden, table, tokens = case(rng)
    everything, once = np.arange(V, dtype="int32"), np.zeros(V, "float32")
    sampled, gradients = compiled(
        lambda h, t: sampled_token_log_probs(h, t, tokens, everything, once)
    )(hidden, table)
    exact, exact_gradients = compiled(
        lambda h, t: token_log_probs(ops.matmul(h, ops.transpose(t)), tokens)
    )(hidden, table)
    np.testing.assert_allclose(sampled, exact, atol=1e-5)
    for gradient, expected in zip(gradients, exact_gradients):
        np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize("head", [1, 4])
def test_tokens_are_drawn_as_often_as_said(head):
    count, grid = 6, 1000
    expected = np.zeros(V)
    for u in (np.arange(grid) + 0.5) / grid:
        drawn, log_counts = draw_tail(np.full(count, u, "float32"), head, V)
        np.add.at(expected, np.asarray(drawn), 1 / grid)
    k = np.arange(head, V)
    q = np.log((k + 1) / k) / np.log(V / head)
    np.testing.assert_allclose(q.sum(), 1)
    np.testing.assert_allclose(expected[head:], count * q, atol=6e-3)
    np.testing.assert_allclose(log_counts, np.log(count * q[np.asarray(drawn) - head]), atol=1e-5)


def test_the_normaliser_is_unbiased(rng):
    hidden, table, tokens = case(rng)
    head, grid, count = 4, 200, 5
    scores = hidden.astype("float64") @ table.T.astype("float64")
    own = np.take_along_axis(scores, tokens[..., None], axis=-1)[..., 0]
    total = 0
    for u in (np.arange(grid) + 0.5) / grid:
        tail, log_counts = draw_tail(np.full(count, u, "float32"), head, V)
        candidates = np.concatenate([np.arange(head), tail]).astype("int32")
        counts = np.concatenate([np.zeros(head), log_counts]).astype("float32")
        log_probs = sampled_token_log_probs(hidden, table, tokens, candidates, counts)
        total = total + np.exp(own - np.asarray(log_probs)) / grid
    np.testing.assert_allclose(total, np.exp(scores).sum(-1), rtol=2e-2)


@pytest.mark.parametrize("head", [0, V])
def test_there_must_be_a_head_and_a_tail(head):
    with pytest.raises(ValueError, match=f"Received: head={head}, vocab_size={V}"):
        draw_tail(np.zeros(3, "float32"), head, V)

"""The likeliest responses: against all responses, listed one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tfalign.decoding import BeamSearch, GraphWalk, SeveralBest, generate
from tfalign.models import CausalLM, GPTConfig

V, STOP, R = 5, 4, 3
PROMPTS = np.array([[1, 2], [3, 0]], "int32")


@pytest.fixture(scope="module")
def model():
    return CausalLM(GPTConfig(V, 16, 1, 2, max_positions=8, initializer_range=0.5))


def all_responses(model, prompt):
    """Every response and its log-prob, from full forward passes."""
    tails = np.array(list(itertools.product(range(V), repeat=R)), "int32")
    ids = np.concatenate([np.tile(prompt, (len(tails), 1)), tails], axis=1)
    logits = np.asarray(model(ids), "float64")[:, len(prompt) - 1 : -1]
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    found = {}
    for tail, rows in zip(tails.tolist(), logits):
        length = tail.index(STOP) + 1 if STOP in tail else R
        found[tuple(tail[:length])] = rows[np.arange(length), tail[:length]].sum()
    return found


def test_wide_enough_it_finds_all_and_narrower_the_first(model):
    expected = [sorted(all_responses(model, p).items(), key=lambda x: -x[1]) for p in PROMPTS]
    found = SeveralBest(model, R, width=100, stop_tokens=[STOP])(PROMPTS)
    for row in range(len(PROMPTS)):
        texts = [
            tuple(t[m].tolist())
            for t, m in zip(np.asarray(found.tokens[row]), np.asarray(found.mask[row]))
        ]
        count = len(expected[row])
        assert dict(expected[row]).keys() == set(texts[:count])
        np.testing.assert_allclose(
            np.asarray(found.log_probs)[row][:count], [x for _, x in expected[row]], atol=1e-4
        )
        assert np.isneginf(np.asarray(found.log_probs)[row][count:]).all()
        assert not any(texts[count:])


def test_one_wide_it_is_greedy(model):
    found = SeveralBest(model, R, width=1, stop_tokens=[STOP])(PROMPTS)
    greedy = BeamSearch(model, R, width=1, stop_tokens=[STOP])(PROMPTS)
    np.testing.assert_array_equal(np.asarray(found.tokens)[:, 0], greedy.tokens)


def test_it_keeps_to_a_constraint():
    """Of a graph with three walks from entity 0."""
    model = CausalLM(GPTConfig(6, 16, 1, 2, max_positions=8))
    walk = GraphWalk([[0, 3, 1], [0, 4, 2], [1, 3, 2]], 6, 5, max_hops=2, min_hops=1)
    search = SeveralBest(model, walk.max_new_tokens, 4, [5], constraint=walk)
    found = search(np.array([[0]]))
    texts = {
        tuple(t[m].tolist()) for t, m in zip(np.asarray(found.tokens[0]), np.asarray(found.mask[0]))
    }
    assert texts == {(3, 1, 5), (4, 2, 5), (3, 1, 3, 2, 5), ()}
    assert np.exp(np.asarray(found.log_probs)).sum() == pytest.approx(1, abs=1e-5)
    how = {"max_new_tokens": walk.max_new_tokens, "stop_tokens": [5], "constraint": walk}
    sampled = generate(model, np.zeros((1, 1), "int32"), **how)
    tokens, mask = np.asarray(sampled.tokens)[0], np.asarray(sampled.mask)[0]
    assert tuple(tokens[mask].tolist()) in texts

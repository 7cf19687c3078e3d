"""A step of the decode loop by itself: rows at columns of their own say what the full model says."""

import numpy as np
import pytest
from keras import ops

from tfalign import backend
from tfalign.decoding import Sampler
from tfalign.decoding.stepwise import catch_up, is_behind, next_tokens
from tfalign.functional.log_probs import token_log_probs

T = 9
LENGTHS, KNOWN = np.array([9, 3, 1, 6, 8]), np.array([0, 2, 0, 0, 4])
IDS = np.random.default_rng(0).integers(0, 23, size=(5, T)).astype("int32")
BEGINS = np.array([0, 1, 0, 2, 4])  # the first real column of each row
UNIFORMS = np.array([0.1, 0.9, 0.5, 0.3, 0.7], "float32")


def _mask(lengths):
    columns = np.arange(T)
    return (columns >= BEGINS[:, None]) & (columns < lengths[:, None])


@pytest.fixture(scope="module")
def known(policy):
    """A cache that holds what is known of each row, and noise elsewhere."""
    cache = policy.backbone.new_cache(5, T - 1)
    cache = [type(of_block)(*(x + 7.0 for x in of_block)) for of_block in cache]
    columns = ops.zeros((5,), "int32")
    mask = _mask(np.maximum(KNOWN, BEGINS) + 1)
    return catch_up(policy, tuple(cache), columns, IDS, mask, count=4)


@pytest.mark.parametrize(
    "count, rows_at_once",
    [
        pytest.param(1, 1, marks=pytest.mark.slow),
        (3, 2),
        pytest.param(8, 5, marks=pytest.mark.slow),
    ],
)
def test_caught_up_it_draws_as_the_full_forward_does(policy, known, count, rows_at_once):
    sampler, mask = Sampler(0.7), _mask(np.maximum(LENGTHS, BEGINS + 1))
    ends = mask.sum(axis=1) + BEGINS

    def run(cache, columns, token_ids, mask, uniforms):
        cache, columns = catch_up(policy, cache, columns, token_ids, mask, count, rows_at_once)
        _, *drawn = next_tokens(policy, sampler, cache, token_ids, mask, uniforms)
        return columns, is_behind(columns, mask), *drawn

    mask = np.where((ends == T)[:, None], mask & (np.arange(T) < T - 1), mask)
    ends = np.minimum(ends, T - 1)
    columns, behind, tokens, log_probs, _ = backend.jit(run, policy.variables)(
        *known, IDS, mask, UNIFORMS
    )
    assert not np.any(behind)
    np.testing.assert_array_equal(columns, np.maximum(ends - 1, known[1]))
    logits = policy(IDS, padding_mask=mask)
    logits = ops.take_along_axis(logits, (ends - 1)[:, None, None], axis=1)
    expected, _ = sampler.choose(logits[:, 0], UNIFORMS)
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_allclose(
        log_probs, token_log_probs(logits, expected[:, None], 0.7)[:, 0], atol=1e-5
    )


def test_only_what_is_allowed_is_drawn(policy, known):
    """Under the distribution over the allowed tokens alone."""
    mask = _mask(np.maximum(KNOWN, BEGINS) + 1)
    allowed = np.zeros((5, 23), "bool")
    allowed[:, [4, 6]] = True
    _, tokens, log_probs, hidden = next_tokens(
        policy, Sampler(), known[0], IDS, mask, UNIFORMS, allowed
    )
    assert np.isin(tokens, [4, 6]).all()
    pair = np.asarray(ops.log_softmax(ops.take(policy.logits(hidden), [4, 6], axis=1)))
    np.testing.assert_allclose(
        log_probs, np.where(np.asarray(tokens) == 4, pair[:, 0], pair[:, 1]), atol=1e-5
    )

"""Which tokens of the input a model's answer comes from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tfalign import backend
from tfalign.functional.arguments import check_size, checked_ids

ENOUGH = 0.01  # of the difference between the scores, that may stay unexplained
MOST_STEPS = 1024
_POINTS_AT_ONCE = 256  # rows of a forward and backward pass
_ROUNDING = 1e-5  # of a float32 score


class Attributions(NamedTuple):
    """Shares of a score that add up to its difference from a baseline's (completeness)."""

    tokens: Any  # float32[B, T]
    score: Any  # float32[B], of the input
    baseline_score: Any  # float32[B]
    unexplained: Any  # float32[B], what the shares lack, over the difference; 0.01 is 1%


def integrated_gradients(
    trunk: Any,
    score: Any,
    token_ids: Any,
    baseline_ids: Any,
    padding_mask: Any = None,
    steps: int = 32,
) -> Attributions:
    """Integrated gradients (Sundararajan et al. 2017, eq. 1) on the token embeddings.

    (x - x') times the mean gradient of the score on the way from x' to x, summed over the
    embedding's width. The mean is taken by Gauss and Legendre's rule, exact for polynomials of degree
    2 steps - 1. Positions and token types are those of the input all the way.

    The shares should add up to the difference of the scores. As long as a row's lack more than 1% of
    it, the number of steps doubles, up to 1,024; ``unexplained`` says what is left.

    Args:
        trunk: GPT or BERT.
        score: ``(hidden float[N, T, W], padding_mask bool[N, T]) -> float32[N]``, a row's depending
            on that row alone. It is called with the B rows of one step after those of the other.
        token_ids: int32[B, T].
        baseline_ids: int32[B, T], what the input is compared with, such as padding or masks.
        padding_mask: bool[B, T], true at real tokens; None for all.
        steps: int, points on the way at first.

    Returns:
        Attributions; a token's share is 0 where the baseline has the input's token.

    Raises:
        ValueError: if ``steps`` is not positive, or an id is outside the vocabulary.
    """
    check_size("steps", steps)
    size = trunk.config.vocab_size
    token_ids, mask = checked_ids(token_ids, size, padding_mask, "text")
    baseline_ids, _ = checked_ids(baseline_ids, size, padding_mask, "baseline")
    embedded, baseline = (trunk.token_embedding(ids) for ids in (token_ids, baseline_ids))

    def scores(x):
        """float32[N] of float[N, T, W], N a multiple of B."""
        real = ops.tile(mask, (x.shape[0] // len(mask), 1))
        return ops.cast(score(trunk.from_embeddings(x, real), real), "float32")

    of_input, of_baseline = (np.asarray(scores(x)) for x in (embedded, baseline))
    while True:
        tokens = np.asarray(_shares(scores, embedded, baseline, steps))
        unexplained = _unexplained(tokens, of_input, of_baseline)
        if unexplained.max() <= ENOUGH or steps >= MOST_STEPS:
            return Attributions(tokens, of_input, of_baseline, unexplained)
        steps = min(2 * steps, MOST_STEPS)


def _shares(scores, embedded, baseline, steps):
    """float32[B, T], by so many points on the way, a few at a time."""
    rows, columns, width = embedded.shape
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    way = embedded - baseline
    mean_gradient = ops.zeros_like(embedded, dtype="float32")
    at_once = max(_POINTS_AT_ONCE // rows, 1)
    for first in range(0, steps, at_once):
        chosen = slice(first, first + at_once)
        along, weight = (
            ops.convert_to_tensor(x[chosen], embedded.dtype)[:, None, None, None]
            for x in ((nodes + 1) / 2, weights / 2)
        )
        points = ops.reshape(baseline + along * way, (-1, columns, width))
        _, gradient = backend.input_gradient(lambda x: ops.sum(scores(x)), points)
        gradient = ops.reshape(gradient, (-1, rows, columns, width))
        mean_gradient += ops.cast(ops.sum(weight * gradient, axis=0), "float32")
    return ops.sum(ops.cast(way, "float32") * mean_gradient, axis=-1)


def _unexplained(tokens, score, baseline_score):
    """float32[B]; what lies within the rounding of the scores counts as nothing."""
    difference = score - baseline_score
    lack = np.abs(difference - tokens.sum(axis=1))
    rounding = _ROUNDING * np.maximum(np.abs(score), np.abs(baseline_score))
    return np.where(lack <= rounding, 0, lack / np.maximum(np.abs(difference), 1e-12)).astype(
        "float32"
    )

"""Which tokens of the input a model's answer comes from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tfalign import backend


class Attributions(NamedTuple):
    """Shares of a score that add up to its difference from a baseline's (completeness)."""

    tokens: Any  # float32[B, T]
    score: Any  # float32[B], of the input
    baseline_score: Any  # float32[B]


def integrated_gradients(trunk, score, token_ids, baseline_ids, padding_mask=None, steps=32):
    """Integrated gradients (Sundararajan et al. 2017, eq. 1) on the token embeddings.

    (x - x') times the mean gradient of the score on the way from x' to x, summed over the
    embedding's width. The mean is taken by Gauss and Legendre's rule, exact for polynomials of degree
    2 steps - 1. Positions and token types are those of the input all the way.

    Args:
        trunk: GPT or BERT.
        score: ``(hidden float[N, T, W], padding_mask bool[N, T]) -> float32[N]``, a row's depending
            on that row alone. It is called with the B rows of one step after those of the other.
        token_ids: int32[B, T].
        baseline_ids: int32[B, T], what the input is compared with, such as padding or masks.
        padding_mask: bool[B, T], true at real tokens; None for all.
        steps: int, points on the way.

    Returns:
        Attributions; 0 where the baseline has the input's token.

    Raises:
        ValueError: if ``steps`` is not positive.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1. Received: steps={steps}")
    mask = np.ones(np.shape(token_ids), "bool") if padding_mask is None else padding_mask
    embedded, baseline = (
        trunk.token_embedding(ops.convert_to_tensor(ids, "int32"))
        for ids in (token_ids, baseline_ids)
    )
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    way = ops.convert_to_tensor((nodes + 1) / 2, embedded.dtype)[:, None, None, None]
    points = baseline + way * (embedded - baseline)
    rows, columns, width = embedded.shape

    def scores(x):
        """float32[N] of float[N, T, W], N a multiple of B."""
        real = ops.tile(mask, (x.shape[0] // rows, 1))
        return ops.cast(score(trunk.from_embeddings(x, real), real), "float32")

    flat = ops.reshape(points, (-1, columns, width))
    _, gradient = backend.input_gradient(lambda x: ops.sum(scores(x)), flat)
    gradient = ops.reshape(gradient, (steps, rows, columns, width))
    weights = ops.convert_to_tensor(weights / 2, gradient.dtype)[:, None, None, None]
    mean_gradient = ops.sum(weights * gradient, axis=0)
    tokens = ops.sum(ops.cast((embedded - baseline) * mean_gradient, "float32"), axis=-1)
    return Attributions(tokens, scores(embedded), scores(baseline))

"""Sampled softmax: the normaliser over a large vocabulary, estimated from some of its tokens.

Tokens are numbered by frequency, the most frequent first. The first ones, the head, are summed
exactly; of the others, the tail, some are sampled, about as often as Zipf's law has them:

    q(k) = log((k + 1) / k) / log(V / head)   for k in [head, V)
"""

from __future__ import annotations

import math

from keras import ops

from tfalign.functional.arrays import Array


def draw_tail(uniforms: Array, head: int, vocab_size: int) -> tuple[Array, Array]:
    """Tokens of the tail, one from each of K equal parts of its probability.

    Args:
        uniforms: float32[K] in [0, 1).
        head: int >= 1, tokens of the head.
        vocab_size: int > head, V.

    Returns:
        (tokens int32[K], log_counts float32[K]): how often a token is sampled in the mean, K q(k), is
        exp of its log_count.

    Raises:
        ValueError: if there is no head or no tail.
    """
    if not 1 <= head < vocab_size:
        raise ValueError(
            f"The head must lie in [1, vocab_size). Received: head={head}, vocab_size={vocab_size}"
        )
    count = uniforms.shape[0]
    places = (ops.arange(count, dtype="float32") + uniforms) / count
    log_ratio = math.log(vocab_size / head)
    drawn = ops.floor(head * ops.exp(places * log_ratio))
    drawn = ops.clip(drawn, head, vocab_size - 1)  # what rounding carried over the edge
    log_counts = ops.log(ops.log1p(1.0 / drawn) * (count / log_ratio))
    return ops.cast(drawn, "int32"), log_counts


def sampled_token_log_probs(
    hidden: Array, table: Array, tokens: Array, candidates: Array, log_counts: Array
) -> Array:
    """Log-probabilities of tokens whose softmax is normalised by an estimate (Jean et al. 2015,
    section 3.1): with s the scores and candidates k each expected exp(log_count) times,

        log p(w) = s_w - log(exp s_w + sum over candidates k other than w of exp(s_k - log_count_k))

    Within the logarithm stands an unbiased estimate of the true sum.

    Args:
        hidden: float[B, R, W].
        table: float[V, W], rows of the LM head.
        tokens: int32[B, R].
        candidates: int32[N], tokens, repeated or not.
        log_counts: float32[N].

    Returns:
        float32[B, R], nats.
    """
    own = ops.sum(ops.cast(hidden * ops.take(table, tokens, axis=0), "float32"), axis=-1)
    kernel = ops.transpose(ops.take(table, candidates, axis=0))
    others = ops.cast(ops.matmul(hidden, kernel), "float32") - log_counts
    others = ops.where(candidates == tokens[..., None], -1e30, others)
    return own - ops.logaddexp(own, ops.logsumexp(others, axis=-1))

"""Samplers: the choice of the next token from its logits.

A sampler is a small frozen object with one method, ``choose(logits, uniforms)``. It draws with one
uniform number a row, by inverting the cumulative distribution; noise for every entry of the
vocabulary, as Gumbel sampling needs it, would cost more than the model's own step.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from keras import ops

from tfalign.functional.log_probs import check_temperature, log_total, scale_logits
from tfalign.types import Array

EXCLUDED = -1e30  # a logit that no other comes near: the token is not sampled
_ROUNDING = 1e-6  # of float32 sums of probabilities, and of their logarithms


@dataclasses.dataclass(frozen=True)
class Sampler:
    """Samples from softmax(logits / temperature), optionally restricted by top-k, top-p and min-p.

    The restrictions are applied in this order, each to what the one before left: top-k, top-p
    (nucleus, Holtzman et al. 2020), min-p (Nguyen et al. 2024).

    Attributes:
        temperature: > 0 and finite; the logits are divided by it. Towards 0 only the most likely
            tokens are left, equals with equal probability.
        top_k: keep the k most likely tokens, and all that are exactly as likely as the k-th; 0 for
            all.
        top_p: keep the smallest set of most likely tokens whose probability reaches p, of equals
            those with the lower ids; 1 for all.
        min_p: keep tokens at least min_p times as likely as the most likely one; 0 for all.

    Raises:
        ValueError: if an attribute is out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature, "; use Greedy() for the most likely token")
        if self.top_k < 0:
            raise ValueError(f"top_k must not be negative. Received: top_k={self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1]. Received: top_p={self.top_p}")
        if not 0 <= self.min_p < 1:
            raise ValueError(f"min_p must lie in [0, 1). Received: min_p={self.min_p}")

    @property
    def has_full_support(self) -> bool:
        """Whether every token can be sampled, which on-policy training needs."""
        return self.top_k == 0 and self.top_p == 1.0 and self.min_p == 0.0

    def distribution(self, logits: Array) -> Array:
        """The logits of the very distribution sampled from: float32[B, V], 0 at the most likely token
        and -1e30 where excluded."""
        logits = scale_logits(logits, self.temperature)
        if 0 < self.top_k < logits.shape[-1]:
            smallest_kept = ops.top_k(logits, self.top_k)[0][:, -1:]
            logits = ops.where(logits >= smallest_kept, logits, EXCLUDED)
        if self.top_p < 1:
            logits = _nucleus(logits, self.top_p)
        if self.min_p > 0:
            logits = ops.where(logits >= np.log(self.min_p) - _ROUNDING, logits, EXCLUDED)
        return logits

    def choose(self, logits: Array, uniforms: Array) -> tuple[Array, Array]:
        """Samples one token per row.

        Args:
            logits: float[B, V].
            uniforms: float32[B] in [0, 1).

        Returns:
            (tokens int32[B], log_probs float32[B] under ``distribution(logits)``).
        """
        return _drawn(self.distribution(logits), uniforms)


@dataclasses.dataclass(frozen=True)
class Greedy:
    """Greedy choice: the most likely token, the first of equals; its log-prob is that of softmax(logits)."""

    def choose(self, logits: Array, uniforms: Array) -> tuple[Array, Array]:
        """As ``Sampler.choose``; the uniforms are not used."""
        del uniforms
        tokens = ops.cast(ops.argmax(logits, axis=-1), "int32")
        return tokens, -log_total(scale_logits(logits, 1.0))[:, 0]


class RowSampler:
    """As ``Sampler``, with settings of its own for every row.

    Args:
        temperature: float32[B]; 0 for the most likely token.
        top_p: float32[B].
        top_k: int32[B]; 0 for all.
        min_p: float32[B].
        bias: float32[B, V], added to the logits before all else, ``EXCLUDED`` where a token must not come; None for
            nothing.
    """

    def __init__(
        self,
        temperature: Array,
        top_p: Array,
        top_k: Array,
        min_p: Array,
        bias: Array | None = None,
    ) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.top_k = top_k
        self.min_p = min_p
        self.bias = bias

    def choose(self, logits: Array, uniforms: Array) -> tuple[Array, Array]:
        """As ``Sampler.choose``."""
        if self.bias is not None:
            logits = ops.cast(logits, "float32") + self.bias
        is_greedy = self.temperature <= 0
        scaled = scale_logits(logits, ops.where(is_greedy, 1.0, self.temperature)[:, None])
        restricted = scaled
        for is_asked, restrict in (  # sorting costs more than all the rest
            (self.top_k > 0, lambda logits: _likeliest(logits, self.top_k)),
            (self.top_p < 1, lambda logits: _nucleus(logits, self.top_p[:, None])),
        ):
            restricted = ops.cond(
                ops.any(is_asked),
                lambda logits=restricted, restrict=restrict: restrict(logits),
                lambda logits=restricted: logits,
            )
        floor = ops.log(self.min_p) - _ROUNDING  # -inf where min_p is 0
        restricted = ops.where(restricted >= floor[:, None], restricted, EXCLUDED)
        choices = zip(Greedy().choose(scaled, uniforms), _drawn(restricted, uniforms))
        return tuple(ops.where(is_greedy, greedy, drawn) for greedy, drawn in choices)


def _likeliest(logits, top_k):
    """float32[B, V], -1e30 outside the top_k int32[B] likeliest tokens of a row; 0 keeps all."""
    descending = ops.top_k(logits, logits.shape[-1])[0]
    last = ops.clip(top_k, 1, logits.shape[-1]) - 1
    smallest_kept = ops.take_along_axis(descending, last[:, None], axis=-1)
    kept = (logits >= smallest_kept) | (top_k <= 0)[:, None]
    return ops.where(kept, logits, EXCLUDED)


def _nucleus(logits, top_p):
    """float32[B, V], -1e30 outside the smallest set whose probability reaches top_p (of a row, or of
    all)."""
    descending = -ops.sort(-logits, axis=-1)
    probabilities = ops.softmax(descending, axis=-1)
    mass_before = ops.cumsum(probabilities, axis=-1) - probabilities
    count = ops.maximum(_count(mass_before < top_p - _ROUNDING), 1)
    threshold = ops.take_along_axis(descending, count - 1, axis=-1)
    kept = logits >= threshold
    kept = ops.cond(  # seldom, and costs as much as the sum above
        ops.any(_count(kept) > count),
        lambda: _first_of_equals(logits, threshold, count),
        lambda: kept,
    )
    return ops.where(kept, logits, EXCLUDED)


def _first_of_equals(logits, threshold, count):
    """bool[B, V], the first ``count`` in order of their logits, and of equals in order of their ids."""
    above, equal = logits > threshold, logits == threshold
    rank = ops.cumsum(ops.cast(equal, "int32"), axis=-1)
    return above | (equal & (rank <= count - _count(above)))


def _count(chosen):
    """int32[B, 1], how many of a row are chosen."""
    return ops.sum(ops.cast(chosen, "int32"), axis=-1, keepdims=True)


def _drawn(logits, uniforms):
    """(tokens int32[B], log_probs float32[B]) of softmax(logits), whose largest is 0."""
    tokens, total = invert_cumulative(ops.exp(logits), uniforms)
    chosen = ops.take_along_axis(logits, tokens[:, None], axis=-1)
    return tokens, chosen[:, 0] - ops.log(total)


def allow(logits: Array, allowed: Array | None) -> Array:
    """The logits float32[B, V], -1e30 where bool[B, V] ``allowed`` is false; None allows all."""
    return logits if allowed is None else ops.where(allowed, logits, EXCLUDED)


def invert_cumulative(weights: Array, uniforms: Array) -> tuple[Array, Array]:
    """Indices sampled in proportion to weights, by inverse transform over two levels.

    The row is cut into about sqrt(V) blocks: first the block is found among the blocks' sums, then
    the entry within it. Running sums are products with a triangular matrix of that small size,
    which costs a small fraction of a running sum over V.

    Args:
        weights: float32[B, V], not negative, at least one positive a row.
        uniforms: float32[B] in [0, 1).

    Returns:
        (indices int32[B], never of an entry of weight 0; totals float32[B], the weights' sums).
    """
    batch, size = ops.shape(weights)
    block = int(np.ceil(size**0.5))
    count = -(-size // block)
    padded = ops.pad(weights, ((0, 0), (0, count * block - size)))
    blocks = ops.reshape(padded, (batch, count, block))
    sums = ops.sum(blocks, axis=-1)
    cumulative = ops.matmul(sums, np.triu(np.ones((count, count), "float32")))
    totals = ops.sum(sums, axis=-1)  # log-probs rest on it, and a product may be in low precision
    target = uniforms * totals
    which = _first_above(cumulative, target, sums)
    row = ops.take_along_axis(blocks, which[:, None, None], axis=1)[:, 0]
    before = ops.take_along_axis(cumulative - sums, which[:, None], axis=1)[:, 0]
    within = ops.matmul(row, np.triu(np.ones((block, block), "float32")))
    return which * block + _first_above(within, target - before, row), totals


def _first_above(cumulative, target, weights):
    """First index whose running sum exceeds the target; the last one of positive weight where
    rounding leaves none: int32[B]."""
    count = weights.shape[-1]
    index = ops.arange(count, dtype="int32")
    positive = weights > 0
    found = ops.min(ops.where((cumulative > target[:, None]) & positive, index, count), axis=-1)
    last_positive = ops.max(ops.where(positive, index, 0), axis=-1)
    return ops.minimum(found, last_positive)

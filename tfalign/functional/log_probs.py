"""Log-probabilities of tokens and entropies of their distributions, always in float32.

The temperature divides the logits here as it does in the sampler: a policy is its distribution at
that temperature, and its log-probs, entropy and divergences are all taken there.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
from keras import ops

from tfalign.functional.arrays import Array

LOWEST = -1e30  # nats; the log-prob of what is possible and yet beyond float32
SMALLEST_TEMPERATURE = float(np.finfo("float32").tiny)  # the last one whose reciprocal is finite
LARGEST_TEMPERATURE = 1e20  # the same distribution as at any above; -1e30 is still never drawn
MAX_LOG_RATIO = 20.0  # nats; exp(20) = 4.9e8 leaves float32 room for products and sums


def token_log_probs(logits: Array, tokens: Array, temperature: float | Array = 1.0) -> Array:
    """Log-probability of each token under softmax(logits / temperature).

    Args:
        logits: float[B, R, V], any floating dtype; -inf bans a token.
        tokens: int32[B, R], in [0, V).
        temperature: float > 0 or float32[].

    Returns:
        float32[B, R], nats; -inf for a banned token, at least -1e30 for any other.

    Raises:
        ValueError: if temperature is a Python number that is not positive and finite.
    """
    scaled = scale_logits(logits, temperature)
    # A gather: forward and backward together took 7 ms on 1024 rows of 5,000 logits (XLA, 2
    # cores) where a select against one-hot rows took 9 ms; they draw at 512 logits.
    chosen = bounded(*(take_tokens(x, tokens) for x in (scaled, logits)))
    return chosen - log_total(scaled)[..., 0]


def entropy(logits: Array, temperature: float | Array = 1.0) -> Array:
    """Entropy of softmax(logits / temperature).

    Args:
        logits: float[B, R, V]; -inf bans a token.
        temperature: float > 0 or float32[].

    Returns:
        float32[B, R], nats.

    Raises:
        ValueError: if temperature is a Python number that is not positive and finite.
    """
    scaled = scale_logits(logits, temperature)
    return _entropy(scaled - log_total(scaled))


def probability_ratio(log_probs: Array, other_log_probs: Array) -> Array:
    """exp(log_probs - other_log_probs), its exponent held at or below MAX_LOG_RATIO.

    An overflow to infinity would turn a gradient that a clip discards into 0 * inf = NaN.

    Args:
        log_probs: float32[...], nats.
        other_log_probs: float32[...], nats.

    Returns:
        float32[...]; no gradient flows where the exponent is held.
    """
    return ops.exp(ops.minimum(log_probs - other_log_probs, MAX_LOG_RATIO))


def scale_logits(logits: Array, temperature: float | Array) -> Array:
    """Logits less the largest of their row, divided by the temperature, in float32.

    The largest is taken off before the division: it stays 0 at the smallest temperature, and what
    overflows does so to -inf, whose probability is 0.

    Args:
        logits: float[..., V], any floating dtype; -inf bans a token.
        temperature: float > 0 or float32[], or float32 that broadcasts to the logits; below
            ``SMALLEST_TEMPERATURE`` that one is taken, above ``LARGEST_TEMPERATURE`` that one.

    Returns:
        float32[..., V], at most 0; a row's largest is 0.

    Raises:
        ValueError: if temperature is a Python number that is not positive and finite.
    """
    logits = ops.cast(logits, "float32")
    largest = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    return (logits - largest) / divisor(temperature)


def log_total(scaled: Array) -> Array:
    """log(sum(exp(x))) of what ``scale_logits`` returned: float32[..., 1]."""
    return ops.log(ops.sum(ops.exp(scaled), axis=-1, keepdims=True))


def bounded(log_probs: Array, logits: Array) -> Array:
    """Log-probs that overflowed to -inf raised to ``LOWEST``; where a logit bans its token they stay."""
    return ops.where(ops.isfinite(logits), ops.maximum(log_probs, LOWEST), log_probs)


def check_temperature(temperature: Any, otherwise: str = "") -> None:
    """Raises a ValueError if a temperature is no positive, finite number.

    Args:
        temperature: what was given.
        otherwise: str, what else may be done, for the message.
    """
    is_number = isinstance(temperature, numbers.Real)
    if not is_number or not 0 < temperature < math.inf:
        raise ValueError(
            f"temperature must be positive and finite{otherwise}. "
            f"Received: temperature={temperature}"
        )


def divisor(temperature: float | Array) -> float | Array:
    """The temperature within what float32 can divide by; a number is checked."""
    if not isinstance(temperature, numbers.Real):
        return ops.clip(temperature, SMALLEST_TEMPERATURE, LARGEST_TEMPERATURE)
    check_temperature(temperature)
    return min(max(float(temperature), SMALLEST_TEMPERATURE), LARGEST_TEMPERATURE)


def take_tokens(x: Array, tokens: Array) -> Array:
    """float[..., V] at int32[...]: float[...]."""
    return ops.squeeze(ops.take_along_axis(x, ops.expand_dims(tokens, -1), axis=-1), -1)


def _entropy(log_probs):
    return -ops.sum(ops.exp(log_probs) * _summand(log_probs), axis=-1)


def _summand(log_probs):
    """Log-probs to be multiplied by probabilities: 0 * -inf would be NaN, where p log p is 0."""
    return ops.where(ops.isfinite(log_probs), log_probs, 0.0)

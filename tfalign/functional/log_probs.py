"""Log-probabilities of tokens and entropies of their distributions, always in float32.

The temperature divides the logits here as it does in the sampler: a policy is its distribution at
that temperature, and its log-probs, entropy and divergences are all taken there.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from tfalign.functional.arrays import Array
from tfalign.functional.parts import put_part, take_part
from tfalign.functional.soft_cap import soft_cap_slope, soft_capped

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
    chosen = bounded(*(_take_tokens(x, tokens) for x in (scaled, logits)))
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


def chunked_token_log_probs(
    hidden: Array,
    kernel: Array,
    tokens: Array,
    chunk: int,
    temperature: float | Array = 1.0,
    restrict: Callable[[Array, Array], Array] | None = None,
    states: Array | None = None,
    softcap: float | None = None,
) -> tuple[Array, Array]:
    """``token_log_probs`` and ``entropy`` of hidden @ kernel without ever holding its logits.

    The vocabulary projection, its softmax and, in the backward pass, both once more are taken for at most
    `chunk` positions at a time, of as many columns of all rows: the largest array is float32[chunk, V] (and the
    kernel's gradient) instead of float32[B, R, V]. It costs one more projection: 1.2 times the plain step's
    time in chunks of 256 positions or more, 1.8 times in chunks of 64 (1024 positions, W 256, V 5,000, two
    cores). Differentiable once, with respect to hidden and kernel.

    Args:
        hidden: float[B, R, W], last hidden states; the projection is taken in their dtype.
        kernel: float[W, V], LM head matrix.
        tokens: int32[B, R], in [0, V).
        chunk: int >= 1, positions per chunk.
        temperature: float > 0 or float32[].
        restrict: ``(logits float[chunk, V], states int32[chunk]) -> float[chunk, V]``, which bans tokens
            depending on a position's state; None for no ban.
        states: int32[B, R], what it is given.
        softcap: float, of ``soft_capped`` logits; None for none.

    Returns:
        (log_probs, entropy): float32[B, R] each, nats.

    Raises:
        ValueError: if chunk is not positive, or temperature is a Python number that is not positive
            and finite.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be positive. Received: chunk={chunk}")
    state_chunks = None if restrict is None else _in_chunks(states, chunk)
    outputs = _project_chunks(
        _in_chunks(hidden, chunk),
        ops.reshape(kernel, kernel.shape),  # a tensor: custom gradients refuse a tf.Variable
        _in_chunks(tokens, chunk),
        temperature,
        lambda logits, index: (
            logits if restrict is None else restrict(logits, take_part(state_chunks, index))
        ),
        softcap,
    )
    return tuple(_out_of_chunks(outputs[:, number], tokens.shape, chunk) for number in (0, 1))


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
    return (logits - largest) / _divisor(temperature)


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


def _divisor(temperature):
    """The temperature within what float32 can divide by; a number is checked."""
    if not isinstance(temperature, numbers.Real):
        return ops.clip(temperature, SMALLEST_TEMPERATURE, LARGEST_TEMPERATURE)
    check_temperature(temperature)
    return min(max(float(temperature), SMALLEST_TEMPERATURE), LARGEST_TEMPERATURE)


def _take_tokens(x, tokens):
    """float[..., V] at int32[...]: float[...]."""
    return ops.squeeze(ops.take_along_axis(x, ops.expand_dims(tokens, -1), axis=-1), -1)


def _in_chunks(x, chunk):
    """[B, R, ...] to [N, at most chunk, ...], zeros behind the last column.

    A chunk is some columns of all rows, so that devices that share the rows share every chunk; of more than chunk
    rows it is positions counted row by row.
    """
    rows = _rows_of_chunks(x.shape, chunk)
    columns, rest = chunk // rows, x.shape[2:]
    num_chunks = -(-math.prod(x.shape[:2]) // rows // columns)
    x = ops.reshape(x, (rows, -1, *rest))
    behind = num_chunks * columns - x.shape[1]
    x = ops.pad(x, ((0, 0), (0, behind), *((0, 0) for _ in rest)))
    x = ops.moveaxis(ops.reshape(x, (rows, num_chunks, columns, *rest)), 1, 0)
    return ops.reshape(x, (num_chunks, rows * columns, *rest))


def _out_of_chunks(chunks, shape, chunk):
    """What ``_in_chunks`` made of [B, R], back in that shape."""
    rows = _rows_of_chunks(shape, chunk)
    x = ops.moveaxis(ops.reshape(chunks, (chunks.shape[0], rows, -1)), 0, 1)
    x = ops.reshape(x, (rows, -1))[:, : math.prod(shape) // rows]
    return ops.reshape(x, shape)


def _rows_of_chunks(shape, chunk):
    return shape[0] if shape[0] <= chunk else 1


def _project_chunks(hidden_chunks, kernel, token_chunks, temperature, restrict, softcap):
    """float32[N, 2, C]: log-probs and entropies of hidden_chunks[N, C, W] @ kernel[W, V], soft-capped.

    The gradient is written out, because neither backend offers both a differentiable loop and
    control over what the loop keeps: both passes hold one chunk's logits at a time. ``restrict(logits,
    index)`` bans tokens of chunk ``index``.
    """
    num_chunks, chunk, _ = hidden_chunks.shape

    @ops.custom_gradient
    def project(hidden_chunks, kernel):
        kernel_cast = ops.cast(kernel, hidden_chunks.dtype)

        def distribution(index):
            capped = ops.matmul(take_part(hidden_chunks, index), kernel_cast)
            if softcap is not None:
                capped = soft_capped(ops.cast(capped, "float32"), softcap)
            logits = restrict(capped, index)
            scaled = scale_logits(logits, temperature)
            return scaled - log_total(scaled), logits, capped

        def forward(index, outputs):
            log_probs, logits, _ = distribution(index)
            tokens = take_part(token_chunks, index)
            chosen = bounded(*(_take_tokens(x, tokens) for x in (log_probs, logits)))
            return put_part(outputs, index, ops.stack([chosen, _entropy(log_probs)]))

        def gradient(upstream):
            def backward(index, gradients):
                by_hidden, by_kernel = gradients
                log_probs, _, capped = distribution(index)
                tokens, flow = (take_part(x, index) for x in (token_chunks, upstream))
                by_scaled = _scaled_gradient(log_probs, tokens, flow)
                by_logits = by_scaled / _divisor(temperature)
                if softcap is not None:
                    by_logits = by_logits * soft_cap_slope(capped, softcap)
                by_logits = ops.cast(by_logits, hidden_chunks.dtype)
                of_chunk = ops.matmul(by_logits, ops.transpose(kernel_cast))
                hidden = take_part(hidden_chunks, index)
                more = ops.cast(ops.matmul(ops.transpose(hidden), by_logits), "float32")
                return put_part(by_hidden, index, of_chunk), by_kernel + more

            nothing = ops.zeros_like(hidden_chunks), ops.zeros(kernel.shape, dtype="float32")
            by_hidden, by_kernel = ops.fori_loop(0, num_chunks, backward, nothing)
            return by_hidden, ops.cast(by_kernel, kernel.dtype)

        outputs = ops.zeros((num_chunks, 2, chunk), dtype="float32")
        return ops.fori_loop(0, num_chunks, forward, outputs), gradient

    return project(hidden_chunks, kernel)


def _entropy(log_probs):
    return -ops.sum(ops.exp(log_probs) * _summand(log_probs), axis=-1)


def _summand(log_probs):
    """Log-probs to be multiplied by probabilities: 0 * -inf would be NaN, where p log p is 0."""
    return ops.where(ops.isfinite(log_probs), log_probs, 0.0)


def _scaled_gradient(log_probs, tokens, upstream):
    """float32[chunk, V]: upstream[0] d l / d z + upstream[1] d H / d z, of one chunk's scaled logits z.

    d l / d z_v = [v = token] - p_v and d H / d z_v = -p_v (log p_v + H).
    """
    by_log_prob, by_entropy = ops.expand_dims(upstream[0], -1), ops.expand_dims(upstream[1], -1)
    entropies = ops.expand_dims(_entropy(log_probs), -1)
    vocabulary = ops.arange(log_probs.shape[-1], dtype="int32")
    at_token = ops.where(ops.expand_dims(tokens, -1) == vocabulary, by_log_prob, 0.0)
    spread = by_log_prob + by_entropy * (_summand(log_probs) + entropies)
    return at_token - ops.exp(log_probs) * spread

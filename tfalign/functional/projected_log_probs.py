"""Log-probs of tokens under softmax(states @ matrix / temperature), and entropies, with a gradient written out.

What the backward pass needs of the vocabulary is a position's largest logit and the logarithm of its sum, which the
forward pass had; so both passes look at the logits once, and the softmax's gradient is formed where it is multiplied.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable

from keras import ops

from tfalign.functional.arrays import Array
from tfalign.functional.log_probs import bounded, divisor, log_total, scale_logits, take_tokens
from tfalign.functional.parts import put_part, take_part
from tfalign.functional.soft_cap import soft_cap_slope, soft_capped

Restrict = Callable[[Array, Array], Array]


def projected_log_probs(
    hidden: Array,
    kernel: Array,
    tokens: Array,
    chunk: int = 0,
    temperature: float | Array = 1.0,
    restrict: Restrict | None = None,
    states: Array | None = None,
    softcap: float | None = None,
) -> Array:
    """``token_log_probs`` of hidden @ kernel.

    All at once, the logits are kept for the backward pass, in the dtype of hidden. A part at a time they are never
    held: of at most `chunk` positions, as many columns of all rows, the largest array is float32[chunk, V] (and the
    kernel's gradient) instead of [B, R, V], for one more projection. Differentiable once, with respect to hidden and
    kernel.

    Args:
        hidden: float[B, R, W], last hidden states; the projection is taken in their dtype.
        kernel: float[W, V], LM head matrix.
        tokens: int32[B, R], in [0, V).
        chunk: int, positions of a part; 0 for all at once.
        temperature: float > 0 or float32[].
        restrict: ``(logits float[..., V], states int32[...]) -> float[..., V]``, which bans tokens
            depending on a position's state; None for no ban.
        states: int32[B, R], what it is given.
        softcap: float, of ``soft_capped`` logits; None for none.

    Returns:
        float32[B, R], nats.

    Raises:
        ValueError: if chunk is negative, or temperature is a Python number that is not positive and finite.
    """
    asked = _Asked(temperature, restrict, softcap)
    return _projected(asked, hidden, kernel, tokens, chunk, states)[0]


def projected_log_probs_and_entropies(
    hidden: Array,
    kernel: Array,
    tokens: Array,
    chunk: int = 0,
    temperature: float | Array = 1.0,
    restrict: Restrict | None = None,
    states: Array | None = None,
    softcap: float | None = None,
) -> tuple[Array, Array]:
    """``token_log_probs`` and ``entropy`` of hidden @ kernel; all else as ``projected_log_probs``.

    Returns:
        (log_probs, entropies): float32[B, R] each, nats.
    """
    asked = _AskedForEntropies(temperature, restrict, softcap)
    outputs = _projected(asked, hidden, kernel, tokens, chunk, states)
    return outputs[0], outputs[1]


class _Asked:
    """What is read off the logits of some positions, log-probs of tokens, and the gradient for those logits."""

    num_outputs = 1  # K

    def __init__(self, temperature, restrict, softcap):
        self._is_number = isinstance(temperature, numbers.Real)
        self._restrict = restrict
        self._softcap = softcap
        self._temperature = divisor(temperature)

    def arrays(self, tokens, states):
        """The arrays beside hidden and kernel, which the gradient's function must be given, not close over, since JAX
        may call it where they are no more (``jax.checkpoint``): (of positions, of all)."""
        of_positions = [ops.convert_to_tensor(tokens)]
        of_positions += [] if self._restrict is None else [ops.convert_to_tensor(states)]
        return of_positions, [] if self._is_number else [ops.convert_to_tensor(self._temperature)]

    def read(self, product, tokens, states, temperature):
        """(outputs float32[K, ...], what the gradient needs beside them float32[2, ...]) of hidden @ kernel, [..., V]."""
        temperature = temperature[0] if temperature else self._temperature
        logits = self._restricted(self._capped(product), states)
        scaled = scale_logits(logits, temperature)
        total = log_total(scaled)
        chosen = bounded(*(take_tokens(x, tokens) for x in (scaled, logits))) - total[..., 0]
        largest = ops.cast(ops.max(logits, axis=-1), "float32")
        outputs = ops.stack([chosen, *self._more(scaled, total)])
        return outputs, ops.stack([largest, total[..., 0]])

    def gradient(self, product, tokens, states, temperature, kept, upstream):
        """float[..., V], for the product: of log-prob l and entropy H by scaled logits z, d l / d z_v = [v = token] - p_v
        and d H / d z_v = -p_v (log p_v + H)."""
        temperature = temperature[0] if temperature else self._temperature
        outputs, sums = ([ops.expand_dims(x, -1) for x in ops.unstack(array)] for array in kept)
        flows = [ops.expand_dims(x, -1) for x in ops.unstack(upstream)]
        capped = self._capped(product)
        logits = self._restricted(capped, states)
        log_probs = (ops.cast(logits, "float32") - sums[0]) / temperature - sums[1]
        vocabulary = ops.arange(logits.shape[-1], dtype="int32")
        at_token = ops.where(ops.expand_dims(tokens, -1) == vocabulary, flows[0], 0.0)
        by_scaled = at_token - ops.exp(log_probs) * self._spread(log_probs, flows, outputs)
        by_logits = by_scaled / temperature
        if self._softcap is not None:
            by_logits = by_logits * soft_cap_slope(capped, self._softcap)
        return ops.cast(by_logits, product.dtype)

    def _capped(self, product):
        if self._softcap is None:
            return product
        return soft_capped(ops.cast(product, "float32"), self._softcap)

    def _restricted(self, logits, states):
        return logits if self._restrict is None else self._restrict(logits, *states)

    def _more(self, scaled, total):
        """Outputs beside the log-probs, float32[...] each."""
        return []

    def _spread(self, log_probs, flows, outputs):
        """What a token's probability takes of its logit's gradient."""
        return flows[0]


class _AskedForEntropies(_Asked):
    """Log-probs, and entropies."""

    num_outputs = 2

    def _more(self, scaled, total):
        mean = ops.sum(ops.exp(scaled) * _finite(scaled), axis=-1) / ops.exp(total[..., 0])
        return [total[..., 0] - mean]

    def _spread(self, log_probs, flows, outputs):
        return flows[0] + flows[1] * (_finite(log_probs) + outputs[1])


def _finite(x):
    """What is to be multiplied by probabilities: 0 * -inf would be NaN, where p log p is 0."""
    return ops.where(ops.isfinite(x), x, 0.0)


def _projected(asked, hidden, kernel, tokens, chunk, states):
    """float32[K, B, R]."""
    if chunk < 0:
        raise ValueError(f"chunk cannot be negative. Received: chunk={chunk}")
    # tensors: custom gradients refuse a tf.Variable
    hidden, kernel = (ops.reshape(x, x.shape) for x in (hidden, kernel))
    of_positions, of_all = asked.arrays(tokens, states)
    if not chunk:
        return _whole(asked, hidden, kernel, of_positions, of_all)
    parts = [_in_parts(x, chunk) for x in (hidden, *of_positions)]
    outputs = _by_parts(asked, parts[0], kernel, parts[1:], of_all)
    return ops.stack([_out_of_parts(x, tokens.shape, chunk) for x in ops.unstack(outputs, axis=1)])


def _whole(asked, hidden, kernel, of_positions, of_all):
    """float32[K, B, R] of hidden [B, R, W], its logits kept."""

    @ops.custom_gradient
    def project(hidden, kernel, tokens, *given):
        states, temperature = given[: len(of_positions) - 1], given[len(of_positions) - 1 :]
        matrix = ops.cast(kernel, hidden.dtype)
        product = ops.matmul(hidden, matrix)
        kept = outputs, _ = asked.read(product, tokens, states, temperature)

        def gradient(upstream):
            by_logits = asked.gradient(product, tokens, states, temperature, kept, upstream)
            by_hidden = ops.matmul(by_logits, ops.transpose(matrix))
            by_kernel = ops.tensordot(hidden, by_logits, axes=((0, 1), (0, 1)))
            return by_hidden, ops.cast(by_kernel, kernel.dtype), *(None for _ in (tokens, *given))

        return outputs, gradient

    return project(hidden, kernel, *of_positions, *of_all)


def _by_parts(asked, hidden, kernel, of_positions, of_all):
    """float32[N, K, C] of hidden [N, C, W], the logits of each part computed forward and backward.

    The gradient is written out also because neither backend offers both a differentiable loop and control over what the
    loop keeps.
    """

    @ops.custom_gradient
    def project(hidden, kernel, *given):
        positions, temperature = given[: len(of_positions)], given[len(of_positions) :]
        matrix = ops.cast(kernel, hidden.dtype)

        def of_part(number):
            tokens, *states = (take_part(x, number) for x in positions)
            return ops.matmul(take_part(hidden, number), matrix), tokens, states

        def forward(number, kept):
            new = asked.read(*of_part(number), temperature)
            return tuple(put_part(x, number, part) for x, part in zip(kept, new))

        def gradient(upstream):
            def backward(number, gradients):
                by_hidden, by_kernel = gradients
                of_read = tuple(take_part(x, number) for x in kept)
                flow = take_part(upstream, number)
                by_logits = asked.gradient(*of_part(number), temperature, of_read, flow)
                more = ops.matmul(ops.transpose(take_part(hidden, number)), by_logits)
                part = ops.matmul(by_logits, ops.transpose(matrix))
                return put_part(by_hidden, number, part), by_kernel + ops.cast(more, "float32")

            nothing = ops.zeros_like(hidden), ops.zeros(kernel.shape, dtype="float32")
            by_hidden, by_kernel = ops.fori_loop(0, num_parts, backward, nothing)
            return by_hidden, ops.cast(by_kernel, kernel.dtype), *(None for _ in given)

        shapes = ((num_parts, count, chunk) for count in (asked.num_outputs, 2))
        nothing = tuple(ops.zeros(shape, "float32") for shape in shapes)
        kept = ops.fori_loop(0, num_parts, forward, nothing)
        return kept[0], gradient

    num_parts, chunk, _ = hidden.shape
    return project(hidden, kernel, *of_positions, *of_all)


def _in_parts(x, chunk):
    """[B, R, ...] to [N, at most chunk, ...], zeros behind the last column.

    A part is some columns of all rows, so that devices that share the rows share every part; of more than chunk rows it
    is positions counted row by row. Parts are as few as can be, and as equal.
    """
    rows = _rows_of_parts(x.shape, chunk)
    columns, rest = math.prod(x.shape[:2]) // rows, x.shape[2:]
    num_parts = -(-columns // (chunk // rows))
    of_part = -(-columns // num_parts)
    x = ops.reshape(x, (rows, columns, *rest))
    behind = num_parts * of_part - columns
    x = ops.pad(x, ((0, 0), (0, behind), *((0, 0) for _ in rest)))
    x = ops.moveaxis(ops.reshape(x, (rows, num_parts, of_part, *rest)), 1, 0)
    return ops.reshape(x, (num_parts, rows * of_part, *rest))


def _out_of_parts(parts, shape, chunk):
    """What ``_in_parts`` made of [B, R], back in that shape."""
    rows = _rows_of_parts(shape, chunk)
    x = ops.moveaxis(ops.reshape(parts, (parts.shape[0], rows, -1)), 0, 1)
    x = ops.reshape(x, (rows, -1))[:, : math.prod(shape) // rows]
    return ops.reshape(x, shape)


def _rows_of_parts(shape, chunk):
    return shape[0] if shape[0] <= chunk else 1

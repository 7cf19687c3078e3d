"""Log-probs and entropies of tokens from the states before them, the logits whole or a part at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tfalign import backend
from tfalign.functional.log_probs import entropy, token_log_probs
from tfalign.functional.projected_log_probs import (
    projected_log_probs,
    projected_log_probs_and_entropies,
)
from tfalign.models.layouts import current_mesh
from tfalign.types import Array

MOST_LOGITS = 2**26  # that are held whole on a CPU, 268 MB in float32
LOGITS_OF_A_CHUNK = 2**24
ON_ACCELERATORS = 2**29, 2**26  # the same two, 1.07 GB and 134 MB in bfloat16


def read_out(
    model: Any,
    hidden: Array,
    tokens: Array,
    temperature: float | Array = 1.0,
    chunk: int | None = None,
    restrict: Callable[[Array, Array], Array] | None = None,
    states: Array | None = None,
) -> Array:
    """Log-probs of tokens under softmax(logits / temperature).

    Args:
        model: CausalLM, or another with ``logits``; see ``product_kernel``.
        hidden: float[B, R, W].
        tokens: int32[B, R].
        temperature: of the distributions.
        chunk: int, positions whose logits are computed at a time, forward and backward, so that
            [B, R, V] never exists; 0 for all at once; None for ``chunk_by_size``, and for all at once where the
            model has no ``product_kernel``.
        restrict: ``(logits float[..., V], states int32[...]) -> float[..., V]``, such as a constraint's; None for none.
        states: int32[B, R], what it is given.

    Returns:
        float32[B, R], nats.

    Raises:
        ValueError: if a chunk is asked for, and the model has no ``product_kernel``.
    """
    kernel, chunk = _kernel_and_chunk(model, tokens, chunk)
    if kernel is None:
        logits = _whole_logits(model, hidden, restrict, states)
        return token_log_probs(logits, tokens, temperature)
    asked = tokens, chunk, temperature, restrict, states, _softcap(model)
    return projected_log_probs(hidden, kernel, *asked)


def read_out_with_entropies(
    model: Any,
    hidden: Array,
    tokens: Array,
    temperature: float | Array = 1.0,
    chunk: int | None = None,
    restrict: Callable[[Array, Array], Array] | None = None,
    states: Array | None = None,
) -> tuple[Array, Array]:
    """``read_out``, and the entropies of those distributions; all else as there.

    Returns:
        (log_probs, entropies): float32[B, R] each, nats.
    """
    kernel, chunk = _kernel_and_chunk(model, tokens, chunk)
    if kernel is None:
        logits = _whole_logits(model, hidden, restrict, states)
        return token_log_probs(logits, tokens, temperature), entropy(logits, temperature)
    asked = tokens, chunk, temperature, restrict, states, _softcap(model)
    return projected_log_probs_and_entropies(hidden, kernel, *asked)


def chunk_by_size(
    rows: int, columns: int, vocab_size: int, devices: int = 1, platform: str = "cpu"
) -> int:
    """Positions whose logits are computed at a time: 0, which is all at once, while a device holds at most ``MOST_LOGITS``
    of them; else as many as have ``LOGITS_OF_A_CHUNK``, and a column of all rows at least. On GPUs and TPUs the two
    numbers are ``ON_ACCELERATORS`` (docs/results/tpu_compiler.md).

    Args:
        rows: int, B; those of all devices.
        columns: int, R.
        vocab_size: int, V.
        devices: int, how many share the positions.
        platform: str, of the devices, as ``backend.platform``.

    >>> chunk_by_size(8, 128, 50_257), chunk_by_size(8, 1_024, 50_257)
    (0, 333)
    >>> chunk_by_size(8, 1_024, 50_257, platform="tpu")
    0
    """
    most, of_chunk = (MOST_LOGITS, LOGITS_OF_A_CHUNK) if platform == "cpu" else ON_ACCELERATORS
    if rows * columns * vocab_size <= most * devices:
        return 0
    return max(rows, of_chunk * devices // vocab_size)


def product_kernel(model: Any) -> Array:
    """float[W, V] whose product with the states is the logits, ``model.readout_kernel()``.

    Raises:
        ValueError: if there is none: the model has no such method, it returns None, or what it returns is
            soft-capped.
    """
    return _checked(None if _softcap(model) is not None else _kernel(model), model)


def _checked(kernel, model):
    if kernel is None:
        raise ValueError(
            "The logits of this model are no product of its states with a matrix, so they can only be read out whole "
            f"(--chunk=0). Received: a {type(model).__name__}"
        )
    return kernel


def _kernel_and_chunk(model, tokens, chunk):
    """(what is multiplied with, or None; positions at a time)."""
    kernel = _checked(_kernel(model), model) if chunk else _kernel(model)
    if chunk is None and kernel is not None:
        sizes = *tokens.shape, kernel.shape[-1], _sharing()
        chunk = chunk_by_size(*sizes, backend.platform())
    return kernel, chunk


def _whole_logits(model, hidden, restrict, states):
    logits = model.logits(hidden)
    return logits if restrict is None else restrict(logits, states)


def _kernel(model):
    return model.readout_kernel() if hasattr(model, "readout_kernel") else None


def _softcap(model):
    return getattr(model, "logit_softcap", None)


def _sharing():
    """Devices that share the positions."""
    mesh = current_mesh() or {}
    return math.prod(mesh.get(axis, 1) for axis in ("data", "fsdp", "expert", "context"))

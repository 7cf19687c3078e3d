"""Log-probs and entropies of tokens from the states before them, the logits whole or a part at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfalign.functional.log_probs import chunked_token_log_probs, entropy, token_log_probs
from tfalign.models.layouts import current_mesh
from tfalign.types import Array

MOST_LOGITS = 2**26  # that are held whole, 268 MB in float32
LOGITS_OF_A_CHUNK = 2**24


def read_out(
    model: Any,
    hidden: Array,
    tokens: Array,
    temperature: float | Array = 1.0,
    chunk: int | None = None,
    restrict: Callable[[Array, Array], Array] | None = None,
    states: Array | None = None,
) -> tuple[Array, Array]:
    """Log-probs of tokens under softmax(logits / temperature), and the entropies of those distributions.

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
        (log_probs, entropies): float32[B, R] each, nats.

    Raises:
        ValueError: if a chunk is asked for, and the model has no ``product_kernel``.
    """
    kernel = _kernel(model)
    if chunk is None:
        chunk = 0 if kernel is None else chunk_by_size(*tokens.shape, kernel.shape[-1], _sharing())
    if chunk:
        asked = tokens, chunk, temperature, restrict, states, _softcap(model)
        return chunked_token_log_probs(hidden, _checked(kernel, model), *asked)
    logits = model.logits(hidden)
    logits = logits if restrict is None else restrict(logits, states)
    return token_log_probs(logits, tokens, temperature), entropy(logits, temperature)


def chunk_by_size(rows: int, columns: int, vocab_size: int, devices: int = 1) -> int:
    """Positions whose logits are computed at a time: 0, which is all at once, while a device holds at most ``MOST_LOGITS``
    of them; else as many as have ``LOGITS_OF_A_CHUNK``, and a column of all rows at least.

    Args:
        rows: int, B; those of all devices.
        columns: int, R.
        vocab_size: int, V.
        devices: int, how many share the rows.

    >>> chunk_by_size(8, 128, 50_257), chunk_by_size(8, 1_024, 50_257)
    (0, 333)
    """
    if rows * columns * vocab_size <= MOST_LOGITS * devices:
        return 0
    return max(rows, LOGITS_OF_A_CHUNK * devices // vocab_size)


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


def _kernel(model):
    return model.readout_kernel() if hasattr(model, "readout_kernel") else None


def _softcap(model):
    return getattr(model, "logit_softcap", None)


def _sharing():
    """Devices that share the rows."""
    mesh = current_mesh() or {}
    return mesh.get("data", 1) * mesh.get("fsdp", 1) * mesh.get("expert", 1)

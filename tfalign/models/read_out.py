"""Log-probs and entropies of tokens from the states before them, the logits whole or a part at a time."""

from __future__ import annotations

from tfalign.decoding.constraints import Constraint, restricted
from tfalign.functional.log_probs import chunked_token_log_probs, entropy, token_log_probs
from tfalign.models import CausalLM
from tfalign.models.layouts import current_mesh
from tfalign.types import Array

MOST_LOGITS = 2**26  # that are held whole, 268 MB in float32
LOGITS_OF_A_CHUNK = 2**24


def read_out(
    model: CausalLM,
    hidden: Array,
    tokens: Array,
    temperature: float | Array = 1.0,
    chunk: int | None = None,
    constraint: Constraint | None = None,
    states: Array | None = None,
) -> tuple[Array, Array]:
    """Log-probs of tokens under softmax(logits / temperature), and the entropies of those distributions.

    Args:
        model: CausalLM.
        hidden: float[B, R, W].
        tokens: int32[B, R].
        temperature: of the distributions.
        chunk: int, positions whose logits are computed at a time, forward and backward, so that
            [B, R, V] never exists; 0 for all at once; None for ``chunk_by_size``.
        constraint: Constraint that the distributions are under; None for none.
        states: int32[B, R], its states.

    Returns:
        (log_probs, entropies): float32[B, R] each, nats.
    """
    if chunk is None:
        chunk = chunk_by_size(model, *tokens.shape)
    if not chunk:
        logits = restricted(model.logits(hidden), constraint, states)
        return token_log_probs(logits, tokens, temperature), entropy(logits, temperature)

    def restrict(logits, states):
        return restricted(logits, constraint, states)

    return chunked_token_log_probs(
        hidden,
        model.readout_kernel(),
        tokens,
        chunk,
        temperature,
        None if constraint is None else restrict,
        states,
    )


def chunk_by_size(model: CausalLM, rows: int, columns: int) -> int:
    """Positions whose logits are computed at a time: 0, which is all at once, while a device holds at most ``MOST_LOGITS``
    of them; else as many as have ``LOGITS_OF_A_CHUNK``, and a column of all rows at least.

    Args:
        model: CausalLM; one without a ``readout_kernel()``, or of None, keeps its logits whole.
        rows: int, B; those of all devices of a mesh.
        columns: int, R.
    """
    if getattr(model, "caps_logits", False) or not hasattr(model, "readout_kernel"):
        return 0
    kernel = model.readout_kernel()
    if kernel is None:
        return 0
    mesh = current_mesh() or {}
    sharing = mesh.get("data", 1) * mesh.get("fsdp", 1)
    vocab_size = kernel.shape[-1]
    if rows * columns * vocab_size <= MOST_LOGITS * sharing:
        return 0
    return max(rows, LOGITS_OF_A_CHUNK * sharing // vocab_size)

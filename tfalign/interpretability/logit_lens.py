"""What a model would say after each of its blocks."""

from __future__ import annotations

from keras import ops

from tfalign.functional.arguments import checked_ids
from tfalign.models import CausalLM, MaskedLM
from tfalign.types import Array


def logit_lens(
    model: CausalLM | MaskedLM, token_ids: Array, padding_mask: Array | None = None
) -> Array:
    """Reads every state between the blocks as if it were the last one (nostalgebraist 2020).

    Args:
        model: CausalLM or MaskedLM.
        token_ids: int32[B, T].
        padding_mask: bool[B, T], true at real tokens; None for all.

    Returns:
        float32[L + 1, B, T, V], logits; the last are the model's own.

    Raises:
        ValueError: if an id is outside the vocabulary, naming the row.
    """
    token_ids, _ = checked_ids(token_ids, model.config.vocab_size, padding_mask, "text")
    trace = model.backbone.trace(token_ids, padding_mask)
    return ops.stack([model.lens(state) for state in trace.states])

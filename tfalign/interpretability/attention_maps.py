"""How much each token looks at each other one, in every head."""

from __future__ import annotations

from keras import ops

from tfalign.functional.arguments import checked_ids
from tfalign.models import BERT, GPT
from tfalign.types import Array


def attention_maps(trunk: GPT | BERT, token_ids: Array, padding_mask: Array | None = None) -> Array:
    """The attention weights of all blocks (Vaswani et al. 2017, eq. 1).

    Args:
        trunk: GPT or BERT.
        token_ids: int32[B, T].
        padding_mask: bool[B, T], true at real tokens; None for all.

    Returns:
        float32[L, B, H, T, T]; the last axis sums to 1, and is 0 where a token cannot look. Rows of
        padding hold no meaning.
    """
    token_ids, _ = checked_ids(token_ids, trunk.config.vocab_size, padding_mask, "text")
    trace = trunk.trace(token_ids, padding_mask)
    return ops.stack(
        [
            block.attention.attention_weights(
                block.attention_norm(state) if block.pre_norm else state, mask, trace.positions
            )
            for block, state, mask in zip(trunk.blocks, trace.states, trace.masks)
        ]
    )

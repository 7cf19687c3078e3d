"""Log-probs of whole responses, for the objectives that compare them."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from tfalign.functional.masking import masked_sum
from tfalign.models import CausalLM
from tfalign.models.read_out import read_out
from tfalign.models.response_states import response_states
from tfalign.types import Array, LabelledResponses, RankedResponses


class ResponseLogProbs(NamedTuple):
    """Summed log-probs and lengths of K responses to each of B prompts."""

    totals: Array  # float32[B, K], summed over the response's tokens, nats
    lengths: Array  # float32[B, K], tokens

    @property
    def means(self) -> Array:
        """float32[B, K], nats a token; 0 for a response without one."""
        return self.totals / ops.maximum(self.lengths, 1.0)


def response_log_probs(
    model: CausalLM,
    batch: RankedResponses | LabelledResponses,
    training: bool = False,
    temperature: float | Array = 1.0,
    chunk: int | None = None,
) -> ResponseLogProbs:
    """One forward pass over all responses, in packed rows where the batch has them; logits at their own columns alone.

    Args:
        model: CausalLM.
        batch: RankedResponses or LabelledResponses.
        training: bool, whether dropout is on.
        temperature: of the distributions, see ``functional.log_probs``.
        chunk: see ``models.read_out.read_out``.

    Returns:
        ResponseLogProbs.
    """
    num_prompts, num_responses, num_columns = batch.token_ids.shape
    length = batch.response_mask.shape[-1]
    token_ids = ops.reshape(batch.token_ids, (num_prompts * num_responses, num_columns))
    padding_mask = ops.reshape(batch.padding_mask, token_ids.shape)
    condition = getattr(batch, "condition", None)
    if condition is not None:
        condition = ops.reshape(condition, (-1, *condition.shape[2:]))
    states = response_states(token_ids, padding_mask, length, batch.packed)
    hidden = states.outputs(model.backbone, training, condition)
    tokens = states.gather(token_ids[:, -length:])
    log_probs = states.spread(read_out(model, hidden, tokens, temperature, chunk))
    per_token = ops.reshape(log_probs, (num_prompts, num_responses, length))
    return ResponseLogProbs(
        masked_sum(per_token, batch.response_mask, axis=-1),
        ops.sum(ops.cast(batch.response_mask, "float32"), axis=-1),
    )

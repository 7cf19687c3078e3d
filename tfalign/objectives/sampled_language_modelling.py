"""Next-token prediction over a large vocabulary with a sampled softmax."""

from __future__ import annotations

import dataclasses

from keras import ops

from tfalign.functional.random import uniform
from tfalign.functional.sampled_softmax import draw_tail, sampled_token_log_probs
from tfalign.models import CausalLM
from tfalign.models.read_out import product_kernel
from tfalign.objectives.language_modelling import LanguageModelling
from tfalign.types import Array


@dataclasses.dataclass(frozen=True)
class SampledLanguageModelling(LanguageModelling):
    """``LanguageModelling`` whose normaliser is exact over the first tokens of a vocabulary numbered
    by frequency and an estimate over the others, in training; in evaluation it is exact.

    Attributes:
        head: int, tokens whose scores are always summed.
        sampled: int, tokens drawn among the others for each batch.
        seed: int in [0, 2**32). Which are sampled follows from it and the batch's tokens, so a
            resumed run draws what it would have.
    """

    head: int = 2000
    sampled: int = 2000
    seed: int = 0

    def log_probs(self, model: CausalLM, hidden: Array, targets: Array, training: bool) -> Array:
        if not training:
            return super().log_probs(model, hidden, targets, training)
        numbers = ops.arange(self.sampled, dtype="int32")
        uniforms = uniform(self.seed, numbers, ops.sum(targets))
        tail, tail_counts = draw_tail(uniforms, self.head, model.config.vocab_size)
        return sampled_token_log_probs(
            hidden,
            ops.transpose(product_kernel(model)),
            targets,
            ops.concatenate([ops.arange(self.head, dtype="int32"), tail]),
            ops.concatenate([ops.zeros((self.head,)), tail_counts]),
        )

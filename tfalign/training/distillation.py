"""Parts of distillation: what the teacher says of texts, and texts made of responses."""

from __future__ import annotations

import numpy as np
from keras import ops

from tfalign import backend
from tfalign.models import CausalLM
from tfalign.training.responses import join
from tfalign.types import DistilledTexts, Generation, LanguageModelBatch, Prompts


class Teacher:
    """A model that is not trained, as a compiled function of texts.

    Args:
        model: CausalLM.
    """

    def __init__(self, model: CausalLM) -> None:
        def logits(batch):
            hidden = model.backbone(batch.token_ids, segment_ids=batch.segment_ids, training=False)
            return ops.cast(model.logits(hidden), "float32")

        self._logits = backend.jit(logits, model.variables)

    def __call__(self, batch: LanguageModelBatch) -> DistilledTexts:
        """The texts with the teacher's logits, float32[B, T, V], which are held whole."""
        return DistilledTexts(*batch, self._logits(batch))


def response_texts(prompts: Prompts, generation: Generation) -> LanguageModelBatch:
    """Prompts with their responses as rows of text, right-padded, whose targets are the responses.

    Args:
        prompts: Prompts of B rows.
        generation: Generation of B rows.

    Returns:
        LanguageModelBatch of NumPy arrays, [B, P + R].

    >>> prompts = Prompts(np.array([[0, 5]]), np.array([[False, True]]))
    >>> said = Generation(np.array([[7, 8]]), None, np.array([[True, True]]), None)
    >>> texts = response_texts(prompts, said)
    >>> texts.token_ids.tolist(), texts.loss_mask.astype(int).tolist()
    ([[5, 7, 8, 0]], [[0, 1, 1, 0]])
    """
    token_ids, real = join(prompts, generation)
    own = np.zeros_like(real)
    own[:, -generation.mask.shape[1] :] = np.asarray(generation.mask)
    order = np.argsort(~real, axis=1, kind="stable")
    token_ids, real, own = (np.take_along_axis(x, order, axis=1) for x in (token_ids, real, own))
    token_ids = np.where(real, token_ids, 0).astype("int32")
    return LanguageModelBatch(token_ids, real, own, real.astype("int32"))

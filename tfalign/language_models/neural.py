"""Networks as language models: GPT, recurrent ones, Bengio's."""

from __future__ import annotations

import numpy as np
from keras import ops

from tfalign import backend
from tfalign.decoding import Greedy, Sampler, generate
from tfalign.functional.arguments import checked_ids
from tfalign.language_models.language_model import LanguageModel
from tfalign.models import CausalLM
from tfalign.models.read_out import read_out
from tfalign.types import Array


class NeuralLanguageModel(LanguageModel):
    """A ``CausalLM`` behind the interface.

    Args:
        model: CausalLM.
        chunk: see ``models.read_out.read_out``.
    """

    def __init__(self, model: CausalLM, chunk: int | None = None) -> None:
        self.model = model
        self.vocab_size = model.config.vocab_size
        self.context_length = model.config.context_length
        self._chunk = chunk
        self._score = backend.jit(self._scored, model.variables)
        self._predict = backend.jit(self._predicted, model.variables)

    @property
    def num_parameters(self) -> int:
        """int, numbers in the weights."""
        return self.model.count_params()

    def token_log_probs(self, token_ids: Array) -> np.ndarray:
        token_ids, _ = checked_ids(token_ids, self.vocab_size, what="text")
        columns, most = token_ids.shape[1] - 1, self.model.config.max_positions
        if most is not None and columns > most:
            raise ValueError(
                f"The model reads {most} tokens at most; longer texts need windows. "
                f"Received: {columns}"
            )
        return np.asarray(self._score(token_ids))

    def next_log_probs(self, contexts: Array) -> np.ndarray:
        seen = self._with_a_start(contexts)
        seen = seen if self.context_length is None else self._last(seen)
        rows, real = seen.shape
        columns = 1 << (real - 1).bit_length()  # few lengths, so few programs
        padded = np.zeros((rows, min(columns, self.context_length or columns)), np.int32)
        padded[:, padded.shape[1] - real :] = seen
        is_real = np.broadcast_to(np.arange(-padded.shape[1], 0) >= -real, padded.shape)
        return np.asarray(self._predict(padded, is_real))

    def sample(
        self, contexts: Array, num_tokens: int, sampler: Sampler | Greedy = Sampler(), seed: int = 0
    ) -> np.ndarray:
        contexts = self._with_a_start(contexts)
        most = self.model.config.max_positions
        if most is not None and contexts.shape[1] + num_tokens > most:
            return super().sample(contexts, num_tokens, sampler, seed)  # positions move: no cache
        drawn = generate(
            self.model, contexts, max_new_tokens=num_tokens, sampler=sampler, seed=seed
        )
        return np.asarray(drawn.tokens)

    def _scored(self, token_ids):
        hidden = self.model.backbone(token_ids[:, :-1], training=False)
        return read_out(self.model, hidden, token_ids[:, 1:], chunk=self._chunk)

    def _predicted(self, token_ids, mask):
        logits = self.model(token_ids, padding_mask=mask, last=1, training=False)
        return ops.log_softmax(logits[:, 0], axis=-1)

    def _with_a_start(self, contexts):
        """int32[B, C], checked."""
        if np.ndim(contexts) != 2 or not np.shape(contexts)[1]:
            raise ValueError(
                "A network predicts from at least one token, such as the end of a text before. "
                f"Received: contexts of shape {np.shape(contexts)}"
            )
        return checked_ids(contexts, self.vocab_size, what="context")[0]

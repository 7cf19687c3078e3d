"""What every language model can do, whether it counts or computes."""

from __future__ import annotations

import abc

import numpy as np
from keras import ops

from tfalign.decoding import Greedy, Sampler
from tfalign.functional.random import uniform
from tfalign.types import Array


class LanguageModel(abc.ABC):
    """p(token | the tokens before it), and with it the probability of any text.

    Attributes:
        vocab_size: int, V.
        context_length: int, how many of the tokens before it a prediction looks at, at most; None
            where there is no limit.
    """

    vocab_size: int
    context_length: int | None

    @abc.abstractmethod
    def token_log_probs(self, token_ids: Array) -> np.ndarray:
        """Log-probability of every token but the first, given all before it in its row.

        Args:
            token_ids: int32[B, T + 1]; the first column is context alone, a model's start of text
                or whatever came before.

        Returns:
            float[B, T], nats; -inf where the model holds a token to be impossible.
        """

    @abc.abstractmethod
    def next_log_probs(self, contexts: Array) -> np.ndarray:
        """The whole distribution of the token that follows.

        Args:
            contexts: int32[B, C].

        Returns:
            float[B, V], nats.
        """

    def sample(
        self, contexts: Array, num_tokens: int, sampler: Sampler | Greedy = Sampler(), seed: int = 0
    ) -> np.ndarray:
        """Continues every context.

        Args:
            contexts: int32[B, C].
            num_tokens: int, R.
            sampler: see ``decoding.samplers``.
            seed: int in [0, 2**32). The token drawn at a step depends on the seed, the row's number
                and the step, in the same way for every model.

        Returns:
            int32[B, R].
        """
        token_ids = np.asarray(contexts, np.int32)
        rows = np.arange(len(token_ids), dtype=np.int32)
        for step in range(num_tokens):
            seen = token_ids if self.context_length is None else self._last(token_ids)
            uniforms = uniform(seed, rows, np.full_like(rows, step))
            log_probs = ops.convert_to_tensor(self.next_log_probs(seen), "float32")
            drawn, _ = sampler.choose(log_probs, uniforms)
            token_ids = np.concatenate([token_ids, np.asarray(drawn)[:, None]], axis=1)
        return token_ids[:, np.shape(contexts)[1] :]

    def _last(self, token_ids):
        return token_ids[:, max(token_ids.shape[1] - self.context_length, 0) :]

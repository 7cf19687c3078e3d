"""n-gram models: tables of log-probabilities with a way back to shorter contexts."""

from __future__ import annotations

import numpy as np

from tfalign.functional.arguments import checked_ids
from tfalign.language_models.language_model import LanguageModel
from tfalign.language_models.ngram_counts import Level, find_all, shifted
from tfalign.types import Array


class NGramModel(LanguageModel):
    """A back-off model (Katz 1987, eq. 7), which every smoothing can be written as:

        log p(w | c) = table[c w] where the n-gram has an entry,
                       back_off[c] + log p(w | c without its first token) where it has not.

    ``smoothing`` estimates such models from counts, ``arpa`` reads and writes them.

    Args:
        levels: list of Level, unigrams first.
        log_probs: list of float64[N], nats, one a level; NaN where the n-gram is the context of
            others and no entry itself. Every unigram has an entry.
        back_offs: list of float64[N], nats, one a level but the last: an n-gram's weight as context.
        boundary: int, the token the model's n-grams do not reach over, or None.
    """

    def __init__(
        self,
        levels: list[Level],
        log_probs: list[np.ndarray],
        back_offs: list[np.ndarray],
        boundary: int | None = None,
    ) -> None:
        self.levels = levels
        self.log_probs = log_probs
        self.back_offs = back_offs
        self.boundary = boundary
        self.vocab_size = levels[0].vocab_size
        self.context_length = len(levels) - 1

    @property
    def order(self) -> int:
        return len(self.levels)

    @property
    def num_parameters(self) -> int:
        """int, numbers in the tables."""
        return sum(map(len, self.log_probs)) + sum(map(len, self.back_offs))

    def token_log_probs(self, token_ids: Array) -> np.ndarray:
        rows = find_all(self.levels, checked_ids(token_ids, self.vocab_size, what="text")[0])
        result = self.log_probs[0][rows[0]]
        for shorter, longer, table, back_offs in zip(
            rows, rows[1:], self.log_probs[1:], self.back_offs
        ):
            contexts = shifted(shorter)
            backed_off = result + np.where(contexts >= 0, back_offs[contexts], 0.0)
            entries = np.where(longer >= 0, table[longer], np.nan)
            result = np.where(np.isnan(entries), backed_off, entries)
        return result[:, 1:]

    def next_log_probs(self, contexts: Array) -> np.ndarray:
        seen = self._last(np.asarray(contexts))
        result = np.tile(self.log_probs[0], (len(seen), 1))
        if not seen.size:
            return result
        seen, _ = checked_ids(seen, self.vocab_size, what="context")
        for rows, level, table, back_offs in zip(
            find_all(self.levels, seen), self.levels[1:], self.log_probs[1:], self.back_offs
        ):
            for distribution, context in zip(result, rows[:, -1]):
                if context >= 0:
                    children = level.children(context)
                    entries = table[children]
                    there = ~np.isnan(entries)
                    distribution += back_offs[context]
                    distribution[level.words[children][there]] = entries[there]
        return result

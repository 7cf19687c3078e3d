"""How well a language model predicts a text."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from tfalign.data.checks import whole_number

if TYPE_CHECKING:
    from tfalign.language_models import LanguageModel


@dataclasses.dataclass(frozen=True)
class Perplexity:
    """Log-probabilities of a text added up.

    Attributes:
        tokens: int, how many were predicted, unknown words among them.
        log_prob: float, their sum, nats.
        unknown: int, how many of the tokens stand for words outside the vocabulary.
        unknown_log_prob: float, the sum over those.
        impossible: int, tokens the model gave no probability at all; one is enough for an infinite
            perplexity.
    """

    tokens: int
    log_prob: float
    unknown: int
    unknown_log_prob: float
    impossible: int

    @property
    def nats(self) -> float:
        """float, mean negative log-probability of a token."""
        return -self.log_prob / self.tokens

    @property
    def perplexity(self) -> float:
        """float, exp of ``nats``."""
        return _exp(self.nats)

    @property
    def known_perplexity(self) -> float:
        """float, the perplexity of the other tokens: predicting that a word is unknown is easier than
        predicting the word; NaN where there are no others."""
        known = self.tokens - self.unknown
        return _exp((self.unknown_log_prob - self.log_prob) / known) if known else math.nan

    def bits(self, units: float) -> float:
        """float, bits for each of so many units, such as the characters of the text.

        Raises:
            ValueError: if there are none.
        """
        if not units > 0:
            raise ValueError(f"units must be positive. Received: units={units}")
        return -self.log_prob / math.log(2) / units


def _exp(nats):
    return math.exp(nats) if nats < 700 else math.inf


def perplexity(
    model: LanguageModel,
    token_ids: np.ndarray,
    window: int | None = None,
    stride: int | None = None,
    unknown_id: int | None = None,
    batch_size: int = 8,
) -> Perplexity:
    """Perplexity of a text.

    The text is read in rows of ``window`` predicted tokens. With a ``stride`` below it the rows overlap,
    and of each but the first only the last ``stride`` tokens count, so that every counted token has
    at least ``window - stride`` before it ("sliding windows"). Without, rows are side by side and
    a row's first token sees one token alone.

    Args:
        model: LanguageModel.
        token_ids: int32[N + 1], the first is context alone.
        window: int; None for the whole text in one row.
        stride: int in [1, window]; ``window`` where None.
        unknown_id: int, the token that stands for unknown words, or None.
        batch_size: int, rows at a time.

    Returns:
        Perplexity of N tokens.

    Raises:
        ValueError: if there is nothing to predict, the stride is not in its range, or a size is not
            positive.
    """
    whole_number("batch_size", batch_size, least=1)
    for name, size in (("window", window), ("stride", stride)):
        if size is not None:
            whole_number(name, size, least=0)
    token_ids = np.asarray(token_ids, np.int32)
    log_probs = _log_probs(model, token_ids, window, stride, batch_size)
    unknown = token_ids[1:] == (-1 if unknown_id is None else unknown_id)
    return Perplexity(
        tokens=len(log_probs),
        log_prob=float(np.sum(log_probs, dtype=np.float64)),
        unknown=int(np.count_nonzero(unknown)),
        unknown_log_prob=float(np.sum(log_probs[unknown], dtype=np.float64)),
        impossible=int(np.count_nonzero(np.isneginf(log_probs))),
    )


def _log_probs(model, token_ids, window, stride, batch_size):
    """float[N], each token's log-probability in the row in which it counts."""
    total = len(token_ids) - 1
    if total < 1:
        raise ValueError(f"A text needs a token to predict. Received: {len(token_ids)} tokens")
    window = total if window is None else window
    stride = window if stride is None else stride
    if not 1 <= stride <= window:
        raise ValueError(
            f"The stride must lie in [1, window]. Received: stride={stride}, window={window}"
        )
    window = min(window, total)
    ends = np.minimum(np.arange(window, total + stride, stride), total)
    counted_from = np.concatenate([[0], ends[:-1]])
    result = np.empty(total)
    for first in range(0, len(ends), batch_size):
        chosen = np.arange(first, first + batch_size).clip(max=len(ends) - 1)  # all batches alike
        columns = ends[chosen][:, None] + np.arange(-window, 1)
        rows = np.asarray(model.token_log_probs(token_ids[columns]))
        for row, end, start in zip(rows, ends[chosen], counted_from[chosen]):
            result[start:end] = row[window - (end - start) :]
    return result

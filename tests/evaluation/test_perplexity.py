"""Perplexity: every token counted once, in the row the windows say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tfalign.evaluation.perplexity import perplexity
from tfalign.language_models import LanguageModel


class SeenTokens(LanguageModel):
    """Gives the n-th predicted token of a row the log-probability -n, and remembers the rows."""

    vocab_size, context_length = 100, None

    def __init__(self):
        self.rows = []

    def token_log_probs(self, token_ids):
        self.rows += token_ids.tolist()
        return -np.broadcast_to(np.arange(1.0, token_ids.shape[1]), token_ids[:, 1:].shape)

    def next_log_probs(self, contexts):
        raise NotImplementedError


TEXT = np.arange(11)  # ten tokens to predict


@pytest.mark.parametrize(
    ("window", "stride", "places"),
    [
        (None, None, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (4, None, [1, 2, 3, 4, 1, 2, 3, 4, 3, 4]),
        (4, 4, [1, 2, 3, 4, 1, 2, 3, 4, 3, 4]),
        (4, 2, [1, 2, 3, 4, 3, 4, 3, 4, 3, 4]),
        (4, 3, [1, 2, 3, 4, 2, 3, 4, 2, 3, 4]),
        (4, 1, [1, 2, 3, 4, 4, 4, 4, 4, 4, 4]),
        (20, 5, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ],
)
def test_windows(window, stride, places):
    result = perplexity(SeenTokens(), TEXT, window, stride, batch_size=2)
    assert result.tokens == 10 and result.log_prob == -sum(places)
    assert result.perplexity == pytest.approx(math.exp(sum(places) / 10))


def test_rows_are_stretches_of_the_text_and_batches_alike():
    model = SeenTokens()
    perplexity(model, TEXT, window=4, stride=2, batch_size=3)
    assert model.rows[:4] == [[0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [4, 5, 6, 7, 8], [6, 7, 8, 9, 10]]
    assert len(model.rows) == 6


def test_unknown_words_are_counted():
    result = perplexity(SeenTokens(), TEXT, unknown_id=7)
    assert (result.unknown, result.unknown_log_prob) == (1, -7.0)
    assert result.known_perplexity == pytest.approx(math.exp((55 - 7) / 9))
    assert result.bits(units=20) == pytest.approx(55 / math.log(2) / 20)


def test_one_impossible_token_makes_it_infinite():
    model = SeenTokens()
    model.token_log_probs = lambda rows: np.where(rows[:, 1:] == 3, -np.inf, -1.0)
    result = perplexity(model, TEXT)
    assert result.perplexity == math.inf and result.impossible == 1


@pytest.mark.parametrize(
    ("text", "window", "stride", "message"),
    [
        ([5], None, None, "Received: 1 tokens"),
        (TEXT, 4, 5, "Received: stride=5, window=4"),
        (TEXT, 4, 0, "Received: stride=0, window=4"),
    ],
)
def test_what_cannot_be_measured_is_said(text, window, stride, message):
    with pytest.raises(ValueError, match=message):
        perplexity(SeenTokens(), text, window, stride)

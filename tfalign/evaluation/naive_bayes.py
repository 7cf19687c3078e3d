"""Naive Bayes over words: a judge of sentiment that has nothing in common with a reward model."""

from __future__ import annotations

import collections
import json
import math
import os
from collections.abc import Mapping, Sequence

from tfalign.files import as_path, write_json_atomically


class NaiveBayes:
    """The log-odds that a text is positive, from which words are in it (Pang et al. 2002).

    Called as a reward of texts, ``(prompt, response) -> float``: the nats by which the response's
    distinct words speak for a positive text, 0 for undecided. Words are what white space
    separates; words never seen count nothing.

    Args:
        weights: dict of word to nats.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = weights

    @classmethod
    def fit(cls, positive: Sequence[str], negative: Sequence[str]) -> NaiveBayes:
        """Counts the texts each word is in, plus one, as a share of all such counts.

        Args:
            positive, negative: lists of str, as many of one as of the other or nearly.
        """
        ours, theirs = (
            collections.Counter(word for text in texts for word in set(text.split()))
            for texts in (positive, negative)
        )
        words = sorted(ours.keys() | theirs.keys())
        prior = math.log((theirs.total() + len(words)) / (ours.total() + len(words)))
        return cls({w: math.log((ours[w] + 1) / (theirs[w] + 1)) + prior for w in words})

    def __call__(self, prompt: str, response: str) -> float:
        del prompt
        return sum(self.weights.get(word, 0.0) for word in sorted(set(response.split())))

    def save(self, file: str | os.PathLike) -> None:
        """Writes the weights as JSON."""
        write_json_atomically(as_path(file), self.weights)

    @classmethod
    def load(cls, file: str | os.PathLike) -> NaiveBayes:
        """Reads what ``save`` wrote."""
        return cls(json.loads(as_path(file).read_text(encoding="utf-8")))

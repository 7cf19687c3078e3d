"""How often each sequence of n tokens occurs in a text, for all n up to an order, without a loop over
tokens.

The n-grams of one length are the rows of a level, sorted. A row is known by its prefix, a row of
the level below, and its last token; so a whole text is looked up with one binary search a level,
and the n-grams that begin with the same context are neighbours.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfalign.data.checks import is_whole, whole_number
from tfalign.types import Array


@dataclasses.dataclass(frozen=True)
class Level:
    """The n-grams of one length, in ascending order of (prefix, last token).

    Attributes:
        vocab_size: int, V.
        num_prefixes: int, rows of the level below.
        keys: int64[N], prefix * V + last token.
    """

    vocab_size: int
    num_prefixes: int
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def prefixes(self) -> np.ndarray:
        """int64[N], rows of the level below: the n-grams without their last token."""
        return self.keys // self.vocab_size

    @property
    def words(self) -> np.ndarray:
        """int64[N], last tokens."""
        return self.keys % self.vocab_size

    def find(self, prefixes: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Rows of n-grams: int64[...], -1 where there is none or the prefix is -1."""
        if not len(self.keys):
            return np.full_like(prefixes, -1)
        wanted = prefixes * self.vocab_size + words
        rows = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((prefixes >= 0) & (self.keys[rows] == wanted), rows, -1)

    def children(self, prefix: int) -> slice:
        """slice, the n-grams that begin with a row of the level below."""
        ends = np.array([prefix, prefix + 1]) * self.vocab_size
        return slice(*np.searchsorted(self.keys, ends))


def unigram_level(vocab_size: int) -> Level:
    """Level of all single tokens, seen or not; their one prefix is the empty n-gram, row 0."""
    return Level(vocab_size, 1, np.arange(vocab_size, dtype=np.int64))


def find_all(levels: list[Level], token_ids: Array) -> list[np.ndarray]:
    """Where the n-grams that end at each token stand.

    Args:
        levels: list of Level, unigrams first.
        token_ids: int[B, T].

    Returns:
        list of int64[B, T], one a level; -1 where the n-gram is not there or the row has fewer
        tokens before that column.

    Raises:
        ValueError: if a token is not in the vocabulary.
    """
    token_ids = np.asarray(token_ids, np.int64)
    _check_tokens(token_ids, levels[0].vocab_size)
    found = [token_ids]
    for level in levels[1:]:
        found.append(level.find(shifted(found[-1]), token_ids))
    return found


def _check_tokens(token_ids, vocab_size):
    if token_ids.size and (token_ids.min() < 0 or token_ids.max() >= vocab_size):
        raise ValueError(
            f"Tokens must lie in [0, {vocab_size}). "
            f"Received: {token_ids.min()} to {token_ids.max()}"
        )


def shifted(rows: np.ndarray) -> np.ndarray:
    """Each column's left neighbour, -1 at the first: int64[..., T]."""
    return np.concatenate([np.full_like(rows[..., :1], -1), rows[..., :-1]], axis=-1)


@dataclasses.dataclass(frozen=True)
class NGramCounts:
    """Counts of all n-grams of a text up to an order.

    Attributes:
        levels: list of Level, unigrams first.
        counts: list of int64[N], how often each n-gram ends at a token that is predicted.
        suffixes: list of int64[N], rows of the level below: the n-grams without their first token.
        boundary: int, the token that no n-gram reaches over, at the end of every sentence and so
            before every sentence; None for a text without.
    """

    levels: list
    counts: list
    suffixes: list
    boundary: int | None

    @property
    def order(self) -> int:
        return len(self.levels)

    @property
    def vocab_size(self) -> int:
        return self.levels[0].vocab_size

    def in_front(self, index: int) -> np.ndarray:
        """Which n-grams begin with the boundary, so that there is no longer context: bool[N]."""
        if self.boundary is None:
            return np.zeros(len(self.levels[index]), bool)
        first = self.levels[0].words
        for level in self.levels[1 : index + 1]:
            first = first[level.prefixes]
        return first == self.boundary

    def continuations(self, index: int) -> np.ndarray:
        """How many different tokens each n-gram follows: int64[N]. One that begins with the boundary
        follows none; its count stands instead (Heafield et al. 2013, section 3.2)."""
        follows = np.bincount(self.suffixes[index + 1], minlength=len(self.levels[index]))
        return (
            follows if index == 0 else np.where(self.in_front(index), self.counts[index], follows)
        )


def count_ngrams(
    token_ids: Array, order: int, vocab_size: int, boundary: int | None = None
) -> NGramCounts:
    """Counts the n-grams of a text.

    Args:
        token_ids: int[T + 1], the first is context alone, as for
            ``LanguageModel.token_log_probs``.
        order: int, length of the longest n-grams.
        vocab_size: int, V.
        boundary: int, a token that no n-gram reaches over: it is their first or their last or
            neither. None lets n-grams reach over everything.

    Returns:
        NGramCounts.

    Raises:
        ValueError: if the order is not positive, there is no token to count, or a token or the boundary
            is not in the vocabulary.

    >>> counts = count_ngrams([0, 1, 2, 1, 2, 2], order=2, vocab_size=3)
    >>> counts.counts[0].tolist(), counts.levels[1].keys.tolist(), counts.counts[1].tolist()
    ([0, 2, 3], [1, 5, 7, 8], [1, 2, 1, 1])
    """
    token_ids = np.asarray(token_ids, np.int64)
    if not is_whole(order, least=1):
        raise ValueError(f"The order of n-grams must be at least 1. Received: order={order}")
    if token_ids.ndim != 1 or len(token_ids) < 2:
        raise ValueError(
            "A text must be one row of at least two tokens, the first of them context. "
            f"Received: shape {token_ids.shape}"
        )
    _check_tokens(token_ids, whole_number("vocab_size", vocab_size, least=1))
    if boundary is not None:
        whole_number("boundary", boundary, least=0, most=vocab_size - 1)
    levels = [unigram_level(vocab_size)]
    counts = [np.bincount(token_ids[1:], minlength=vocab_size)]
    suffixes = [np.zeros(vocab_size, np.int64)]
    rows = token_ids
    for length in range(2, order + 1):
        prefixes = shifted(rows)
        if boundary is not None and length > 2:
            prefixes[shifted(token_ids) == boundary] = -1
        there = prefixes >= 0
        keys = prefixes[there] * vocab_size + token_ids[there]
        distinct, inverse, occurrences = np.unique(keys, return_inverse=True, return_counts=True)
        levels.append(Level(vocab_size, len(levels[-1]), distinct))
        counts.append(occurrences)
        shorter = np.empty(len(distinct), np.int64)
        shorter[inverse] = rows[there]
        suffixes.append(shorter)
        rows = np.full_like(rows, -1)
        rows[there] = inverse
    return NGramCounts(levels, counts, suffixes, boundary)

"""Texts with hidden tokens, for BERT's pretraining: whole words or single tokens, other ones in every
epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from tfalign.data.batches import BatchStream
from tfalign.data.checks import whole_number
from tfalign.data.sentences import DocumentExamples, Texts, sentence_pairs
from tfalign.types import MaskedTexts

MASKED, RANDOM = 0.8, 0.1  # of the hidden tokens; the others stay as they are (Devlin et al., A.1)


def choose_hidden(word_ids: np.ndarray, keys: np.ndarray, share: float, most: int) -> np.ndarray:
    """Which tokens are hidden: whole words, in a random order, each that still fits.

    Args:
        word_ids: int[B, T], equal for the tokens of a word, less than T; -1 where nothing may be hidden.
        keys: float[B, T] in [0, 1), random; a word's is that of the column its id names.
        share: float, of the tokens that may be hidden; no batch hides more, except that a row hides
            one at least.
        most: int, tokens of a row.

    Returns:
        bool[B, T].
    """
    maskable = word_ids >= 0
    counts = maskable.sum(axis=1)
    budget = np.minimum(np.minimum(_wanted(counts, share), counts), most)
    sizes = _word_sizes(word_ids)
    order = np.argsort(np.where(sizes > 0, keys, 2.0), axis=1, kind="stable")
    row, left = np.arange(len(word_ids)), budget
    chosen = np.zeros(sizes.shape, bool)
    for word in order.T:  # of every row the next in its order
        size = sizes[row, word]
        fits = (size > 0) & (size <= left)
        chosen[row, word] = fits
        left = left - size * fits
        if not left.any():
            break
    return maskable & np.take_along_axis(chosen, np.maximum(word_ids, 0), axis=1)


def _wanted(counts, share):
    """int[B], tokens to hide of each row, one at least: a row hands on what rounding leaves it, so that
    all rows together come to the share where each by itself would miss it.

    >>> _wanted(np.array([30, 30, 30, 3]), 0.15).tolist()
    [4, 5, 4, 1]
    """
    reached = np.floor(np.cumsum(counts) * share + 1e-9).astype(int)
    return np.maximum(np.diff(reached, prepend=0), 1)


def _word_sizes(word_ids):
    """int[B, T], how many tokens the word that a column names has; 0 where none is called so."""
    rows, columns = word_ids.shape
    flat = (word_ids + columns * np.arange(rows)[:, None])[word_ids >= 0]
    return np.bincount(flat, minlength=rows * columns).reshape(rows, columns)


@dataclasses.dataclass(frozen=True)
class _MaskedRows:
    """A batch to be: rows of Texts, and the number its random numbers come from."""

    indices: np.ndarray
    num_tokens: int
    texts: Texts
    epoch: int
    number: int


class _Masking:
    """The layout of a ``MaskedTextStream``."""

    def __init__(self, examples, batch_size, columns, texts, share, whole_words, seed):
        self.columns = (columns,)
        self.batch_size = batch_size
        self.drop_remainder = True
        self._examples = examples
        self._texts = texts
        self._share = share
        self._most = max(1, round(share * columns))
        self._whole_words = whole_words
        self._seed = seed

    def plan(self, seed, epoch):
        """list of _MaskedRows, the epoch's batches in order."""
        random = self._random(epoch, 0)
        texts = self._texts(self._examples, self.columns[0], random)
        order = random.permutation(len(texts.is_random))
        batches = []
        for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
            chosen = Texts(*(field[order[start : start + self.batch_size]] for field in texts))
            specials = 1 + (chosen.lengths > 0).sum()
            num_tokens = int(chosen.lengths.sum() + specials)
            batches.append(
                _MaskedRows(chosen.documents, num_tokens, chosen, epoch, 1 + len(batches))
            )
        return batches

    def batch(self, rows):
        token_ids, mask, types = self._rows(rows.texts)
        random = self._random(rows.epoch, rows.number)
        examples = self._examples
        word_ids = np.where(
            np.isin(token_ids, examples.ordinary), np.arange(token_ids.shape[1]), -1
        )
        if self._whole_words:
            begins = examples.begins_word[token_ids] | (word_ids < 0)
            first = np.maximum.accumulate(
                np.where(begins, np.arange(token_ids.shape[1]), 0), axis=1
            )
            word_ids = np.where(word_ids < 0, -1, first)
        hidden = choose_hidden(word_ids, random.random(word_ids.shape), self._share, self._most)
        replaced = self._replaced(token_ids, hidden, random)
        columns = np.argsort(~hidden, axis=1, kind="stable")[:, : self._most].astype(np.int32)
        return MaskedTexts(
            token_ids=replaced,
            padding_mask=mask,
            token_type_ids=types,
            hidden_columns=columns,
            hidden_ids=np.take_along_axis(token_ids, columns, axis=1),
            is_hidden=np.take_along_axis(hidden, columns, axis=1),
            is_random=rows.texts.is_random.astype(np.int32),
        )

    def _random(self, epoch, number):
        """Random numbers that follow from the seed, the epoch and the batch's number alone."""
        return np.random.Generator(
            np.random.Philox(
                key=np.array([self._seed, epoch], np.uint64), counter=[0, 0, 0, number]
            )
        )

    def _rows(self, texts):
        """CLS first SEP second SEP: (token_ids int32[B, T], mask bool[B, T], types int32[B, T])."""
        examples, column = self._examples, np.arange(self.columns[0])
        first, second = texts.lengths[:, :1], texts.lengths[:, 1:]
        in_first = (column >= 1) & (column < 1 + first)
        in_second = (column >= 2 + first) & (column < 2 + first + second)
        end = 2 + first + np.where(second > 0, second + 1, 0)
        mask = column < end
        place = np.where(
            in_first, texts.starts[:, :1] + column - 1, texts.starts[:, 1:] + column - 2 - first
        )
        tokens = examples.sentences.tokens[np.where(in_first | in_second, place, 0)]
        token_ids = np.where(in_first | in_second, tokens, examples.sep_id)
        token_ids = np.where(mask, token_ids, examples.pad_id)
        token_ids[:, 0] = examples.cls_id
        types = (mask & (column >= 2 + first)).astype(np.int32)
        return token_ids.astype(np.int32), mask, types

    def _replaced(self, token_ids, hidden, random):
        examples = self._examples
        draw = random.random(token_ids.shape)
        others = random.integers(len(examples.ordinary), size=token_ids.shape)
        others = examples.ordinary[others]
        replacement = np.where(
            draw < MASKED,
            examples.mask_id,
            np.where(draw < MASKED + RANDOM, others, token_ids),
        )
        return np.where(hidden, replacement, token_ids).astype(np.int32)


class MaskedTextStream(BatchStream):
    """An iterator over ``MaskedTexts`` of NumPy arrays, as ``BatchStream`` is one: it can stop, go on
    from a ``state()``, and be a ``tf.data.Dataset``.

    Each epoch draws other texts and hides other tokens (dynamic masking, Liu et al. 2019). Of the hidden
    tokens 80% are replaced by the mask, 10% by a random token, and 10% stay. Special tokens, the unknown
    word among them, are never hidden.

    Args:
        examples: DocumentExamples.
        batch_size: int, rows of a batch.
        length: int, columns.
        texts: ``sentence_pairs`` or ``single_texts``.
        share: float in (0, 1), of a row's tokens to hide.
        whole_words: bool, whether all tokens of a word are hidden together.
        seed: int in [0, 2**64).
        epochs: int, how often to go through the documents; None for ever.

    Raises:
        ValueError: on impossible settings, or too few documents for one batch.
    """

    def __init__(
        self,
        examples: DocumentExamples,
        batch_size: int,
        length: int,
        texts: Callable[..., Texts] = sentence_pairs,
        share: float = 0.15,
        whole_words: bool = False,
        seed: int = 0,
        epochs: int | None = None,
    ) -> None:
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1. Received: share={share}")
        whole_number("length", length, least=8)
        layout = _Masking(examples, batch_size, length, texts, share, whole_words, seed)
        self._begin(examples, layout, seed, epochs)

"""Texts that somebody has annotated, encoded for an encoder: classes, tags, similarities.

A text stands between CLS (or BOS) and SEP (or EOS), right-padded. Of one that is too long the start is
kept; a classifier may read the rest as well, in further windows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tfalign.data.checks import is_whole, whole_number
from tfalign.data.encoding import padding_id, sequence_ends
from tfalign.data.examples import Examples, Ragged
from tfalign.data.records import ClassRecord, SimilarityRecord, TaggedRecord
from tfalign.text import Tokenizer
from tfalign.types import ClassifiedTexts, SimilarTexts, TaggedTexts


@dataclasses.dataclass(frozen=True)
class ClassExamples(Examples):
    """Texts with classes; a text that is read in several windows is as many examples.

    Attributes:
        tokens: Ragged of N.
        labels: int32[N], index of each text's class.
        texts: int32[N], which text it is, or is a window of.
    """

    tokens: Ragged
    labels: np.ndarray
    texts: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.tokens.tokens, self.tokens.lengths, self.labels)

    def batch(self, indices: np.ndarray, columns: int) -> ClassifiedTexts:
        return ClassifiedTexts(
            *self.tokens.padded(indices, columns, self.pad_id), self.labels[indices]
        )


@dataclasses.dataclass(frozen=True)
class TaggedExamples(Examples):
    """Sentences with tags.

    Attributes:
        tokens: Ragged of N.
        tags: Ragged of N as long as the tokens: index of the word's tag at its first token, else -1.
    """

    tokens: Ragged
    tags: Ragged

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.tokens.tokens, self.tokens.lengths, self.tags.tokens)

    def batch(self, indices: np.ndarray, columns: int) -> TaggedTexts:
        tags, _ = self.tags.padded(indices, columns, -1)
        token_ids, mask = self.tokens.padded(indices, columns, self.pad_id)
        return TaggedTexts(token_ids, mask, np.maximum(tags, 0), tags >= 0)


@dataclasses.dataclass(frozen=True)
class SimilarityExamples(Examples):
    """Pairs of sentences.

    Attributes:
        first, second: Ragged of N.
        similarity: float32[N], in [0, 1].
    """

    first: Ragged
    second: Ragged
    similarity: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.maximum(self.first.lengths, self.second.lengths)

    @property
    def token_counts(self) -> np.ndarray:
        return self.first.lengths + self.second.lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        first, second = self.first, self.second
        return (first.tokens, first.lengths, second.tokens, second.lengths, self.similarity)

    def batch(self, indices: np.ndarray, columns: int) -> SimilarTexts:
        return SimilarTexts(
            *self.first.padded(indices, columns, self.pad_id),
            *self.second.padded(indices, columns, self.pad_id),
            self.similarity[indices],
        )


def encode_classes(
    records: Sequence[ClassRecord],
    tokenizer: Tokenizer,
    classes: Sequence[str],
    max_tokens: int,
    windows: int = 1,
) -> ClassExamples:
    """Texts and their classes.

    Args:
        records: sequence of ClassRecord.
        tokenizer: ``tfalign.text.Tokenizer``.
        classes: sequence of str, all labels there are, in the order of the logits.
        max_tokens: int, of a window, CLS and SEP included.
        windows: int, how many a long text is read in at most, each an example of the text's class;
            they are as few as will do, and equally long.

    Returns:
        ClassExamples.

    Raises:
        ValueError: naming a record whose label is none of the classes, if ``windows`` is not positive,
            or ``max_tokens`` leaves no room for text.
    """
    if not is_whole(windows, least=1):
        raise ValueError(f"A text is read in at least one window. Received: windows={windows}")
    labels = [_index(record, record.label, classes) for record in records]
    head, tail, room = _room(tokenizer, max_tokens)
    rows, texts = [], []
    for text, ids in enumerate(tokenizer.encode_batch([record.text for record in records])):
        for window in _windows(ids[: windows * room], room):
            rows.append(head + window + tail)
            texts.append(text)
    return ClassExamples(
        records=tuple(records[text] for text in texts),
        bad=(),
        pad_id=padding_id(tokenizer),
        tokens=Ragged(rows),
        labels=np.array([labels[text] for text in texts], np.int32),
        texts=np.array(texts, np.int32),
    )


def encode_tags(
    records: Sequence[TaggedRecord], tokenizer: Tokenizer, tags: Sequence[str], max_tokens: int
) -> TaggedExamples:
    """Sentences and the tags of their words; words are tokenised one by one, and those behind
    ``max_tokens`` have no tag to be learned.

    Args:
        records: sequence of TaggedRecord.
        tokenizer: ``tfalign.text.Tokenizer``; a word it has no tokens for is its unk token.
        tags: sequence of str, all there are, in the order of the logits.
        max_tokens: int, CLS and SEP included.

    Returns:
        TaggedExamples.

    Raises:
        ValueError: naming a record that has another tag, or if ``max_tokens`` leaves no room.
    """
    head, tail, _ = _room(tokenizer, max_tokens)
    flat = iter(tokenizer.encode_batch([word for record in records for word in record.words]))
    rows, indices = [], []
    for record in records:
        row, row_tags = list(head), [-1] * len(head)
        for tag in record.tags:
            word = next(flat) or [tokenizer.unk_id]
            row += word
            row_tags += [_index(record, tag, tags)] + [-1] * (len(word) - 1)
        room = max_tokens - len(tail)
        rows.append(row[:room] + tail)
        indices.append(row_tags[:room] + [-1] * len(tail))
    return TaggedExamples(
        records=tuple(records),
        bad=(),
        pad_id=padding_id(tokenizer),
        tokens=Ragged(rows),
        tags=Ragged(indices),
    )


def encode_similarities(
    records: Sequence[SimilarityRecord], tokenizer: Tokenizer, highest: float, max_tokens: int
) -> SimilarityExamples:
    """Pairs of sentences, their scores divided by the highest there can be.

    Args:
        records: sequence of SimilarityRecord.
        tokenizer: ``tfalign.text.Tokenizer``.
        highest: float, the score of two sentences that mean the same.
        max_tokens: int, of a sentence with CLS and SEP.

    Returns:
        SimilarityExamples.

    Raises:
        ValueError: if the highest score is not positive and finite, a record's is not in [0, highest], or
            ``max_tokens`` leaves no room.
    """
    if not 0 < highest < math.inf:
        raise ValueError(f"highest must be positive and finite. Received: highest={highest!r}")
    for record in records:
        if not 0 <= record.score <= highest:
            raise ValueError(
                f"{record.source or 'A record'}: a score lies in [0, {highest}]."
                f" Received: {record.score}"
            )
    first, second = (
        between_ends([getattr(record, side) for record in records], tokenizer, max_tokens)
        for side in ("first", "second")
    )
    return SimilarityExamples(
        records=tuple(records),
        bad=(),
        pad_id=padding_id(tokenizer),
        first=first,
        second=second,
        similarity=np.array([record.score / highest for record in records], np.float32),
    )


def between_ends(texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int) -> Ragged:
    """Texts between CLS (or BOS) and SEP (or EOS), the start of those that are longer than ``max_tokens`` with both.

    Raises:
        ValueError: if ``max_tokens`` leaves no room for text.
    """
    head, tail, room = _room(tokenizer, max_tokens)
    return Ragged([head + ids[:room] + tail for ids in tokenizer.encode_batch(texts)])


def _room(tokenizer, max_tokens):
    """(what stands before a text, what behind it, how many tokens it may have between them)."""
    head, tail = sequence_ends(tokenizer)
    ends = len(head) + len(tail)
    return head, tail, whole_number("max_tokens", max_tokens, least=ends + 1) - ends


def _windows(ids, room):
    """A list of ids in as few parts of at most ``room`` as will do; of none there is one, empty."""
    count = max(-(-len(ids) // room), 1)
    ends = [len(ids) * part // count for part in range(count + 1)]
    return [ids[start:end] for start, end in zip(ends, ends[1:])]


def _index(record, name, names):
    if name not in names:
        raise ValueError(
            f"{record.source or 'A record'}: the label must be one of {', '.join(names)}."
            f" Received: {name!r}"
        )
    return names.index(name)

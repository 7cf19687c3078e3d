"""Texts that somebody has annotated, encoded for an encoder: classes, tags, similarities.

A text stands between CLS (or BOS) and SEP (or EOS), right-padded. Of one that is too long the start is
kept; a classifier may read its end as well, where reviews say what they come to.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tfalign.data.encoding import Examples, Ragged, padding_id, sequence_ends
from tfalign.types import ClassifiedTexts, SimilarTexts, TaggedTexts


@dataclasses.dataclass(frozen=True)
class ClassExamples(Examples):
    """Texts with classes.

    Attributes:
        tokens: Ragged of N.
        labels: int32[N], index of each text's class.
    """

    tokens: Ragged
    labels: np.ndarray

    @property
    def lengths(self):
        return self.tokens.lengths

    @property
    def arrays(self):
        return (self.tokens.tokens, self.tokens.lengths, self.labels)

    def batch(self, indices, columns):
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
    def lengths(self):
        return self.tokens.lengths

    @property
    def arrays(self):
        return (self.tokens.tokens, self.tokens.lengths, self.tags.tokens)

    def batch(self, indices, columns):
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
    def lengths(self):
        return np.maximum(self.first.lengths, self.second.lengths)

    @property
    def token_counts(self):
        return self.first.lengths + self.second.lengths

    @property
    def arrays(self):
        first, second = self.first, self.second
        return (first.tokens, first.lengths, second.tokens, second.lengths, self.similarity)

    def batch(self, indices, columns):
        return SimilarTexts(
            *self.first.padded(indices, columns, self.pad_id),
            *self.second.padded(indices, columns, self.pad_id),
            self.similarity[indices],
        )


def encode_classes(records, tokenizer, classes, max_tokens, from_start=1.0):
    """Texts and their classes.

    Args:
        records: sequence of ClassRecord.
        tokenizer: ``tfalign.text.Tokenizer``.
        classes: sequence of str, all labels there are, in the order of the logits.
        max_tokens: int, CLS and SEP included.
        from_start: float in [0, 1], share of a too long text's tokens that are its first; the others
            are its last ("head and tail", Sun et al. 2019, section 5.3.1).

    Returns:
        ClassExamples.

    Raises:
        ValueError: naming a record whose label is none of the classes, or if ``from_start`` is no
            share.
    """
    if not 0 <= from_start <= 1:
        raise ValueError(f"from_start must be in [0, 1]. Received: from_start={from_start}")
    labels = [_index(record, record.label, classes) for record in records]
    texts = [record.text for record in records]
    return ClassExamples(
        records=tuple(records),
        bad=(),
        pad_id=padding_id(tokenizer),
        tokens=_between_ends(texts, tokenizer, max_tokens, from_start),
        labels=np.array(labels, np.int32),
    )


def encode_tags(records, tokenizer, tags, max_tokens):
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
        ValueError: naming a record that has another tag.
    """
    head, tail = sequence_ends(tokenizer)
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


def encode_similarities(records, tokenizer, highest, max_tokens):
    """Pairs of sentences, their scores divided by the highest there can be.

    Args:
        records: sequence of SimilarityRecord.
        tokenizer: ``tfalign.text.Tokenizer``.
        highest: float, the score of two sentences that mean the same.
        max_tokens: int, of a sentence with CLS and SEP.

    Returns:
        SimilarityExamples.
    """
    first, second = (
        _between_ends([getattr(record, side) for record in records], tokenizer, max_tokens)
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


def _between_ends(texts, tokenizer, max_tokens, from_start=1.0):
    head, tail = sequence_ends(tokenizer)
    room = max_tokens - len(head) - len(tail)
    first = round(from_start * room)

    def kept(ids):
        return ids if len(ids) <= room else ids[:first] + ids[len(ids) - (room - first) :]

    return Ragged([head + kept(ids) + tail for ids in tokenizer.encode_batch(texts)])


def _index(record, name, names):
    if name not in names:
        raise ValueError(
            f"{record.source or 'A record'}: the label must be one of {', '.join(names)}."
            f" Received: {name!r}"
        )
    return names.index(name)

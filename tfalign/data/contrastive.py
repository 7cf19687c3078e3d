"""Queries with the document that belongs to each, encoded for a contrastive objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfalign.data.annotated import between_ends
from tfalign.data.encoding import padding_id
from tfalign.data.examples import Examples, Ragged
from tfalign.data.records import CompletionRecord, RankedRecord
from tfalign.text import Tokenizer
from tfalign.types import ContrastiveTexts


@dataclasses.dataclass(frozen=True)
class ContrastiveExamples(Examples):
    """Queries with K documents each: the own one, and K - 1 hard negatives.

    Attributes:
        queries: Ragged of N.
        documents: Ragged of N * K, those of a query next to each other, the own one first.
    """

    queries: Ragged
    documents: Ragged

    @property
    def lengths(self) -> np.ndarray:
        longest = self.documents.lengths.reshape(len(self), -1).max(axis=1)
        return np.maximum(self.queries.lengths, longest)

    @property
    def token_counts(self) -> np.ndarray:
        return self.queries.lengths + self.documents.lengths.reshape(len(self), -1).sum(axis=1)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        queries, documents = self.queries, self.documents
        return (queries.tokens, queries.lengths, documents.tokens, documents.lengths)

    def batch(self, indices: np.ndarray, columns: int) -> ContrastiveTexts:
        each = len(self.documents) // len(self)
        rows = np.asarray(indices) * each + np.arange(each)[:, None]  # all own ones first
        return ContrastiveTexts(
            *self.queries.padded(indices, columns, self.pad_id),
            *self.documents.padded(rows.ravel(), columns, self.pad_id),
        )


def encode_contrastive(
    records: Sequence[CompletionRecord | RankedRecord], tokenizer: Tokenizer, max_tokens: int
) -> ContrastiveExamples:
    """Prompts as queries; a completion as the own document, or of ranked ones the first, and the others as hard
    negatives.

    Args:
        records: sequence of CompletionRecord, or of RankedRecord with equally many completions.
        tokenizer: ``tfalign.text.Tokenizer``.
        max_tokens: int, of a text with CLS and SEP; longer ones are truncated.

    Returns:
        ContrastiveExamples.

    Raises:
        ValueError: naming a record with another number of documents than the first, or if there is none.
    """
    if not records:
        raise ValueError("There are no records of queries and documents")
    documents = [_documents(record) for record in records]
    for record, own in zip(records, documents):
        if len(own) != len(documents[0]):
            raise ValueError(
                f"{record.source or 'A record'}: each query needs equally many documents, {len(documents[0])}."
                f" Received: {len(own)}"
            )
    flat = [text for own in documents for text in own]
    return ContrastiveExamples(
        records=tuple(records),
        bad=(),
        pad_id=padding_id(tokenizer),
        queries=between_ends([record.prompt for record in records], tokenizer, max_tokens),
        documents=between_ends(flat, tokenizer, max_tokens),
    )


def _documents(record):
    """Texts, the own document first."""
    if isinstance(record, RankedRecord):
        return record.completions
    return (record.completion,)

"""Texts with two marked entities, encoded for a classifier of their relation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfalign.applications.knowledge.relations import MARKERS, RelationRecord, mark
from tfalign.data.examples import Examples, Ragged
from tfalign.text import WORD_PIECE_SPECIAL_TOKENS, Tokenizer, train_word_piece
from tfalign.types import Array

_ROLES = ("head", "head_end", "tail", "tail_end")
NUM_KINDS = 4  # of tokens: in neither entity, in the head, in the tail, in both


class MarkedTexts(NamedTuple):
    """Texts with two marked entities, and a class each."""

    token_ids: Array  # int32[B, T]
    padding_mask: Array  # bool[B, T]
    kinds: Array  # int32[B, T], 1 in the head, 2 in the tail, 3 in both, their markers included
    starts: Array  # int32[B, 2], columns of the markers before head and tail
    labels: Array  # int32[B]


@dataclasses.dataclass(frozen=True)
class RelationExamples(Examples):
    """Encoded ``RelationRecord``s.

    Attributes:
        tokens, kinds: Ragged of N, equally long.
        starts: int32[N, 2], places of the markers before head and tail.
        labels: int32[N], places of the relations among the classes; 0 for one that is none of them.
    """

    tokens: Ragged
    kinds: Ragged
    starts: np.ndarray
    labels: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        tokens = (self.tokens.tokens, self.tokens.lengths)
        return (*tokens, self.kinds.tokens, self.starts, self.labels)

    def batch(self, indices: np.ndarray, columns: int) -> MarkedTexts:
        token_ids, mask = self.tokens.padded(indices, columns, self.pad_id)
        kinds, _ = self.kinds.padded(indices, columns, 0)
        return MarkedTexts(token_ids, mask, kinds, self.starts[indices], self.labels[indices])


def train_marked_word_piece(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    """A WordPiece vocabulary with the markers among its special tokens; a Han character is a token of its own."""
    special = WORD_PIECE_SPECIAL_TOKENS | dict(zip(_ROLES, MARKERS))
    return train_word_piece(texts, vocab_size, special)


def encode_relations(
    records: Sequence[RelationRecord],
    tokenizer: Tokenizer,
    classes: Sequence[str],
    max_tokens: int,
) -> RelationExamples:
    """Marked texts as token ids. Of a text that is too long what lies around its entities is kept.

    Args:
        records: sequence of RelationRecord.
        tokenizer: of ``train_marked_word_piece``.
        classes: relations, in the order of the logits.
        max_tokens: int, markers included.

    Raises:
        ValueError: naming a text whose entities are further apart than that.

    >>> tokenizer = train_marked_word_piece(["Ann met Bob"], vocab_size=50)
    >>> examples = encode_relations([RelationRecord("Ann met", (0, 3), (4, 7), "Social")], tokenizer, ["Social"], 9)
    >>> examples.kinds[0].tolist(), examples.starts.tolist()
    ([1, 1, 1, 2, 2, 2], [[0, 3]])
    """
    number = {name: i for i, name in enumerate(classes)}
    rows = [_encoded(record, tokenizer, max_tokens) for record in records]
    return RelationExamples(
        records=tuple(records),
        bad=(),
        pad_id=tokenizer.pad_id,
        tokens=Ragged([ids for ids, _, _ in rows]),
        kinds=Ragged([kinds for _, kinds, _ in rows]),
        starts=np.array([starts for *_, starts in rows], "int32").reshape(-1, 2),
        labels=np.array([number.get(record.relation, 0) for record in records], "int32"),
    )


def _encoded(record, tokenizer, max_tokens):
    """(ids, kinds, equally long; columns of the markers before head and tail)."""
    text, places = mark(record)
    ids, at = tokenizer.encode_written(text, [(first, last) for _, first, last in places])
    begins = {which: first for which, first, _ in places}
    ends = {which: last for which, _, last in places}
    kinds = [
        sum(1 + side for side in (0, 1) if begins[2 * side] <= place < ends[2 * side + 1])
        for place in at
    ]
    inner = [column for column, kind in enumerate(kinds) if kind]
    spare = max_tokens - (inner[-1] + 1 - inner[0])
    if spare < 0:
        raise ValueError(
            f"Two entities and what lies between them fit into {max_tokens} tokens. Received: "
            f"{max_tokens - spare} tokens, {text[:200]!r}"
        )
    first = max(min(inner[0] - spare // 2, len(ids) - max_tokens), 0)
    starts = [at.index(begins[which]) - first for which in (0, 2)]
    return ids[first : first + max_tokens], kinds[first : first + max_tokens], starts

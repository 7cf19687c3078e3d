"""Token ids kept flat, one long array and where each example begins in it; batches of some of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfalign.data.records import BadRecord, summarise
from tfalign.types import LanguageModelBatch, NumberedPrompts, PreferencePairs


class Ragged:
    """Rows of token ids of different lengths.

    Args:
        rows: sequence of sequences of int.

    Attributes:
        tokens: int32[sum of lengths], all rows one after the other.
        starts: int64[N], where each row begins in ``tokens``.
        lengths: int32[N].
    """

    def __init__(self, rows: Sequence[Sequence[int]]) -> None:
        self.lengths = np.fromiter(map(len, rows), np.int32, len(rows))
        ends = np.cumsum(self.lengths, dtype=np.int64)
        self.starts = ends - self.lengths
        self.tokens = np.empty(ends[-1] if len(rows) else 0, np.int32)
        for row, start, end in zip(rows, self.starts, ends):
            self.tokens[start:end] = row

    @classmethod
    def of(cls, tokens: np.ndarray, lengths: np.ndarray) -> Ragged:
        """Rows whose tokens are one array already: int32[sum of lengths], and int32[N]."""
        rows = cls([])
        rows.tokens, rows.lengths = tokens, lengths
        rows.starts = np.cumsum(lengths, dtype=np.int64) - lengths
        return rows

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        """int32[length], one row."""
        return self.tokens[self.starts[index] :][: self.lengths[index]]

    def padded(
        self, indices: np.ndarray, columns: int, pad_id: int, left: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows as a rectangle.

        Args:
            indices: int[B], which rows.
            columns: int, at least the longest of them.
            pad_id: int.
            left: bool, padding in front instead of behind.

        Returns:
            (token_ids int32[B, columns], mask bool[B, columns], true at real tokens).

        Raises:
            ValueError: if a row is longer than ``columns``.

        >>> Ragged([[1, 2, 3], [4]]).padded([1, 0], 3, pad_id=0, left=True)[0].tolist()
        [[0, 0, 4], [1, 2, 3]]
        """
        lengths = self.lengths[indices][:, None]
        if lengths.size and lengths.max() > columns:
            raise ValueError(
                f"A row of {lengths.max()} tokens does not fit. Received: columns={columns}"
            )
        mask, places = self.places(indices, columns, left)
        token_ids = np.full(mask.shape, pad_id, np.int32)
        token_ids[mask] = self.tokens[places]
        return token_ids, mask

    def places(
        self, indices: np.ndarray, columns: int, left: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the tokens of a rectangle stand: (bool[B, columns], true at real tokens; int64[number
        of those], their places in ``tokens``)."""
        lengths = self.lengths[indices][:, None]
        column = np.arange(columns)[None, :] - (columns - lengths if left else 0)
        mask = (column >= 0) & (column < lengths)
        return mask, (self.starts[indices][:, None] + column)[mask]


@dataclasses.dataclass(frozen=True)
class Examples:
    """Encoded records: what ``BatchStream`` makes batches of.

    Attributes:
        records: the N records encoded, in order: a tuple, or DiskRecords.
        bad: tuple of BadRecord, those left out.
        pad_id: int, what stands at padding; the masks, not this id, say where that is.
    """

    records: Sequence[Any]
    bad: tuple[BadRecord, ...]
    pad_id: int

    def __len__(self) -> int:
        return len(self.records)

    def summary(self, shown: int = 3) -> str:
        """str, as ``Records.summary``."""
        return summarise(len(self), self.bad, shown)

    @property
    def weights(self) -> np.ndarray:
        """float64[N], how often each is in an epoch, see ``data.mixed``; what is no ``Record`` is in it once."""
        if hasattr(self.records, "weights"):
            return self.records.weights
        weights = (getattr(record, "weight", 1.0) for record in self.records)
        return np.fromiter(weights, np.float64, len(self.records))

    @property
    def lengths(self) -> np.ndarray:
        """int32[N], the columns each example needs."""
        raise NotImplementedError

    @property
    def token_counts(self) -> np.ndarray:
        """int[N], the real tokens each example adds to a batch."""
        return self.lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """tuple of arrays that hold everything a batch is made of."""
        raise NotImplementedError

    def batch(self, indices: np.ndarray, columns: int) -> tuple:
        """The named tuple of ``tfalign.types`` with the examples int[B] as rows."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class LanguageModelExamples(Examples):
    """Texts, prompts with completions, or conversations.

    Attributes:
        tokens: Ragged.
        is_target: bool[sum of lengths], which of ``tokens.tokens`` are to be predicted; the first of
            an example is not, having nothing before it.
    """

    tokens: Ragged
    is_target: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.tokens.tokens, self.tokens.lengths, self.is_target)

    def batch(self, indices: np.ndarray, columns: int) -> LanguageModelBatch:
        token_ids, mask = self.tokens.padded(indices, columns, self.pad_id)
        loss_mask = np.zeros_like(mask)
        loss_mask[mask] = self.is_target[self.tokens.places(indices, columns)[1]]
        return LanguageModelBatch(token_ids, mask, loss_mask, mask.astype(np.int32))


@dataclasses.dataclass(frozen=True)
class PromptExamples(Examples):
    """Prompts for a policy to answer; ``tokens`` is a Ragged."""

    tokens: Ragged

    @property
    def lengths(self) -> np.ndarray:
        return self.tokens.lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return (self.tokens.tokens, self.tokens.lengths)

    def batch(self, indices: np.ndarray, columns: int) -> NumberedPrompts:
        padded = self.tokens.padded(indices, columns, self.pad_id, left=True)
        return NumberedPrompts(*padded, np.asarray(indices, np.int32))


@dataclasses.dataclass(frozen=True)
class PreferenceExamples(Examples):
    """Prompt and answer, twice.

    Attributes:
        chosen, rejected: Ragged.
        margins: float32[N].
    """

    chosen: Ragged
    rejected: Ragged
    margins: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.maximum(self.chosen.lengths, self.rejected.lengths)

    @property
    def token_counts(self) -> np.ndarray:
        return self.chosen.lengths + self.rejected.lengths

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        chosen, rejected = self.chosen, self.rejected
        return (chosen.tokens, chosen.lengths, rejected.tokens, rejected.lengths, self.margins)

    def batch(self, indices: np.ndarray, columns: int) -> PreferencePairs:
        return PreferencePairs(
            *self.chosen.padded(indices, columns, self.pad_id),
            *self.rejected.padded(indices, columns, self.pad_id),
            self.margins[indices],
        )

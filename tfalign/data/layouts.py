"""Which example stands in which batch, and where: in buckets, packed, or as one running text.

A layout has ``columns``, ``batch_size`` and ``drop_remainder``; ``plan(seed, epoch)`` lists the epoch's
batches, ``batch(planned)`` makes one of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tfalign.data.checks import whole_number
from tfalign.data.examples import Examples, LanguageModelExamples
from tfalign.data.mixed import check_unweighted, epoch_indices
from tfalign.types import LanguageModelBatch


@dataclasses.dataclass(frozen=True)
class _Rows:
    """A batch to be: examples int[B] in rows of so many columns."""

    indices: np.ndarray
    num_tokens: int
    columns: int


class Buckets:
    """Each example in a row of its own.

    Attributes:
        is_weighted: bool, whether examples are in an epoch more or less than once, so that epochs differ in length.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        bucket_lengths: Sequence[int],
        drop_remainder: bool,
    ) -> None:
        lengths = [whole_number("bucket_lengths", length, 1) for length in bucket_lengths]
        if not lengths:
            raise ValueError(
                f"bucket_lengths must be positive. Received: bucket_lengths={bucket_lengths}"
            )
        self.columns = tuple(sorted(set(lengths)))
        self.batch_size = batch_size
        self.drop_remainder = drop_remainder
        self._examples = examples
        self._weights = examples.weights
        self.is_weighted = bool(np.any(self._weights != 1))
        self._token_counts = examples.token_counts
        lengths = examples.lengths
        if len(lengths) and lengths.max() > self.columns[-1]:
            index = int(np.argmax(lengths))
            raise ValueError(
                f"{examples.records[index].source or f'example {index}'} has {lengths[index]} "
                f"tokens, more than every bucket. Received: bucket_lengths={self.columns}"
            )
        self._bucket = np.searchsorted(self.columns, lengths)

    def plan(self, seed: int | None, epoch: int) -> list[_Rows]:
        """list of _Rows, the epoch's batches in order."""
        shuffle = shuffler(seed, epoch)
        order = _shuffled(shuffle, self._weights, epoch)
        if self.drop_remainder:
            order = order[: len(order) - len(order) % self.batch_size]
        # Longest bucket first, so that a batch its bucket cannot fill takes in shorter examples.
        order = order[np.argsort(-self._bucket[order], kind="stable")]
        batches = [
            self._rows(order[start : start + self.batch_size])
            for start in range(0, len(order), self.batch_size)
        ]
        return [batches[index] for index in shuffle(len(batches))]

    def _rows(self, indices):
        columns = self.columns[self._bucket[indices[0]]]
        return _Rows(indices, int(self._token_counts[indices].sum()), columns)

    def batch(self, rows: _Rows) -> tuple:
        return self._examples.batch(rows.indices, rows.columns)


@dataclasses.dataclass(frozen=True)
class _PackedRows:
    """A batch to be: stretches of text and where they go; all arrays int[number of stretches]."""

    indices: np.ndarray
    num_tokens: int
    num_rows: int
    starts: np.ndarray  # in the examples' flat tokens
    lengths: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    segments: np.ndarray  # 1, 2, ... in each row


class Packing:
    """Several texts in a row, and long texts in several rows."""

    def __init__(
        self,
        examples: LanguageModelExamples,
        batch_size: int,
        packed_length: int,
        drop_remainder: bool,
    ) -> None:
        self.columns = (_row_length(examples, "packed_length", packed_length),)
        self.batch_size = batch_size
        self.drop_remainder = drop_remainder
        self._examples = examples
        lengths = examples.lengths.astype(np.int64)
        counts = -(-lengths // packed_length)
        self._weights = examples.weights
        self._counts, self._first = counts, np.cumsum(counts) - counts
        self._owner = np.repeat(np.arange(len(lengths)), counts)
        offsets = packed_length * _count_up(counts)
        self._starts = examples.tokens.starts[self._owner] + offsets
        self._lengths = np.minimum(lengths[self._owner] - offsets, packed_length)

    def plan(self, seed: int | None, epoch: int) -> list[_PackedRows]:
        """list of _PackedRows, the epoch's batches in order."""
        shuffle = shuffler(seed, epoch)
        texts = _shuffled(shuffle, self._weights, epoch)
        counts = self._counts[texts]
        order = np.repeat(self._first[texts], counts) + _count_up(counts)
        fit_rows, columns, segments, num_rows = best_fit(self._lengths[order], self.columns[0])
        place = np.empty(num_rows, np.int64)
        place[shuffle(num_rows)] = np.arange(num_rows)
        rows = place[fit_rows]
        if self.drop_remainder:
            num_rows -= num_rows % self.batch_size
        by_row = np.argsort(rows, kind="stable")
        first_rows = np.arange(0, num_rows, self.batch_size)
        ends = np.minimum(first_rows + self.batch_size, num_rows)
        bounds = np.searchsorted(rows[by_row], [first_rows, ends])
        return [
            self._packed_rows(
                order[chosen], rows[chosen] - first, columns[chosen], segments[chosen]
            )
            for first, chosen in zip(first_rows, (by_row[a:b] for a, b in bounds.T))
        ]

    def _packed_rows(self, pieces, rows, columns, segments):
        return _PackedRows(
            indices=np.unique(self._owner[pieces]),
            num_tokens=int(self._lengths[pieces].sum()),
            num_rows=int(rows[-1]) + 1,
            starts=self._starts[pieces],
            lengths=self._lengths[pieces],
            rows=rows,
            columns=columns,
            segments=segments,
        )

    def batch(self, packed: _PackedRows) -> LanguageModelBatch:
        width = self.columns[0]
        within = _count_up(packed.lengths)

        def spread(values):
            return np.repeat(values, packed.lengths)

        source = spread(packed.starts) + within
        target = spread(packed.rows * width + packed.columns) + within
        shape = (packed.num_rows, width)
        token_ids = np.full(shape, self._examples.pad_id, np.int32)
        segment_ids = np.zeros(shape, np.int32)
        loss_mask = np.zeros(shape, bool)
        token_ids.flat[target] = self._examples.tokens.tokens[source]
        segment_ids.flat[target] = spread(packed.segments)
        # what begins a stretch has nothing before it to be predicted from
        loss_mask.flat[target] = self._examples.is_target[source] & (within > 0)
        return LanguageModelBatch(token_ids, segment_ids > 0, loss_mask, segment_ids)


@dataclasses.dataclass(frozen=True)
class _WindowRows:
    """A batch to be: int64[B, T], where in the examples' flat tokens its own stand."""

    indices: np.ndarray
    num_tokens: int
    places: np.ndarray


class Windows:
    """All texts one after the other, cut into rows that share their ends."""

    def __init__(
        self,
        examples: LanguageModelExamples,
        batch_size: int,
        window_length: int,
        drop_remainder: bool,
    ) -> None:
        self.columns = (_row_length(examples, "window_length", window_length),)
        check_unweighted(examples.weights, "A running text")
        self.batch_size = batch_size
        self.drop_remainder = drop_remainder
        self._examples = examples

    def plan(self, seed: int | None, epoch: int) -> list[_WindowRows]:
        """list of _WindowRows, the epoch's batches in order."""
        shuffle, (width,) = shuffler(seed, epoch), self.columns
        first = shuffle(width - 1)[0]
        starts = np.arange(first, len(self._examples.tokens.tokens) - width + 1, width - 1)
        starts = starts[shuffle(len(starts))]
        if self.drop_remainder:
            starts = starts[: len(starts) - len(starts) % self.batch_size]
        return [
            self._window_rows(starts[row : row + self.batch_size])
            for row in range(0, len(starts), self.batch_size)
        ]

    def _window_rows(self, starts):
        (width,) = self.columns
        places = starts[:, None] + np.arange(width)
        owners = np.searchsorted(self._examples.tokens.starts, places, side="right") - 1
        return _WindowRows(np.unique(owners), places.size, places)

    def batch(self, window_rows: _WindowRows) -> LanguageModelBatch:
        loss_mask = self._examples.is_target[window_rows.places]
        loss_mask[:, 0] = False
        everywhere = np.ones(loss_mask.shape, bool)
        token_ids = self._examples.tokens.tokens[window_rows.places]
        return LanguageModelBatch(token_ids, everywhere, loss_mask, everywhere.astype(np.int32))


def _row_length(examples, name, length):
    """The columns of rows that texts are cut into, checked."""
    if not isinstance(examples, LanguageModelExamples):
        raise ValueError(
            "Only texts and completions can be cut into rows. "
            f"Received: {type(examples).__name__} with {name}={length}"
        )
    return whole_number(name, length, least=2)


def best_fit(lengths: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Puts stretches, in order, each into the open row where it leaves the least room.

    Args:
        lengths: int[N], each in [1, width].
        width: int.

    Returns:
        (rows int64[N], columns int64[N], segments int32[N], number of rows).
    """
    rows = np.empty(len(lengths), np.int64)
    columns = np.empty(len(lengths), np.int64)
    segments = np.empty(len(lengths), np.int32)
    with_room = [[] for _ in range(width + 1)]  # open rows by their free columns
    some_room = 0  # bit c is set where with_room[c] has a row
    occupants = []
    for index, length in enumerate(lengths.tolist()):
        fitting = some_room >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                some_room ^= 1 << room
        else:
            room, row = width, len(occupants)
            occupants.append(0)
        occupants[row] += 1
        rows[index], columns[index], segments[index] = row, width - room, occupants[row]
        left = room - length
        if left:
            with_room[left].append(row)
            some_room |= 1 << left
    return rows, columns, segments, len(occupants)


def _shuffled(shuffle, weights, epoch):
    """The examples of an epoch in its order: all of them once or, weighted, as often as they are in it."""
    if np.all(weights == 1):
        return shuffle(len(weights))
    examples = epoch_indices(weights, epoch)
    return examples[shuffle(len(examples))]


def _count_up(counts):
    """0 .. n-1 for each n of ``counts``, one after the other.

    >>> _count_up(np.array([2, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(counts) else 0
    return np.arange(total) - np.repeat(ends - counts, counts)


def shuffler(seed: int | None, epoch: int) -> Callable[[int], np.ndarray]:
    """Function of n that returns a permutation int[n], another at each call; None: the identity.

    Only Philox' raw bits and a stable sort are used, which NumPy keeps the same for ever (NEP 19);
    ``Generator.permutation`` may change between its versions.
    """
    if seed is None:
        return np.arange
    bits = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    return lambda count: np.argsort(bits.random_raw(count), kind="stable")

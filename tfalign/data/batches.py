"""Encoded examples to a stream of batches with static shapes, which can stop and go on.

Everything about an epoch (which example is in which batch, and where) follows from the examples,
the settings, the seed and the epoch's number. Where a stream stands is therefore two counters.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import zlib

import numpy as np

from tfalign.data.examples import LanguageModelExamples
from tfalign.types import LanguageModelBatch, PreferencePairs, Prompts


class BatchStream:
    """An iterator over batches: named tuples of NumPy arrays.

    With ``bucket_lengths`` an example goes into the shortest bucket that holds it; where a bucket
    does not come out even, its last batch takes in shorter examples. With ``packed_length`` texts
    share rows: in the epoch's order, each where it leaves the least room, a text longer than a row
    cut into rows; ``segment_ids`` keep one from seeing the other. With ``window_length`` all texts are
    one running text; an epoch cuts it into rows at other places than the last one did, each beginning
    with its neighbour's last token, and leaves out what fills no row at either end.

    With ``drop_remainder`` an epoch leaves out fewer than ``batch_size`` examples (or packed rows),
    chosen anew each time; without, one batch of an epoch may have fewer rows.

    Args:
        examples: what one of the functions ``encode_...`` returned.
        batch_size: int, rows of a batch.
        bucket_lengths: ints, the columns a batch may have.
        packed_length: int, the columns of packed rows; instead of buckets, for texts and
            completions.
        window_length: int, the columns of a running text's rows; instead of either.
        seed: int in [0, 2**64), shuffles each epoch anew; None keeps the examples' order within
            a bucket, the longest bucket first.
        epochs: int, how often to go through the examples; None for ever.
        drop_remainder: bool.

    Raises:
        ValueError: on contradictory settings, an example longer than every bucket, or too few
            examples for one batch.

    Attributes:
        num_tokens: int, real tokens in the batch that ``next`` returned last.
        indices: int[n], the examples in the batch that ``next`` returned last, row by row;
            packed or running, those that have a part in it, in ascending order.
    """

    def __init__(
        self,
        examples,
        batch_size,
        bucket_lengths=None,
        packed_length=None,
        window_length=None,
        seed=None,
        epochs=None,
        drop_remainder=True,
    ):
        if [bucket_lengths, packed_length, window_length].count(None) != 2:
            raise ValueError(
                "Exactly one of bucket_lengths, packed_length and window_length must be given. "
                f"Received: bucket_lengths={bucket_lengths}, packed_length={packed_length}, "
                f"window_length={window_length}"
            )
        if bucket_lengths is not None:
            layout = _Buckets(examples, batch_size, bucket_lengths, drop_remainder)
        elif packed_length is not None:
            layout = _Packing(examples, batch_size, packed_length, drop_remainder)
        else:
            layout = _Windows(examples, batch_size, window_length, drop_remainder)
        self._begin(examples, layout, seed, epochs)

    def _begin(self, examples, layout, seed, epochs):
        if layout.batch_size < 1:
            raise ValueError(
                f"batch_size must be positive. Received: batch_size={layout.batch_size}"
            )
        if seed is not None and not 0 <= seed < 2**64:
            raise ValueError(f"seed must be in [0, 2**64). Received: seed={seed}")
        self._layout = layout
        self._seed = seed
        self._epochs = epochs
        self._fingerprint = _fingerprint(examples, self._layout, seed)
        self.num_tokens = 0
        self.indices = np.zeros(0, np.int64)
        self._go_to(0, 0)
        if not self._steps():
            raise ValueError(
                f"{len(examples)} examples do not fill a batch. "
                f"Received: batch_size={layout.batch_size}"
            )

    @property
    def num_batches(self):
        """int, batches of the current epoch; packing makes it differ a little between epochs."""
        return len(self._steps())

    def __iter__(self):
        return self

    def __next__(self):
        if self._exhausted():
            raise StopIteration
        while self._position == len(self._steps()):
            self._go_to(self._epoch + 1, 0)
        step = self._steps()[self._position]
        self._position += 1
        self.num_tokens = step.num_tokens
        self.indices = step.indices
        return self._layout.batch(step)

    def state(self):
        """Where the stream stands, as JSON can hold it.

        Returns:
            dict: "epoch", "batch" (how many batches of that epoch were returned) and "fingerprint"
            of the examples and settings.
        """
        return {"epoch": self._epoch, "batch": self._position, "fingerprint": self._fingerprint}

    def restore(self, state):
        """Goes to where ``state`` was taken; the next batch is the one that followed it.

        Raises:
            ValueError: if the state is of other examples or settings.
        """
        if state["fingerprint"] != self._fingerprint:
            raise ValueError(
                "The examples or the batch settings are not those of the stream to be continued "
                f"(fingerprint {self._fingerprint}). Received: fingerprint={state['fingerprint']}"
            )
        self._go_to(state["epoch"], state["batch"])

    def as_tf_dataset(self, arrange=None):
        """The same batches as a ``tf.data.Dataset``, for instance for ``model.fit``.

        A pass over the dataset is an epoch of the stream, the next pass the next epoch, however
        many passes are made. The first begins where the stream stands, which stays there. Rows are
        static with ``drop_remainder``, columns unless there are several buckets.

        Args:
            arrange: function of a batch that returns what the dataset shall hold, such as
                ``next_token_targets``; by default the named tuple itself.

        Returns:
            tf.data.Dataset.
        """
        import tensorflow as tf  # seconds to import, and a stream does without

        arrange = arrange or _unchanged
        start = copy.copy(self)
        start._epochs = None
        passes = itertools.count()

        def batches_of_a_pass():
            stream = copy.copy(start)
            if stream._position == stream.num_batches:
                stream._go_to(stream._epoch + 1, 0)
            number = next(passes)
            if number:
                stream._go_to(stream._epoch + number, 0)
            for _ in range(stream._position, stream.num_batches):
                yield arrange(next(stream))

        def spec(array):
            shape = list(array.shape)
            shape[0] = shape[0] if self._layout.drop_remainder else None
            if len(shape) > 1 and len(self._layout.columns) > 1:
                shape[1] = None
            return tf.TensorSpec(shape, array.dtype)

        example = arrange(next(copy.copy(start)))
        signature = tf.nest.map_structure(spec, example)
        dataset = tf.data.Dataset.from_generator(batches_of_a_pass, output_signature=signature)
        if isinstance(self._layout, _Buckets) and start._position in (0, start.num_batches):
            # All passes are as long: ``fit`` can then show how much is left.
            dataset = dataset.apply(tf.data.experimental.assert_cardinality(start.num_batches))
        return dataset

    def _exhausted(self):
        if self._epochs is None or self._epoch < self._epochs - 1:
            return False
        return self._epoch >= self._epochs or self._position == len(self._steps())

    def _go_to(self, epoch, position):
        self._epoch = epoch
        self._position = position
        self._plan = None

    def _steps(self):
        if self._plan is None:
            self._plan = self._layout.plan(self._seed, self._epoch)
        return self._plan


def next_token_targets(batch):
    """A language-model batch as Keras' ``fit`` wants it: (inputs, targets, sample weights).

    Args:
        batch: LanguageModelBatch of NumPy arrays.

    Returns:
        (dict of token_ids int32[B, T], padding_mask bool[B, T] and segment_ids int32[B, T];
        int32[B, T], the token after each; float32[B, T], 1 where that one is a target). The last
        column has no next token and weighs 0.
    """
    targets = np.zeros_like(batch.token_ids)
    targets[:, :-1] = batch.token_ids[:, 1:]
    weights = np.zeros(batch.loss_mask.shape, np.float32)
    weights[:, :-1] = batch.loss_mask[:, 1:]
    inputs = {
        "token_ids": batch.token_ids,
        "padding_mask": batch.padding_mask,
        "segment_ids": batch.segment_ids,
    }
    return inputs, targets, weights


def count_tokens(batch):
    """int, the real tokens in a batch of any kind, prompt and answer."""
    if isinstance(batch, PreferencePairs):
        return int(np.count_nonzero(batch.chosen_mask) + np.count_nonzero(batch.rejected_mask))
    mask = batch.mask if isinstance(batch, Prompts) else batch.padding_mask
    return int(np.count_nonzero(mask))


@dataclasses.dataclass(frozen=True)
class _Rows:
    """A batch to be: examples int[B] in rows of so many columns."""

    indices: np.ndarray
    num_tokens: int
    columns: int


class _Buckets:
    """Each example in a row of its own."""

    def __init__(self, examples, batch_size, bucket_lengths, drop_remainder):
        self.columns = tuple(sorted({int(length) for length in bucket_lengths}))
        if not self.columns or self.columns[0] < 1:
            raise ValueError(
                f"bucket_lengths must be positive. Received: bucket_lengths={bucket_lengths}"
            )
        self.batch_size = batch_size
        self.drop_remainder = drop_remainder
        self._examples = examples
        self._token_counts = examples.token_counts
        lengths = examples.lengths
        if len(lengths) and lengths.max() > self.columns[-1]:
            index = int(np.argmax(lengths))
            raise ValueError(
                f"{examples.records[index].source or f'example {index}'} has {lengths[index]} "
                f"tokens, more than every bucket. Received: bucket_lengths={self.columns}"
            )
        self._bucket = np.searchsorted(self.columns, lengths)

    def plan(self, seed, epoch):
        """list of _Rows, the epoch's batches in order."""
        shuffle = _shuffler(seed, epoch)
        order = shuffle(len(self._examples))
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

    def batch(self, rows):
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


class _Packing:
    """Several texts in a row, and long texts in several rows."""

    def __init__(self, examples, batch_size, packed_length, drop_remainder):
        self.columns = (_row_length(examples, "packed_length", packed_length),)
        self.batch_size = batch_size
        self.drop_remainder = drop_remainder
        self._examples = examples
        lengths = examples.lengths.astype(np.int64)
        counts = -(-lengths // packed_length)
        self._owner = np.repeat(np.arange(len(lengths)), counts)
        offsets = packed_length * _count_up(counts)
        self._starts = examples.tokens.starts[self._owner] + offsets
        self._lengths = np.minimum(lengths[self._owner] - offsets, packed_length)

    def plan(self, seed, epoch):
        """list of _PackedRows, the epoch's batches in order."""
        shuffle = _shuffler(seed, epoch)
        rank = np.empty(len(self._examples), np.int64)
        rank[shuffle(len(rank))] = np.arange(len(rank))
        order = np.argsort(rank[self._owner], kind="stable")
        fit_rows, columns, segments, num_rows = _best_fit(self._lengths[order], self.columns[0])
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

    def batch(self, packed):
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


class _Windows:
    """All texts one after the other, cut into rows that share their ends."""

    def __init__(self, examples, batch_size, window_length, drop_remainder):
        self.columns = (_row_length(examples, "window_length", window_length),)
        self.batch_size = batch_size
        self.drop_remainder = drop_remainder
        self._examples = examples

    def plan(self, seed, epoch):
        """list of _WindowRows, the epoch's batches in order."""
        shuffle, (width,) = _shuffler(seed, epoch), self.columns
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

    def batch(self, window_rows):
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
    if length < 2:
        raise ValueError(f"{name} must be at least 2. Received: {name}={length}")
    return int(length)


def _best_fit(lengths, width):
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


def _count_up(counts):
    """0 .. n-1 for each n of ``counts``, one after the other.

    >>> _count_up(np.array([2, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(counts) else 0
    return np.arange(total) - np.repeat(ends - counts, counts)


def _shuffler(seed, epoch):
    """Function of n that returns a permutation int[n], another at each call; None: the identity.

    Only Philox' raw bits and a stable sort are used, which NumPy keeps the same for ever (NEP 19);
    ``Generator.permutation`` may change between its versions.
    """
    if seed is None:
        return np.arange
    bits = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    return lambda count: np.argsort(bits.random_raw(count), kind="stable")


def _fingerprint(examples, layout, seed):
    settings = (
        type(examples).__name__,
        type(layout).__name__,
        layout.columns,
        layout.batch_size,
        layout.drop_remainder,
        seed,
    )
    value = zlib.crc32(repr(settings).encode())
    for array in examples.arrays:
        value = zlib.crc32(np.ascontiguousarray(array), value)
    return value


def _unchanged(batch):
    return batch

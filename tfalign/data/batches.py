"""Encoded examples to a stream of batches with static shapes, which can stop and go on.

Everything about an epoch (which example is in which batch, and where) follows from the examples,
the settings, the seed and the epoch's number. Where a stream stands is therefore two counters.
"""

from __future__ import annotations

import copy
import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfalign.data.checks import whole_number
from tfalign.data.examples import Examples
from tfalign.data.layouts import Buckets, Packing, Windows
from tfalign.installed import needing_tensorflow
from tfalign.types import LanguageModelBatch, PreferencePairs, Prompts

if TYPE_CHECKING:
    import tensorflow as tf


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
        examples: Examples,
        batch_size: int,
        bucket_lengths: Sequence[int] | None = None,
        packed_length: int | None = None,
        window_length: int | None = None,
        seed: int | None = None,
        epochs: int | None = None,
        drop_remainder: bool = True,
    ) -> None:
        if [bucket_lengths, packed_length, window_length].count(None) != 2:
            raise ValueError(
                "Exactly one of bucket_lengths, packed_length and window_length must be given. "
                f"Received: bucket_lengths={bucket_lengths}, packed_length={packed_length}, "
                f"window_length={window_length}"
            )
        if bucket_lengths is not None:
            layout = Buckets(examples, batch_size, bucket_lengths, drop_remainder)
        elif packed_length is not None:
            layout = Packing(examples, batch_size, packed_length, drop_remainder)
        else:
            layout = Windows(examples, batch_size, window_length, drop_remainder)
        self._begin(examples, layout, seed, epochs)

    def _begin(self, examples, layout, seed, epochs):
        whole_number("batch_size", layout.batch_size, least=1)
        if seed is not None:
            whole_number("seed", seed, least=0, most=2**64 - 1)
        if epochs is not None:
            whole_number("epochs", epochs, least=0)
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
    def num_batches(self) -> int:
        """int, batches of the current epoch; packing makes it differ a little between epochs."""
        return len(self._steps())

    def __iter__(self) -> BatchStream:
        return self

    def __next__(self) -> tuple:
        if self._exhausted():
            raise StopIteration
        while self._position == len(self._steps()):
            self._go_to(self._epoch + 1, 0)
        step = self._steps()[self._position]
        self._position += 1
        self.num_tokens = step.num_tokens
        self.indices = step.indices
        return self._layout.batch(step)

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as JSON can hold it.

        Returns:
            dict: "epoch", "batch" (how many batches of that epoch were returned) and "fingerprint"
            of the examples and settings.
        """
        return {"epoch": self._epoch, "batch": self._position, "fingerprint": self._fingerprint}

    def restore(self, state: Mapping[str, Any]) -> None:
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

    def as_tf_dataset(self, arrange: Callable[[Any], Any] | None = None) -> tf.data.Dataset:
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
        with needing_tensorflow("A tf.data.Dataset"):
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
        is_even = isinstance(self._layout, Buckets) and not self._layout.is_weighted
        if is_even and start._position in (0, start.num_batches):
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


def next_token_targets(
    batch: LanguageModelBatch,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
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


def count_tokens(batch: Any) -> int:
    """int, the real tokens in a batch of any kind, prompt and answer."""
    if isinstance(batch, PreferencePairs):
        return int(np.count_nonzero(batch.chosen_mask) + np.count_nonzero(batch.rejected_mask))
    mask = batch.mask if isinstance(batch, Prompts) else batch.padding_mask
    return int(np.count_nonzero(mask))


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
    weights = examples.weights
    for array in (*examples.arrays, *([weights] if np.any(weights != 1) else [])):
        value = zlib.crc32(np.ascontiguousarray(array), value)
    return value


def _unchanged(batch):
    return batch

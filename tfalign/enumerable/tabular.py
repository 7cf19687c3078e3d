"""Policies and critics without a network: a number for every prefix, with the interface of a CausalLM."""

from __future__ import annotations

import types
from typing import Any

import keras
import numpy as np
from keras import ops

from tfalign.types import Array


class TabularLM(keras.Model):
    """A language model that is a table of next-token logits, one row per prefix.

    >>> policy = TabularLM(np.zeros((1, 4)))  # one token, each of four as likely
    >>> policy(np.array([[0]])).shape[-1]
    4

    Args:
        logits: float32[number of prefixes, V].
    """

    def __init__(self, logits: Array) -> None:
        super().__init__()
        self.backbone = PrefixTable(np.asarray(logits, "float32"))
        width = self.backbone.width
        self.config = types.SimpleNamespace(width=width, vocab_size=width, max_positions=2**30)
        self.built = True

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        last: int | None = None,
        training: bool | None = None,
    ) -> Array:
        return self.logits(self.backbone(token_ids, padding_mask=padding_mask, last=last))

    def logits(self, hidden: Array, kernel: Array | None = None) -> Array:
        del kernel
        return hidden

    def readout_kernel(self) -> None:
        """None: the hidden states are the logits already."""
        return None


class TabularCritic(keras.Model):
    """A critic that is a table of values, one per prefix, initially 0.

    Args:
        num_prefixes: int.
        vocab_size: int, V.
    """

    def __init__(self, num_prefixes: int, vocab_size: int) -> None:
        super().__init__()
        self.backbone = PrefixTable(np.zeros((num_prefixes, 1), "float32"), vocab_size)
        self.built = True

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        last: int | None = None,
        training: bool | None = None,
    ) -> Array:
        return self.backbone(token_ids, padding_mask=padding_mask, last=last)[..., 0]


class PrefixTable(keras.layers.Layer):
    """Looks up the row of every prefix; the cache of the decode loop is the numbers of the prefixes so far."""

    def __init__(self, table: np.ndarray, vocab_size: int | None = None) -> None:
        super().__init__()
        self.width = table.shape[1]
        self.vocab_size = vocab_size or self.width
        self.table = self.add_weight(
            name="table", shape=table.shape, initializer=keras.initializers.Constant(table)
        )
        self.built = True

    def call(
        self,
        token_ids: Array,
        padding_mask: Array | None = None,
        last: int | None = None,
        training: bool | None = None,
        segment_ids: Array | None = None,
    ) -> Array:
        """Rows float32[B, N, width] of the prefixes that end at each position; position 0 is the prompt, and a row has
        one text, whatever ``segment_ids`` say."""
        token_ids = ops.cast(token_ids, "int32")
        number = ops.zeros_like(token_ids[:, 0])
        numbers = [number]
        for column in range(1, token_ids.shape[1]):
            number = self._longer(number, token_ids[:, column])
            numbers.append(number)
        wanted = numbers if last is None else numbers[-last:]
        return ops.take(self.table, ops.stack(wanted, axis=1), axis=0)

    def new_cache(self, rows: int, columns: int) -> Array:
        """int32[rows, columns], of each column the number of the prefix that ends there."""
        return ops.zeros((rows, columns), "int32")

    def extend(
        self, token_ids: Array, cache: Array, column: Array, visible: Array, positions: Array
    ) -> tuple[Array, Any]:
        """As ``GPT.extend``: rows float32[B, N, width] of the prefixes that end at N more columns, and the cache."""
        columns = ops.arange(cache.shape[1], dtype="int32")
        numbers = []
        for index in range(token_ids.shape[1]):
            here = ops.reshape(column, (-1, 1)) + index
            before = ops.sum(ops.where(columns == here - 1, cache, 0), axis=1)
            longer = self._longer(before, token_ids[:, index])
            numbers.append(ops.where(positions[:, index] == 0, 0, longer))
            cache = ops.where(columns == here, numbers[-1][:, None], cache)
        return ops.take(self.table, ops.stack(numbers, axis=1), axis=0), cache

    def _longer(self, number, tokens):
        """Number of a prefix with one more token; that of a complete response is clipped and not used."""
        return ops.minimum(self.vocab_size * number + tokens + 1, self.table.shape[0] - 1)

"""What is added to the logits of each row of an engine: what its request says, its penalties of tokens that it has drawn, and
where its grammar forbids a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from keras import ops

from tfalign.decoding.samplers import EXCLUDED
from tfalign.serving.grammar import Grammar, Walk
from tfalign.types import Array


class Penalties(NamedTuple):
    """What is subtracted from the logit of a token that the response has already, as OpenAI has it: the first number once, the
    second as often as it has been drawn."""

    presence: float = 0.0
    frequency: float = 0.0


class RowBiases:
    """float32[B, V] on the device, sent anew only when a line has changed: not while no row has a bias, a penalty or a grammar.

    Args:
        rows: int, B.
        vocab_size: int, V.

    >>> biases = RowBiases(rows=2, vocab_size=3)
    >>> biases.begin(1, {2: -100.0}, None, 5)
    >>> np.asarray(biases.values()).tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, -100.0]]
    """

    def __init__(self, rows: int, vocab_size: int) -> None:
        self._lines = np.zeros((rows, vocab_size), "float32")
        self._own: dict[int, np.ndarray] = {}
        self._penalties: dict[int, Penalties] = {}
        self._drawn: dict[int, set[int]] = {}  # of rows with penalties
        self._walks: dict[int, Walk] = {}
        self._on_device = ops.convert_to_tensor(self._lines)
        self._has_changed = False

    def begin(
        self,
        row: int,
        logit_bias: Mapping[int, float],
        grammar: Grammar | None,
        max_new_tokens: int,
        penalties: Penalties = Penalties(),  # noqa: B008
    ) -> None:
        """A request takes the row.

        Args:
            row: int.
            logit_bias: what is added, by the token.
            grammar: what the response may be; None for anything.
            max_new_tokens: int, the response's.
            penalties: Penalties.
        """
        if not logit_bias and grammar is None and not any(penalties):
            return
        self._lines[row, list(logit_bias)] = list(logit_bias.values())
        self._own[row] = self._lines[row].copy()
        self._has_changed = True
        if any(penalties):
            self._penalties[row] = penalties
        if grammar is not None:
            self._walks[row] = Walk(grammar, max_new_tokens)
            self._restrict(row)

    def follow(self, row: int, token: int) -> None:
        """A token was drawn in the row, and another is to come."""
        if row in self._penalties:
            self._penalise(row, token)
        if row in self._walks:
            self._walks[row].follow(token)
            self._restrict(row)

    def end(self, row: int) -> None:
        """The row is at rest."""
        if row in self._own:
            del self._own[row]
            self._walks.pop(row, None)
            self._penalties.pop(row, None)
            self._drawn.pop(row, None)
            self._lines[row] = 0.0
            self._has_changed = True

    def values(self) -> Array:
        """float32[B, V], a tensor on the device."""
        if self._has_changed:
            self._on_device = ops.convert_to_tensor(self._lines)
            self._has_changed = False
        return self._on_device

    def _penalise(self, row, token):
        presence, frequency = self._penalties[row]
        drawn = self._drawn.setdefault(row, set())
        self._own[row][token] -= frequency if token in drawn else frequency + presence
        drawn.add(token)
        self._lines[row, token] = self._own[row][token]
        self._has_changed = True

    def _restrict(self, row):
        self._lines[row] = np.where(self._walks[row].allowed(), self._own[row], EXCLUDED)
        self._has_changed = True

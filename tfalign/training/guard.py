"""Guard against numbers that are not finite: an update that has one is skipped."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence

import keras
from keras import ops

from tfalign import backend
from tfalign.types import Array

_COUNTS = "skipped_updates"
# Optimizers keep means of squared gradients: above this norm they are no float32.
_LARGEST_SQUARED = 2.0**63
# Keras' clipping squares gradients too; it is handed those of a larger norm brought down to this one.
_CLIPPABLE = 2.0**60


class NotFiniteError(ValueError):
    """Too many updates in a row were not finite."""


class Guard:
    """Skips updates whose loss or gradient is not finite, within the program that computes them.

    After a skipped update the weights, all the optimizer keeps (its count of iterations, on which the
    learning rate depends, included) and the seeds of dropout have the bits they had before it: training
    goes on as if the batch had not been there. How many were skipped, in all and in a row, is kept with
    the optimizer's variables, and so in checkpoints.

    Args:
        model: keras.Model.
        optimizer: keras optimizer, built.
        max_skipped: int > 0, updates skipped in a row that end the training.

    Raises:
        ValueError: if ``max_skipped`` is not positive.
    """

    def __init__(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, max_skipped: int
    ) -> None:
        if max_skipped < 1:
            raise ValueError(f"max_skipped must be at least 1. Received: max_skipped={max_skipped}")
        self.max_skipped = max_skipped
        self._clips = bool(optimizer.global_clipnorm)
        self.counts = _counts_of(optimizer)
        # What a forward pass changes: seeds, moving means. Matrices that are not trained are frozen.
        self.forward_state = [v for v in model.variables if not v.trainable and len(v.shape) < 2]
        self._pending = collections.deque()
        self._in_doubt = False

    def allows(self, scalars: Mapping[str, Array]) -> Array:
        """bool[], whether an update of these scalars is to be made."""
        norm = scalars["gradient_norm"]
        fits = ops.isfinite(norm) if self._clips else norm < _LARGEST_SQUARED
        return ops.logical_and(ops.isfinite(scalars["loss"]), fits)

    def clippable(self, gradients: Sequence[Array], norm: Array) -> Sequence[Array]:
        """Gradients that Keras can clip to a global norm: those whose squares overflow are brought down
        to a norm whose square does not, which the result of the clipping does not depend on."""
        if not self._clips:
            return gradients
        is_large = norm > _CLIPPABLE
        factor = _CLIPPABLE / norm
        return [ops.where(is_large, ops.cast(factor, g.dtype) * g, g) for g in gradients]

    def count(self, allowed: Array) -> Array:
        """Counts an update; returns int[2], how many were skipped: in all, and in a row."""
        counts = backend.read(self.counts)
        skipped = ops.cast(ops.logical_not(allowed), counts.dtype)
        in_all, in_a_row = counts[0] + skipped, (counts[1] + skipped) * skipped
        return ops.stack([in_all, in_a_row])

    def watch(self, scalars: Mapping[str, Array], counts: Array) -> None:
        """Raises once too many updates in a row were skipped.

        Waiting for an update before the next one is dispatched would leave an accelerator idle, so this
        looks at an update two later, unless the last one it looked at was skipped.

        Args:
            scalars: what the update reports.
            counts: int[2], see ``count``.

        Raises:
            NotFiniteError: saying how many there were and what was not finite.
        """
        if not backend.has_value(counts):  # part of a larger program
            return
        self._pending.append((scalars, counts))
        while len(self._pending) > self._lag():
            scalars, counts = self._pending.popleft()
            in_a_row = int(counts[1])
            self._in_doubt = in_a_row > 0
            if in_a_row >= self.max_skipped:
                raise NotFiniteError(_complaint(in_a_row, scalars))

    def _lag(self):
        return 0 if self._in_doubt else min(2, self.max_skipped - 1)


def _counts_of(optimizer):
    """The variable int[2] of an optimizer that counts skipped updates; made at first."""
    for variable in optimizer.variables:
        if variable.name == _COUNTS:
            return variable
    return optimizer.add_variable(
        shape=(2,), dtype="int", aggregation="only_first_replica", name=_COUNTS
    )


def _complaint(in_a_row, scalars):
    loss, norm = float(scalars["loss"]), float(scalars["gradient_norm"])
    what = "the loss" if not math.isfinite(loss) else "the norm of the gradient"
    updates = "1 update was" if in_a_row == 1 else f"{in_a_row} updates in a row were"
    return (
        f"{updates} skipped because {what} was not finite or too large to be squared; the weights are "
        f"those before. Received: loss={loss:g}, gradient_norm={norm:g}"
    )

"""The Learner's update under ``tf.distribute``: XLA within each replica, sums across them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfalign import backend
from tfalign.backend.tensorflow_devices import share_rows
from tfalign.training.guard import Guard
from tfalign.types import Array


class ReplicatedUpdate:
    """One update on all replicas, equal to that of one device on the whole batch.

    Keras' own ``fit(jit_compile=True)`` compiles around ``strategy.run`` and fails; compiling each
    replica's forward and backward pass, and reducing and applying outside, works.

    Args:
        strategy: tf.distribute.Strategy.
        model: keras.Model made under the strategy's scope.
        optimizer: keras optimizer made under it, built.
        guard: guard.Guard, which says what update is not made.
        sums: ``batch -> (loss, weight, metrics, gradients)``, all sums over the batch.
        summary: ``(loss, weight, metrics, mean gradients) -> dict``, what an update reports.
        weights: ``batch -> sums``, of which those of all replicas are the second argument of ``sums``; None for
            none.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        guard: Guard,
        sums: Callable,
        summary: Callable,
        weights: Callable | None = None,
    ) -> None:
        self.strategy = strategy
        self.model = model
        self.optimizer = optimizer
        self.guard = guard
        self._summary = summary
        self._sums = backend.jit(sums, model.variables)
        self._weights = None if weights is None else backend.jit(weights, model.variables)
        self._run = tf.function(self._distributed, autograph=False)

    @property
    def traces(self) -> int:
        return self._sums.traces

    def __call__(self, batch: Any) -> dict[str, Array]:
        return self._run(share_rows(self.strategy, batch))

    def _distributed(self, batch):
        told, allowed, gradients = self.strategy.run(self._replica_gradients, args=(batch,))
        told, allowed = tf.nest.map_structure(
            lambda x: self.strategy.experimental_local_results(x)[0], (told, allowed)
        )

        def apply():
            self.strategy.run(self._replica_apply, args=(gradients,))
            return True

        # All replicas have the same sums, so this is one decision; it needs no second copy of anything.
        tf.cond(allowed, apply, lambda: False)
        return told

    def _replica_gradients(self, batch):
        """(what an update reports, whether it is to be made, gradients for the optimizer)."""
        context = tf.distribute.get_replica_context()
        state = self.guard.forward_state
        before = [backend.read(variable) for variable in state]
        given = [batch]
        if self._weights is not None:
            given.append(context.all_reduce(tf.distribute.ReduceOp.SUM, self._weights(batch)))
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, self._sums(*given))
        loss, weight, metrics, gradients = sums
        gradients = [gradient / tf.maximum(weight, 1e-8) for gradient in gradients]
        scalars = self._summary(loss, weight, metrics, gradients)
        allowed = self.guard.allows(scalars)
        for variable, old in zip(state, before):
            variable.assign(tf.where(allowed, variable.value, old))
        skipped = self.guard.count(allowed)
        self.guard.counts.assign(skipped)
        scalars["skipped_updates"] = tf.cast(skipped[0], tf.float32)
        scalars["learning_rate"] = tf.cast(self.optimizer.learning_rate, tf.float32)
        gradients = self.guard.clippable(gradients, scalars["gradient_norm"])
        # Keras clips on each replica and adds up what comes out. Clipping must see the whole
        # gradient, so the first replica hands that in and the others add zeros to it.
        is_first = tf.equal(context.replica_id_in_sync_group, 0)
        handed_in = [tf.where(is_first, g, tf.zeros_like(g)) for g in gradients]
        return (scalars, skipped), allowed, handed_in

    def _replica_apply(self, gradients):
        self.optimizer.apply(gradients, self.model.trainable_variables)

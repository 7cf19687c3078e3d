"""The Learner: forward pass, backward pass and optimizer of any objective as one compiled update."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops, tree

from tfalign import backend
from tfalign.functional.magnitude import global_norm
from tfalign.layers import has_experts
from tfalign.layers.routing import collected, total
from tfalign.training.guard import Guard
from tfalign.training.stacked_update import StackedUpdate
from tfalign.types import Array


class Learner:
    """Runs an objective on batches, one XLA program per batch shape.

    Gradients are those of the global mean: sums of losses and of weights are added up over
    micro-batches (and replicas) before one is divided by the other, so accumulation, replicas and
    ragged lengths change nothing but rounding. To the loss of a model with mixtures of experts their load-balancing
    loss is added, in mean over tokens and layers, whatever the objective. Clipping, schedules, weight decay and averaging of
    weights are the optimizer's.

    An update whose loss or gradient is not finite, on any replica and in any micro-batch, is skipped:
    see ``guard.Guard``.

    Args:
        model: keras.Model; its trainable variables are trained.
        objective: ``(model, batch) -> (loss_sum, weight, metrics)``, see ``objectives``.
        optimizer: keras.optimizers.Optimizer.
        accumulate: int, micro-batches a batch is cut into, to bound memory.
        strategy: tf.distribute.Strategy under whose scope model and optimizer were made; None for
            the one in whose scope this is, or one device.
        max_skipped: int > 0, updates skipped in a row that end the training.

    Attributes:
        traces: how many programs were compiled so far.
        parts: int, equal parts that devices and ``accumulate`` cut a batch into.

    Raises:
        ValueError: if ``accumulate`` or ``max_skipped`` is not positive.
    """

    def __init__(
        self,
        model: keras.Model,
        objective: Callable,
        optimizer: keras.optimizers.Optimizer,
        accumulate: int = 1,
        strategy: Any = None,
        max_skipped: int = 10,
    ) -> None:
        if accumulate < 1:
            raise ValueError(f"accumulate must be at least 1. Received: accumulate={accumulate}")
        self.model = model
        self.objective = objective
        self.optimizer = optimizer
        self.accumulate = accumulate
        self._routes = has_experts(model)
        strategy = strategy or backend.strategy()
        self.parts = accumulate * backend.replicas(strategy)
        if strategy is None:
            optimizer.build(model.trainable_variables)
            self._guard = Guard(model, optimizer, max_skipped)
            self._stacks = StackedUpdate(optimizer, model.trainable_variables)
            self._update = backend.jit_batch(self._step, model.variables + optimizer.variables)
        else:
            from tfalign.training.replicas import ReplicatedUpdate

            with strategy.scope():
                optimizer.build(model.trainable_variables)
                self._guard = Guard(model, optimizer, max_skipped)
            self._update = ReplicatedUpdate(
                strategy, model, optimizer, self._guard, self._sums, summary, self._divisors()
            )
            self._stacks = None

    @property
    def traces(self) -> int:
        return self._update.traces

    def update(self, batch: Any) -> dict[str, Array]:
        """One optimizer step.

        Args:
            batch: what the objective takes; leading axis divisible by ``accumulate``.

        Returns:
            dict of float32 scalars: "loss", "weight", "gradient_norm", the objective's metrics, "learning_rate",
            and "skipped_updates", how many were skipped since the training began.

        Raises:
            NotFiniteError: if ``max_skipped`` updates in a row were skipped.
        """
        scalars, skipped = self._update(batch)
        self._guard.watch(scalars, skipped)
        return scalars

    def _step(self, batch):
        guard = self._guard
        before = [backend.read(variable) for variable in guard.forward_state]
        loss, weight, metrics, gradients = self._sums(batch)
        gradients = [gradient / at_least_tiny(weight) for gradient in gradients]
        scalars = summary(loss, weight, metrics, gradients)
        allowed = guard.allows(scalars)
        rate = ops.cast(self.optimizer.learning_rate, "float32")
        gradients = guard.clippable(gradients, scalars["gradient_norm"])
        weights = self.model.trainable_variables
        backend.if_true(
            allowed,
            lambda: self._stacks.apply(gradients),
            [*weights, *self.optimizer.variables],
        )
        for variable, old in zip(guard.forward_state, before):
            variable.assign(ops.where(allowed, backend.read(variable), old))
        skipped = guard.count(allowed)
        guard.counts.assign(skipped)
        told = {"skipped_updates": ops.cast(skipped[0], "float32"), "learning_rate": rate}
        return scalars | told, skipped

    def _sums(self, batch, whole=None):
        """Sums over the batch: (loss, weight, metrics, gradients); ``whole`` as of ``_micro_step``."""
        if self._routes and whole is None and self.accumulate > 1:
            whole = self._weights(batch)
        return self._over_parts(lambda part: self._micro_step(part, whole), batch)

    def _over_parts(self, function, batch):
        """The sums of a function over the micro-batches of a batch."""
        if self.accumulate == 1:
            return function(batch)
        cut = tree.map_structure(self._cut, batch, none_is_leaf=False)
        first = function(_micro_batch(cut, 0))

        def add(index, sums):
            return tree.map_structure(ops.add, sums, function(_micro_batch(cut, index)))

        return backend.fori_loop(1, self.accumulate, add, first)

    def _micro_step(self, batch, whole):
        """Sums over a micro-batch; ``whole``: weight and routed tokens of the batch it is part of, None where it is
        all of it."""

        def loss():
            if not self._routes:
                loss_sum, weight, metrics = self.objective(self.model, batch)
                return loss_sum, (weight, metrics)
            loss_sum, weight, metrics, sums = self._routed(batch)
            weights = (weight, sums.tokens) if whole is None else whole
            share = ops.stop_gradient(weights[0] / ops.maximum(weights[1], 1.0))
            routing = {
                "router_balance": (sums.balance, sums.tokens),
                "dropped_tokens": (sums.dropped, sums.chosen),
            }
            return loss_sum + share * sums.loss, (weight, metrics | routing)

        loss_sum, (weight, metrics), gradients = backend.value_and_grad(
            loss, self.model.trainable_variables
        )
        if self._stacks is not None:
            gradients = self._stacks.join(gradients)
        return loss_sum, weight, metrics, gradients

    def _routed(self, batch):
        """What the objective returns, and the ``RoutingSums``."""
        with collected() as records:
            returned = self.objective(self.model, batch)
        return *returned, total(records)

    def _weights(self, batch):
        """(weight, routed tokens) of a batch. Both rest on its masks alone: the compiler leaves the model out."""

        def weights(part):
            _, weight, _, sums = self._routed(part)
            return weight, sums.tokens

        return self._over_parts(weights, batch)

    def _divisors(self):
        """``_weights`` where the loss needs them, for replicas; else None."""
        return self._weights if self._routes else None

    def _cut(self, x):
        rows = x.shape[0]
        if rows % self.accumulate:
            raise ValueError(
                f"A batch of {rows} rows cannot be cut into {self.accumulate} equal micro-batches"
            )
        return ops.reshape(x, (self.accumulate, rows // self.accumulate, *x.shape[1:]))


def _micro_batch(cut, index):
    return tree.map_structure(lambda x: x[index], cut, none_is_leaf=False)


def summary(
    loss: Array,
    weight: Array,
    metrics: Mapping[str, tuple[Array, Array]],
    gradients: Sequence[Array],
) -> dict[str, Array]:
    """The scalars an update reports, from its sums and its mean gradients."""
    norm = global_norm(gradients)
    means = {name: total / at_least_tiny(count) for name, (total, count) in metrics.items()}
    return {"loss": loss / at_least_tiny(weight), "weight": weight, "gradient_norm": norm} | means


def at_least_tiny(weight: Array) -> Array:
    """The weight to divide by: a batch of which nothing counts has a loss and gradients of 0."""
    return ops.maximum(weight, 1e-8)

"""Evaluation: an objective's means over held-out batches, or an output for every example."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from tfalign import backend
from tfalign.data import BatchStream
from tfalign.data.examples import Examples


class Evaluator:
    """Compiled evaluation of an objective.

    Args:
        model: keras.Model.
        objective: ``(model, batch, training) -> (loss_sum, weight, metrics)``.
    """

    def __init__(self, model: keras.Model, objective: Callable) -> None:
        def sums(batch):
            loss, weight, metrics = objective(model, batch, training=False)
            return {"loss": (loss, weight)} | metrics

        self.compiled = backend.jit(sums, model.variables)

    def __call__(self, batches: Iterable[Any], prefix: str = "eval_") -> dict[str, float]:
        """Weighted means over all batches.

        Args:
            batches: iterable of what the objective takes.
            prefix: str, put before every name.

        Returns:
            dict of floats: "eval_loss" and the objective's metrics.
        """
        totals = {}
        for batch in batches:
            for name, (total, weight) in self.compiled(batch).items():
                old_total, old_weight = totals.get(name, (0.0, 0.0))
                totals[name] = (old_total + float(total), old_weight + float(weight))
        return {prefix + name: total / weight for name, (total, weight) in totals.items()}


class Outputs:
    """A compiled function of a model and a batch, evaluated for every example.

    Args:
        model: keras.Model.
        function: ``(model, batch) -> array[B, ...]``.
    """

    def __init__(self, model: keras.Model, function: Callable[[keras.Model, Any], Any]) -> None:
        self.compiled = backend.jit(lambda batch: function(model, batch), model.variables)

    def __call__(self, examples: Examples, rows: int, columns: Sequence[int]) -> list[np.ndarray]:
        """The outputs of all examples, in their order.

        Args:
            examples: N examples.
            rows: of a batch; the last one may have fewer.
            columns: the sequence lengths a batch may have.
        """
        stream = BatchStream(examples, rows, columns, epochs=1, drop_remainder=False)
        outputs = {}
        for batch in stream:
            values = np.asarray(self.compiled(batch))
            outputs.update(zip(stream.indices.tolist(), values))
        return [outputs[index] for index in range(len(examples))]

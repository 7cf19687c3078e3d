"""Evaluation: an objective's means over held-out batches."""

from __future__ import annotations

from tfalign import backend


class Evaluator:
    """Compiled evaluation of an objective.

    Args:
        model: keras.Model.
        objective: ``(model, batch, training) -> (loss_sum, weight, metrics)``.
    """

    def __init__(self, model, objective):
        def sums(batch):
            loss, weight, metrics = objective(model, batch, training=False)
            return {"loss": (loss, weight)} | metrics

        self.compiled = backend.jit(sums, model.variables)

    def __call__(self, batches, prefix="eval_"):
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

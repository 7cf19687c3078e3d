"""Evaluation while training: held-out metrics, the best weights, early stopping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from tfalign.trainers.base import Trainer
from tfalign.training.best import Best


class Criterion(NamedTuple):
    """By which metric one evaluation is better than another."""

    metric: str
    sign: float  # 1 where the lowest is best, -1 where the highest is
    name: str  # of the best value


class EvaluatedTrainer(Trainer):
    """A training that is evaluated on held-out data every ``eval_every`` steps, and after the last.

    Subclasses set ``held_out`` and ``evaluate``, and call ``_watch`` when the model is there and
    ``_evaluated`` after every update.

    Attributes:
        held_out: held-out data, as ``evaluate`` takes it; empty or None where there is none.
        evaluate: ``held_out -> dict of float``, what an evaluation measures.
        best: Best, the lowest held-out loss so far (of rewards minus the highest) and its step; None where
            nothing depends on it.
    """

    criterion = Criterion("eval_loss", 1.0, "lowest held-out loss")
    held_out: Any
    evaluate: Callable[[Any], dict[str, float]]
    best: Best | None

    def _check_held_out(self, held_out: Any) -> None:
        """Refuses a training that asks for evaluations on no held-out data."""
        if self.options.evaluation.eval_every is not None and not held_out:
            raise ValueError(
                "eval_every, keep_best and patience need held-out data, a batch of it at least. "
                "Received: none"
            )

    def _watch(self, model: keras.Model) -> None:
        """Prepares to keep the best weights of a model, and to stop in time, if the options ask for it."""
        evaluation = self.options.evaluation
        asks_for_best = evaluation.keep_best or evaluation.patience is not None
        self.best = Best(model, evaluation.keep_best) if asks_for_best else None

    def _evaluated(self, step: int) -> dict[str, float]:
        """What the evaluation after a step measures; empty if there is none."""
        every = self.options.evaluation.eval_every
        if not self.held_out or not (step == self.num_steps or (every and step % every == 0)):
            return {}
        with self.watch.paused():
            metrics = self._measured(step)
        if self.best is None or self.criterion.metric not in metrics:
            return metrics
        self.best.see(step, self.criterion.sign * metrics[self.criterion.metric])
        if self._has_stopped():
            self.learner.model.stop_training = True
        return metrics if self.best.step is None else metrics | {"best_step": self.best.step}

    def _measured(self, step: int) -> dict[str, float]:
        """An evaluation after a step."""
        return self.evaluate(self.held_out)

    def _has_stopped(self):
        """Whether as many evaluations as ``patience`` allows were no better than the best."""
        patience = self.options.evaluation.patience
        return patience is not None and self.best.waited >= patience

    def _last_step(self, first_step):
        return first_step if self._has_stopped() else self.num_steps

    def _end(self):
        if self.best is None or self.best.step is None:
            return
        value = self.criterion.sign * self.best.loss
        print(f"{self.stage}: {self.criterion.name} {value:.6g}, at step {self.best.step}")
        if self.options.evaluation.keep_best:
            self.best.put_back()

    def _stateful(self):
        return {} if self.best is None else {"best": self.best}

    def _more_variables(self):
        return {} if self.best is None else {"best": self.best.variables}

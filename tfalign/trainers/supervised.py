"""Training on examples with held-out means: what all but on-policy trainers do."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras

from tfalign.data import BatchStream
from tfalign.pretrained import Pretrained
from tfalign.trainers.base import Trainer, name_of, name_of_data
from tfalign.trainers.data import Data, encoded, split_records
from tfalign.trainers.optimizers import make_optimizer
from tfalign.trainers.options import SupervisedOptions, TrainingOptions
from tfalign.training.best import Best
from tfalign.training.evaluator import Evaluator
from tfalign.training.learner import Learner
from tfalign.training.run_directory import RunDirectory


class BatchTrainer(Trainer):
    """A training of an objective on a stream of batches. Subclasses make its parts by ``_learn``.

    Attributes:
        batches: BatchStream of the training examples.
        held_out: list of held-out batches.
        objective: see ``tfalign.objectives``.
        best: Best, the lowest held-out loss so far and its step; None where nothing depends on it.
    """

    def _learn(
        self,
        model: keras.Model,
        objective: Callable,
        batches: BatchStream,
        held_out: Iterable[Any],
        num_examples: int,
        optimizer: keras.optimizers.Optimizer | None = None,
    ) -> None:
        """Makes the parts of the training.

        Args:
            model: what is trained.
            objective: what it learns.
            batches: endless stream of training batches.
            held_out: held-out batches.
            num_examples: how many make an epoch.
            optimizer: the options' where None.
        """
        self.objective = objective
        self.batches = batches
        self.held_out = list(held_out)
        self._check_held_out(self.held_out)
        self._num_examples = num_examples
        update = self.options.update
        optimizer = optimizer or make_optimizer(update, self.num_steps)
        self.learner = Learner(model, objective, optimizer, update.accumulate)
        self.evaluate = Evaluator(model, objective)
        keeps_best = self.options.evaluation.keep_best
        self.best = Best(model, keeps_best) if self._asks_for_best() else None

    def _asks_for_best(self):
        evaluation = self.options.evaluation
        return evaluation.keep_best or evaluation.patience is not None

    def _check_held_out(self, held_out):
        """Refuses a training that asks for what is best on no held-out data."""
        if self._asks_for_best() and not held_out:
            raise ValueError(
                "keep_best and patience need held-out data, a batch of it at least. Received: none"
            )

    @property
    def num_steps(self) -> int:
        run = self.options.run
        if run.epochs is None:
            return run.steps
        return math.ceil(run.epochs * self._num_examples / self.options.update.batch_size)

    def _update(self, step):
        metrics = self.learner.update(next(self.batches))
        every = self.options.evaluation.eval_every
        if self.held_out and (step == self.num_steps or (every and step % every == 0)):
            metrics = metrics | self._evaluated(step)
        return metrics

    def _evaluated(self, step):
        metrics = self.evaluate(self.held_out)
        if self.best is None:
            return metrics
        self.best.see(step, metrics["eval_loss"])
        if self._has_stopped():
            self.learner.model.stop_training = True
        return metrics if self.best.step is None else metrics | {"best_step": self.best.step}

    def _has_stopped(self):
        """Whether the held-out loss has not fallen for as many evaluations as ``patience`` allows."""
        patience = self.options.evaluation.patience
        return patience is not None and self.best.waited >= patience

    def _last_step(self, first_step):
        return first_step if self._has_stopped() else self.num_steps

    def _end(self):
        if self.best is None or self.best.step is None:
            return
        print(f"{self.stage}: lowest held-out loss {self.best.loss:.6g}, at step {self.best.step}")
        if self.options.evaluation.keep_best:
            self.best.put_back()

    def _stateful(self):
        return {"batches": self.batches} | ({} if self.best is None else {"best": self.best})

    def _more_variables(self):
        return {} if self.best is None else {"best": self.best.variables}


class ScratchTrainer(BatchTrainer):
    """A training from random weights, with a tokenizer trained on the same data.

    Args:
        data: the trainer's records: a source (see ``tfalign.data``), or a sequence of texts, dicts or records.
        held_out: held-out data in either form; None to split ``data``.
        options, run_dir, stage, callbacks, changes: see ``Trainer``.
    """

    def __init__(
        self,
        data: Data,
        *,
        held_out: Data | None = None,
        options: TrainingOptions | None = None,
        run_dir: str | os.PathLike | RunDirectory | None = None,
        stage: str | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **changes: Any,
    ) -> None:
        start = _names_of_data(data, held_out)
        super().__init__(start, options, run_dir, stage, callbacks, changes)
        with self._building():
            self._build(data, held_out)

    def _build(self, data, held_out) -> None:
        """Makes the trainer's parts, see ``_learn``."""
        raise NotImplementedError


class SupervisedTrainer(BatchTrainer):
    """A training of a model that was pretrained.

    Args:
        model: a directory, or what ``tfalign.load`` returned, which is trained itself.
        data, held_out: see ``ScratchTrainer``.
        options, run_dir, stage, callbacks, changes: see ``Trainer``.
    """

    def __init__(
        self,
        model: str | os.PathLike | Pretrained,
        data: Data,
        *,
        held_out: Data | None = None,
        options: SupervisedOptions | None = None,
        run_dir: str | os.PathLike | RunDirectory | None = None,
        stage: str | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **changes: Any,
    ) -> None:
        start = {"model": name_of(model)} | _names_of_data(data, held_out)
        super().__init__(start, options, run_dir, stage, callbacks, changes)
        with self._building():
            self._build(model, data, held_out)

    def _build(self, model, data, held_out) -> None:
        """Makes the trainer's parts, see ``_learn``."""
        raise NotImplementedError

    def _examples(self, kind: type, encode: Callable, data: Data, held_out, **limits: Any):
        """Encoded training and held-out examples."""
        options = self.options.data_options
        limits = {"tokenizer": self.tokenizer, "on_bad": options.on_bad} | limits
        splits = split_records(data, kind, options, held_out)
        return [
            encoded(f"{self.stage} {split}", encode, records, **limits)
            for split, records in zip(("train", "test"), splits)
        ]


def _names_of_data(data, held_out):
    """What a run's config.json calls them."""
    names = {"data": name_of_data(data)}
    return names if held_out is None else names | {"held_out": name_of_data(held_out)}
